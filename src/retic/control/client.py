"""Asking over a unix socket that speaks JSON lines, without an event loop: what commands need.

It speaks to control.sock (`ask`, `follow`) and, one level below, to any such socket (`lines`).
"""

import contextlib
import pathlib
import socket
import time
from collections.abc import Generator, Iterator
from typing import Any

import msgspec

from retic.control import model

_CHUNK = 1 << 16


class Away(Exception):  # noqa: N818
    """Nobody listens at the socket, or whoever did went away in mid-answer."""


class Refused(Exception):  # noqa: N818
    """The other side said no; the text is for the user."""


def ask(path: pathlib.Path, request: model.Request, *, seconds: float = 30.0) -> Any:
    """The answer as decoded JSON. Raises Refused, Away, TimeoutError after `seconds`."""
    for line in lines(path, request, seconds=seconds):
        return _opened(line)
    raise Away(str(path))


def follow(
    path: pathlib.Path, request: model.AskFollow | model.AskTap, *, seconds: float | None = None
) -> Generator[Any, None, None]:
    """Answers until the caller stops or the other side ends; then returns. Raises Refused, Away, TimeoutError after
    `seconds`."""
    for line in lines(path, request, seconds=seconds):
        yield _opened(line)


def lines(path: pathlib.Path, request: object, *, seconds: float | None) -> Iterator[bytes]:
    """Send one JSON line and give each line that comes back. `seconds` bounds all of it (None: nothing)."""
    end = None if seconds is None else time.monotonic() + seconds
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        try:
            _limit(sock, end)
            sock.connect(str(path))
            sock.sendall(msgspec.json.encode(request) + b"\n")
            pending = bytearray()
            while True:
                _limit(sock, end)
                chunk = sock.recv(_CHUNK)
                if not chunk:
                    return
                pending += chunk
                while b"\n" in chunk:
                    line, _, rest = bytes(pending).partition(b"\n")
                    pending = bytearray(rest)
                    chunk = rest
                    yield line
        except TimeoutError:
            raise
        except OSError as error:
            raise Away(f"{path}: {error.strerror}") from error


def _limit(sock: socket.socket, end: float | None) -> None:
    if end is None:
        return
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _opened(line: bytes) -> Any:
    answer = msgspec.json.decode(line)
    if "error" in answer:
        raise Refused(str(answer["error"]))
    return answer["answer"]
