"""A queue of keys with one worker each at a time: coalesced, limited in rate, tried again with growing pauses.

The work itself says by an exception that it failed; it is then done again later, and never more often than every
`LONGEST` seconds. Nothing is lost and nothing is done twice at once for one key.
"""

import asyncio
import datetime
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

from retic.identity import clock
from retic.sources import api

K = TypeVar("K", bound=Hashable)
log = structlog.get_logger(__name__)

FIRST, LONGEST = 0.2, 60.0
"""Seconds before the second attempt, and at most between two."""


class AgainError(Exception):
    """The work is to be done once more after `seconds`; nothing is wrong."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds


class Rate:
    """A bucket of tokens: `burst` at once, `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int, time: clock.Clock) -> None:
        self._rate, self._burst, self._time = per_second, float(burst), time
        self._tokens, self._at = float(burst), time.now()

    async def take(self) -> None:
        """Wait for a token."""
        while True:
            now = self._time.now()
            self._tokens = min(self._burst, self._tokens + (now - self._at).total_seconds() * self._rate)
            self._at = now
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return
            await self._time.sleep((1.0 - self._tokens) / self._rate)


class Queue(Generic[K]):
    """Keys to do. `add` may be called at any time on the event loop; `run` does the work until it is cancelled."""

    def __init__(self, name: str, work: Callable[[K], Awaitable[None]], time: clock.Clock, *, workers: int = 4) -> None:
        self._name, self._work, self._time, self._workers = name, work, time, workers
        self._due: dict[K, None] = {}
        self._busy: set[K] = set()
        self._failures: dict[K, int] = {}
        self._later: dict[K, asyncio.Task[None]] = {}
        self._when: dict[K, datetime.datetime] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, key: K) -> None:
        """Have the key done soon; once, however often it is added before."""
        self._due[key] = None
        self._idle.clear()
        self._wake.set()

    def after(self, key: K, seconds: float) -> None:
        """Have the key done after a while; a time that was set before is kept when it is sooner."""
        due = self._time.now() + datetime.timedelta(seconds=seconds)
        before = self._later.get(key)
        if before is not None and not before.done():
            if self._when[key] <= due:
                return
            before.cancel()
        self._later[key], self._when[key] = asyncio.create_task(self._wait(key, seconds)), due

    async def _wait(self, key: K, seconds: float) -> None:
        await self._time.sleep(seconds)
        self._later.pop(key, None)
        self._when.pop(key, None)
        self.add(key)

    async def quiet(self) -> None:
        """Wait until nothing is due; what waits for its time does not count."""
        await self._idle.wait()

    async def run(self) -> None:
        """Do the work, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._worker())
        finally:
            for task in self._later.values():
                task.cancel()
            self._later.clear()
            self._when.clear()

    async def _worker(self) -> None:
        while True:
            key = next((key for key in self._due if key not in self._busy), None)
            if key is None:
                self._wake.clear()
                if not self._due and not self._busy:
                    self._idle.set()
                await self._wake.wait()
                continue
            del self._due[key]
            self._busy.add(key)
            try:
                await self._one(key)
            finally:
                self._busy.discard(key)
                self._wake.set()

    async def _one(self, key: K) -> None:
        try:
            await self._work(key)
        except AgainError as again:
            self.after(key, again.seconds)
            return
        except (api.Error, OSError) as error:
            self._failed(key, error)
            return
        except Exception as error:
            log.exception("a controller failed", controller=self._name, key=str(key))
            self._failed(key, error)
            return
        self._failures.pop(key, None)

    def _failed(self, key: K, error: Exception) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(LONGEST, FIRST * 2 ** min(count - 1, 10)) * random.uniform(0.75, 1.25)
        if count in (1, 3) or count % 10 == 0:
            log.warning("not written yet", controller=self._name, key=str(key), attempt=count, reason=str(error))
        self.after(key, pause)
