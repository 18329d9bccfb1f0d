"""Our plugin in the node's chain, beside whatever else is there."""

import asyncio
import json
import os

import pytest

from retic.node import chain, config
from retic.testing import wait

FLANNEL = {
    "cniVersion": "1.0.0", "name": "cbr0",
    "plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": True}}, {"type": "portmap"}],
}  # fmt: skip
PLAIN = {"cniVersion": "0.4.0", "name": "mynet", "type": "bridge", "ipam": {"type": "host-local"}}


@pytest.fixture
def where(tmp_path):
    for name in ("conf", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugin").write_bytes(b"#!/bin/true\n")
    return config.Cni(
        conf=tmp_path / "conf", bin=tmp_path / "bin", plugin=tmp_path / "plugin", socket="/run/retic/cni.sock"
    )


def write(where, name, value):
    text = value if isinstance(value, str) else json.dumps(value)
    (where.conf / name).write_text(text)


def read(where, name):
    return json.loads((where.conf / name).read_text())


def types(where, name):
    return [one["type"] for one in read(where, name)["plugins"]]


def test_it_comes_last_and_goes_without_a_trace(where):
    write(where, "10-flannel.conflist", FLANNEL)
    write(where, "87-podman.conflist", FLANNEL)
    (where.conf / "10-flannel.conflist").chmod(0o644)
    assert not chain.installed(where)
    chain.install(where)
    assert chain.installed(where)
    found = read(where, "10-flannel.conflist")
    assert found["plugins"][:2] == FLANNEL["plugins"]
    assert found["plugins"][2] == {
        "type": "retic-cni", "socket": "/run/retic/cni.sock", "exclude": ["kube-system", "retic-system"]
    }  # fmt: skip
    assert types(where, "87-podman.conflist") == ["flannel", "portmap"], "only the first counts for the runtime"
    assert (where.bin / "retic-cni").stat().st_mode & 0o777 == 0o755
    assert (where.conf / "10-flannel.conflist").stat().st_mode & 0o777 == 0o644
    before = (where.conf / "10-flannel.conflist").stat().st_ino
    chain.install(where)
    assert (where.conf / "10-flannel.conflist").stat().st_ino == before, "again changes nothing"
    assert len(chain.remove(where)) == 2
    assert read(where, "10-flannel.conflist") == FLANNEL
    assert list(where.bin.iterdir()) == []
    assert chain.remove(where) == []
    assert sorted(os.listdir(where.conf)) == ["10-flannel.conflist", "87-podman.conflist"]


def test_a_plain_configuration_becomes_a_list_and_again_what_it_was(where):
    write(where, "10-bridge.conf", PLAIN)
    chain.install(where)
    assert chain.installed(where)
    found = read(where, "10-bridge.conflist")
    assert (found["cniVersion"], found["name"]) == ("0.4.0", "mynet")
    assert found["plugins"][0] == {"type": "bridge", "ipam": {"type": "host-local"}}
    assert types(where, "10-bridge.conflist") == ["bridge", "retic-cni"]
    assert not (where.conf / "10-bridge.conf").exists()
    chain.remove(where)
    assert read(where, "10-bridge.conf") == PLAIN
    assert os.listdir(where.conf) == ["10-bridge.conf"]


def test_an_older_entry_and_binary_are_replaced(where):
    old = {"type": "retic-cni", "socket": "/old.sock"}
    write(where, "10.conflist", {**FLANNEL, "plugins": [old, *FLANNEL["plugins"]]})
    (where.bin / "retic-cni").write_bytes(b"old")
    chain.install(where)
    assert types(where, "10.conflist") == ["flannel", "portmap", "retic-cni"]
    assert (where.bin / "retic-cni").read_bytes() == where.plugin.read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no network configuration"), ("[]", "is no network configuration"), ("{", "no network configuration"),
        ({**FLANNEL, "plugins": []}, "not empty"), ({**FLANNEL, "plugins": ["x"]}, "list of objects"),
        ({**FLANNEL, "plugins": [{}]}, "has no type"), ({**FLANNEL, "cniVersion": "0.2.0"}, "0.3.1 or later"),
        ({"name": "x", "plugins": FLANNEL["plugins"]}, "0.3.1 or later"), ({**FLANNEL, "cniVersion": 1}, "0.3.1 or"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_chained_stays_as_it_is(where, content, words):
    write(where, "10.conflist", content)
    before = (where.conf / "10.conflist").read_text()
    with pytest.raises(chain.UnusableError, match=words):
        chain.install(where)
    assert (where.conf / "10.conflist").read_text() == before
    assert not chain.installed(where)
    chain.remove(where)
    assert (where.conf / "10.conflist").read_text() == before


def test_a_folder_without_configuration(where):
    with pytest.raises(chain.UnusableError, match="not installed yet"):
        chain.install(where)
    write(where, ".10.conflist.123", FLANNEL)
    write(where, "README.md", "x")
    with pytest.raises(chain.UnusableError, match="not installed yet"):
        chain.install(where)


async def test_it_is_put_back_whenever_another_program_writes(where):
    task = asyncio.create_task(chain.keep(where))
    try:
        await wait.until_async((where.bin / "retic-cni").exists, "the binary, though no network is there yet")
        write(where, "10-flannel.conflist", FLANNEL)
        await wait.until_async(lambda: chain.installed(where), "the entry, once there is a network", 20)
        for _ in range(3):
            write(where, "10-flannel.conflist", {**FLANNEL, "name": "other"})
            await wait.until_async(lambda: chain.installed(where), "the entry, after a rewrite", 20)
        write(where, "05-first.conf", PLAIN)
        await wait.until_async(lambda: chain.installed(where), "the entry in what comes first now", 20)
        assert types(where, "05-first.conflist") == ["bridge", "retic-cni"]
        (where.bin / "retic-cni").unlink()
        await wait.until_async(lambda: chain.installed(where), "the binary, after it was removed", 20)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
