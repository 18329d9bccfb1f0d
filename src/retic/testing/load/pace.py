"""When requests are due, and waking at those times to some microseconds.

asyncio rounds its timers to a millisecond, which would be most of the latency that is measured here; a
timerfd in the event loop does not.
"""

import asyncio
import ctypes
import os
import random
import time
from collections.abc import Iterator

_CLOCK_MONOTONIC = 1
_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1


def poisson(rate: float, begin: float, seconds: float, seed: int) -> Iterator[float]:
    """Times between `begin` and `begin + seconds` with exponential gaps of mean 1/`rate` (per second)."""
    draw = random.Random(seed)
    due = begin + draw.expovariate(rate)
    while due < begin + seconds:
        yield due
        due += draw.expovariate(rate)


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_sec", ctypes.c_long),
        ("interval_nsec", ctypes.c_long),
        ("value_sec", ctypes.c_long),
        ("value_nsec", ctypes.c_long),
    )


class Timer:
    """A timerfd(2) that a coroutine can wait on; one waiter at a time. Times are time.monotonic's."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._fired = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        os.read(self._fd, 8)
        self._fired.set()

    async def until(self, due: float) -> None:
        """Return at `due`, or at once when it has passed."""
        if due <= time.monotonic():
            return
        self._fired.clear()
        spec = _Spec(0, 0, int(due), int((due % 1) * 1e9))
        if self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._fired.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
