"""`retic logs --access`: the access logs that agents have written, of all nodes and gateways."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from retic.cli import failure, logs, running, target

NOTHING = (
    "nothing is logged yet: write a Telemetry with accessLogging (docs/access-logs.md), or start the mesh with "
    "--access-logs"
)
_decoder = msgspec.json.Decoder()


def run(wanted: str, choice: logs.Choice, *, namespace: str, name: str) -> None:
    """Print lines as they were written, in the order of their beginnings; on and on with `choice.follow`. Failure."""
    path = running.folder(name)
    if choice.previous:
        raise failure.Failure("access logs are of all lives: leave --previous out", code=2)
    whose = _whose(path, wanted, namespace) if wanted else {}
    folder = path / "logs"
    found = sorted(line for file in _files(folder) for line in _lines(file, whose))
    kept = found if choice.tail < 0 else found[len(found) - choice.tail :] if choice.tail else []
    for _, line in kept:
        logs.write(line)
    if choice.follow:
        _follow(folder, whose)
    elif not found:
        print(NOTHING, file=sys.stderr)


def _whose(path: pathlib.Path, wanted: str, namespace: str) -> dict[str, str]:
    """What a line of that workload or pod has."""
    pod = target.pod(running.objects(path), wanted, namespace)
    if gateway := target.gateway(pod):
        return {"workload": gateway.removeprefix("gateway/")}
    kind, slash, name = wanted.partition("/")
    if not slash or kind in ("pod", "po", "pods"):
        return {"pod_uid": pod["metadata"]["uid"]}
    return {"workload": f"{namespace}/{name}"}


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The older first."""
    return sorted(folder.glob("access-*.log.1")) + sorted(folder.glob("access-*.log"))


def _lines(file: pathlib.Path, whose: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
        yield from _chosen(opened, whose)


def _chosen(opened: BinaryIO, whose: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    while line := opened.readline():
        if not line.endswith(b"\n"):
            opened.seek(-len(line), os.SEEK_CUR)
            return
        value: dict[str, Any] = _decoder.decode(line)
        if "not_logged" in value or all(value.get(key) == wanted for key, wanted in whose.items()):
            yield value["start_time"], line


def _follow(folder: pathlib.Path, whose: dict[str, str]) -> None:
    """What comes, of each file until another takes its name, until the mesh has gone."""
    import watchfiles

    changes = watchfiles.watch(
        folder, debounce=40, step=20, rust_timeout=500, yield_on_timeout=True, raise_interrupt=True,
        recursive=False, watch_filter=None,
    )
    files: dict[pathlib.Path, BinaryIO] = {}
    for path in folder.glob("access-*.log"):
        files[path] = path.open("rb")
        files[path].seek(0, os.SEEK_END)
    with contextlib.suppress(FileNotFoundError, StopIteration):
        while folder.exists():
            for path in folder.glob("access-*.log"):
                _rest(path, files, whose)
            next(changes)


def _rest(path: pathlib.Path, files: dict[pathlib.Path, BinaryIO], whose: dict[str, str]) -> None:
    old = files.get(path)
    if old is not None:
        for _, line in _chosen(old, whose):
            logs.write(line)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(old.fileno()), path.stat()):
                return
        old.close()
    with contextlib.suppress(FileNotFoundError):
        files[path] = path.open("rb")
        for _, line in _chosen(files[path], whose):
            logs.write(line)
