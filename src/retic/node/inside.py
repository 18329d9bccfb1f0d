"""Doing something inside another network namespace, on a thread of its own, so that no other code moves."""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def network_namespace(path: str, act: Callable[[], T]) -> T:
    """Run `act` on a thread that has joined the network namespace bound at `path`; its result or its error.

    Processes and sockets that `act` makes are in that namespace. OSError when it cannot be joined.
    """
    answer: list[T] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            _join(path)
            answer.append(act())
        except BaseException as e:
            error.append(e)

    thread = threading.Thread(target=run, name=f"inside {path}")
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return answer[0]


async def on_thread(act: Callable[[], T]) -> T:
    """Run `act` on a thread to its end, also when the waiting is cancelled: nothing is left half done."""
    doing = asyncio.ensure_future(asyncio.to_thread(act))
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        raise


def _join(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"cannot join the network namespace: {os.strerror(number)}", path)
    finally:
        os.close(fd)
