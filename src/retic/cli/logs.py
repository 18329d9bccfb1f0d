"""`retic logs`: what a container wrote, from its log files, which outlive its restarts."""

import os
import pathlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from retic import findings
from retic.cli import failure, running, target

_CHUNK = 1 << 16
_ANCHOR = 256  # bytes by which a shortened log is found in the one before it


class Choice(msgspec.Struct, frozen=True):
    """Which part: `tail` last lines (-1: all), then on (`follow`); or of the life before (`previous`)."""

    follow: bool
    tail: int
    previous: bool


def run(wanted: str, choice: Choice, *, namespace: str, container: str | None, name: str) -> None:
    """Print it to standard output as it was written. Raises Failure."""
    path = running.folder(name)
    pod = target.pod(running.objects(path), wanted, namespace)
    chosen = target.container(pod, container, needed=True)
    if proxy := target.gateway(pod):
        _proxy(path / "logs", proxy, choice)
        return
    meta = pod["metadata"]
    folder = path / "pods" / f"{meta['namespace']}_{meta['name']}" / chosen
    where = f"container {chosen} of pod {meta['namespace']}/{meta['name']}"
    if choice.previous:
        if not (folder / "previous.log").exists():
            raise failure.Failure(f"{where} has not been restarted: there is no previous log")
        with (folder / "previous.log").open("rb") as file:
            write(last(file, choice.tail))
        return
    if not folder.exists():
        raise failure.Failure(f"{where} has not started yet: see retic ps")
    if choice.follow:
        for chunk in follow(folder, choice.tail):
            write(chunk)
        return
    if (folder / "log").exists():
        with (folder / "log").open("rb") as file:
            write(last(file, choice.tail))


def _proxy(folder: pathlib.Path, proxy: str, choice: Choice) -> None:
    """The log of a gateway's Envoy, which lasts across its restarts and holds warnings and errors only."""
    from retic.local.cluster import gateways
    from retic.node import config

    _, namespace, name = proxy.split("/")
    file = folder / config.envoy_log(gateways.agent_name(findings.Ref("Gateway", namespace, name)))
    if choice.previous:
        raise failure.Failure(f"the Envoy of {proxy} has one log for all of its lives: leave --previous out")
    if choice.follow:
        for chunk in follow(folder, choice.tail, file.name):
            write(chunk)
    elif not file.exists():
        raise failure.Failure(f"the Envoy of {proxy} has not been started yet: see retic ps")
    elif not file.stat().st_size:
        print(f"the Envoy of {proxy} has logged no warning and no error", file=sys.stderr)
    else:
        with file.open("rb") as opened:
            write(last(opened, choice.tail))


def write(data: bytes) -> None:
    """To standard output, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def last(file: BinaryIO, tail: int) -> bytes:
    """The last `tail` lines from here on (-1: all); an unfinished line counts as one."""
    data = file.read()
    if tail < 0:
        return data
    lines = data.splitlines(keepends=True)
    return b"".join(lines[len(lines) - tail :]) if tail and lines else b""


def follow(folder: pathlib.Path, tail: int, name: str = "log") -> Iterator[bytes]:
    """The last lines and then everything that is written, across restarts, until the folder is gone."""
    import watchfiles

    changes = watchfiles.watch(
        folder, debounce=40, step=20, rust_timeout=500, yield_on_timeout=True, raise_interrupt=True,
        recursive=False, watch_filter=None,
    )
    file: BinaryIO | None = None
    started = False
    try:
        while True:
            if file is not None:
                yield from _rest(file)
            after = _opened(folder / name, file)
            if after is not None:
                if file is not None:
                    yield from _rest(file)  # written between the last look and the replacement
                    file.close()
                file = after
                if not started:
                    yield last(file, tail)
                started = True
                continue
            started = True  # what comes now is new, whatever `tail` says
            if not folder.exists():
                return
            next(changes)
    except (FileNotFoundError, StopIteration):
        return
    finally:
        if file is not None:
            file.close()


def _rest(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _opened(path: pathlib.Path, old: BinaryIO | None) -> BinaryIO | None:
    """The file now at `path` when it is another than `old`, placed at its first unread byte."""
    try:
        new = path.open("rb")
    except FileNotFoundError:
        return None
    if old is None:
        return new
    if os.path.sameopenfile(old.fileno(), new.fileno()):
        new.close()
        return None
    try:
        restarted = os.path.samestat(os.fstat(old.fileno()), path.with_name("previous.log").stat())
    except FileNotFoundError:
        restarted = False
    if not restarted:
        new.seek(_kept(old, new))
    return new


def _kept(old: BinaryIO, new: BinaryIO) -> int:
    """How many bytes at the beginning of a shortened log are the end of the one it replaced."""
    from retic.local.kubelet import logs

    anchor = new.read(_ANCHOR)
    old.seek(0)
    data = old.read()
    at = data.find(anchor, max(0, len(data) - logs.BOUND // 2)) if anchor else -1
    if at >= 0:
        return len(data) - at
    return next((size for size in range(len(anchor), 0, -1) if data.endswith(anchor[:size])), 0)
