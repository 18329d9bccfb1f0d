"""Edits as editors make them, on a real file system."""

import asyncio
import contextlib
import os
import shutil
import threading
import time

import pytest

from retic.sources import live
from retic.testing import wait

TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\ndata: {{v: {}}}\n"


class Watching:
    """Gathers what `watch` gives out."""

    def __init__(self, *paths):
        self.seen = []
        self.paths = paths

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        await wait.until_async(lambda: self.seen, "a first reading")
        return self

    async def _run(self):
        async for loaded in live.watch(self.paths):
            self.seen.append(loaded)

    async def __aexit__(self, *_):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def held(self):
        return {each.object.metadata.name: each.object.data.get("v") for each in self.seen[-1].objects}

    async def until(self, wanted):
        await wait.until_async(lambda: self.held == wanted, f"{wanted}", seconds=20, every=0.005)


async def test_an_edit_in_place_is_seen_in_time(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(TEXT.format("a", "x0"))
    async with Watching(tmp_path) as watching:
        assert watching.held == {"a": "x0"}
        took = []
        for i in range(1, 6):
            file.write_text(TEXT.format("a", f"x{i}"))
            start = time.monotonic()
            await watching.until({"a": f"x{i}"})
            took.append(time.monotonic() - start)
        assert sorted(took)[2] < 1, took


async def test_a_replaced_file_named_explicitly(tmp_path):
    file, new = tmp_path / "a.yaml", tmp_path / "a.yaml.swp"
    file.write_text(TEXT.format("a", "x1"))
    async with Watching(file) as watching:
        for value in ("x2", "x3"):
            new.write_text(TEXT.format("a", value))
            new.replace(file)
            await watching.until({"a": value})
        file.rename(tmp_path / "a.yaml~")  # as vim writes: the old one away, then the new one
        file.write_text(TEXT.format("a", "x4"))
        await watching.until({"a": "x4"})
        assert all(loaded.objects and not loaded.findings for loaded in watching.seen)


async def test_files_come_and_go(tmp_path):
    async with Watching(tmp_path) as watching:
        (tmp_path / "a.yaml").write_text(TEXT.format("a", "x"))
        await watching.until({"a": "x"})
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "er" / "b.yaml").write_text(TEXT.format("b", "x"))
        await watching.until({"a": "x", "b": "x"})
        (tmp_path / "deep" / "er" / "b.yaml").write_text(TEXT.format("b", "z"))
        await watching.until({"a": "x", "b": "z"})
        (tmp_path / "deep" / "er" / "b.yaml").unlink()
        await watching.until({"a": "x"})


async def test_a_path_that_does_not_exist_yet(tmp_path):
    file = tmp_path / "later" / "on" / "a.yaml"
    async with Watching(file) as watching:
        assert [each.code for each in watching.seen[0].findings] == ["RT0009"]
        file.parent.mkdir(parents=True)
        file.write_text(TEXT.format("a", "x"))
        await watching.until({"a": "x"})
        assert watching.seen[-1].findings == ()


async def test_a_link_whose_target_is_switched(tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(TEXT.format("a", name))
    (tmp_path / "now").symlink_to("v1")
    async with Watching(tmp_path / "now") as watching:
        assert watching.held == {"a": "v1"}
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").replace(tmp_path / "now")
        await watching.until({"a": "v2"})
        (tmp_path / "v2" / "a.yaml").write_text(TEXT.format("a", "v3"))
        await watching.until({"a": "v3"})


async def test_a_folder_that_is_replaced_by_another(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.yaml").write_text(TEXT.format("a", "x"))
    async with Watching(folder) as watching:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "a.yaml").write_text(TEXT.format("a", "x2"))
        await watching.until({"a": "x2"})
        (folder / "a.yaml").write_text(TEXT.format("a", "z"))
        await watching.until({"a": "z"})


@pytest.fixture
def tree(tmp_path):
    """A folder above/m with a file a.yaml."""
    folder = tmp_path / "above" / "m"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(TEXT.format("a", "x"))
    return folder


async def gone(watching):
    """Wait until something is known to be gone, and see that it stays all the same."""
    await wait.until_async(lambda: watching.seen[-1].findings, "a finding", seconds=20)
    (found,) = watching.seen[-1].findings
    assert (found.code, found.severity) == ("RT0009", "error")
    assert found.message == "this path does not exist; what it held before stays"
    assert watching.held == {"a": "x"}


async def back(watching, file):
    """Wait until all is well again, and that edits are seen."""
    await wait.until_async(lambda: not watching.seen[-1].findings, "no finding", seconds=20)
    file.write_text(TEXT.format("a", "z"))
    await watching.until({"a": "z"})
    assert all(loaded.objects for loaded in watching.seen)
    file.unlink()
    if file.parent in watching.paths:
        await watching.until({})


@pytest.mark.parametrize("moved", ["above/m", "above", "above/m/a.yaml"])
@pytest.mark.parametrize("copied", [False, True], ids=["same", "copy"])
async def test_a_given_path_that_is_gone_for_a_while_keeps_what_it_held(tmp_path, tree, moved, copied):
    there, away = tmp_path / moved, tmp_path / "away"
    given = tree / "a.yaml" if moved.endswith("yaml") else tree
    async with Watching(given) as watching:
        there.rename(away)
        await gone(watching)
        if not copied:
            away.rename(there)
        elif away.is_dir():
            shutil.copytree(away, tmp_path / "copy")
            (tmp_path / "copy").rename(there)
        else:
            shutil.copy(away, there)
        await back(watching, tree / "a.yaml")


async def test_a_folder_above_that_is_replaced(tmp_path, tree):
    outer = tmp_path / "above"
    async with Watching(tree) as watching:
        shutil.copytree(outer, tmp_path / "copy")
        (tmp_path / "copy" / "m" / "a.yaml").write_text(TEXT.format("a", "new"))
        outer.rename(tmp_path / "away")
        (tmp_path / "copy").rename(outer)
        await watching.until({"a": "new"})
        await back(watching, tree / "a.yaml")


async def test_a_link_on_the_way_that_is_switched(tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / name / "m").mkdir(parents=True)
        (tmp_path / name / "m" / "a.yaml").write_text(TEXT.format("a", name))
    (tmp_path / "now").symlink_to("v1")
    for given in (tmp_path / "now" / "m", tmp_path / "now" / "m" / "a.yaml"):
        (tmp_path / "next").symlink_to("v1")
        (tmp_path / "next").replace(tmp_path / "now")
        async with Watching(given) as watching:
            (tmp_path / "next").symlink_to("v2")
            (tmp_path / "next").replace(tmp_path / "now")
            await watching.until({"a": "v2"})
            assert [loaded.findings for loaded in watching.seen] == [(), ()]


async def test_a_mounted_config_map_is_switched_whole(tmp_path):
    def write(version):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(TEXT.format("a", version))
        (tmp_path / "..next").symlink_to(f"..{version}")
        (tmp_path / "..next").replace(tmp_path / "..data")

    write("v1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with Watching(tmp_path) as watching:
        for old, new in (("v1", "v2"), ("v2", "v3")):
            write(new)
            shutil.rmtree(tmp_path / f"..{old}")
            await watching.until({"a": new})
        assert [loaded.findings for loaded in watching.seen] == [()] * 3


async def test_a_broken_edit_keeps_the_last_good_state(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(TEXT.format("a", "x"))
    async with Watching(tmp_path) as watching:
        file.write_text("apiVersion: v1\nkind: [\n")
        await wait.until_async(lambda: watching.seen[-1].findings, "a finding")
        assert watching.held == {"a": "x"}
        assert watching.seen[-1].findings[0].code == "RT0001"
        file.write_text(TEXT.format("a", "z"))
        await watching.until({"a": "z"})
        assert watching.seen[-1].findings == ()


async def test_a_named_pipe_in_a_watched_folder_stops_no_edit(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(TEXT.format("a", "x"))
    async with Watching(tmp_path) as watching:
        os.mkfifo(tmp_path / "pipe.yaml")
        await wait.until_async(lambda: watching.seen[-1].findings, "a finding", seconds=20)
        assert [each.code for each in watching.seen[-1].findings] == ["RT0009"]
        file.write_text(TEXT.format("a", "z"))
        await watching.until({"a": "z"})
        (tmp_path / "pipe.yaml").unlink()
        await wait.until_async(lambda: not watching.seen[-1].findings, "no finding", seconds=20)


@pytest.mark.parametrize("half", ["", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name"])
async def test_a_file_written_in_two_halves_does_not_flap(tmp_path, half, monkeypatch):
    monkeypatch.setattr(live, "GRACE", 2000)
    file = tmp_path / "a.yaml"
    file.write_text(TEXT.format("a", "x"))
    async with Watching(tmp_path) as watching:
        file.write_text(half)
        rest = threading.Timer(0.06, file.write_text, [TEXT.format("a", "z")])
        rest.start()
        await watching.until({"a": "z"})
        rest.join()
        assert [loaded.findings for loaded in watching.seen] == [()] * len(watching.seen)
        assert all(loaded.objects for loaded in watching.seen)


async def test_what_makes_no_difference_is_no_event(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(TEXT.format("a", "x"))
    async with Watching(file) as watching:
        file.write_text(TEXT.format("a", "x"))
        (tmp_path / "unrelated.yaml").write_text(TEXT.format("b", "x"))
        file.write_text(TEXT.format("a", "z"))
        await watching.until({"a": "z"})
        assert len(watching.seen) == 2


async def test_closing_ends_its_thread(tmp_path):
    before = threading.active_count()
    async with Watching(tmp_path):
        pass
    names = [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")]
    assert threading.active_count() <= before + len(names)
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 5)
