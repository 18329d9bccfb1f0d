"""Keeps the documents of all URIs that are wanted: fetched, fetched anew in time, tried again when that fails.

The last good document stands while newer ones cannot be had, for a day.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from retic.sources.keys import fetch

log = structlog.get_logger(__name__)

MOST = 200
"""URIs at a time; none beyond is fetched."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds until a failed fetch is tried again: the first, doubled with each, and no more than the other."""

KEPT_SECONDS = 86400.0
_AT_ONCE = 8


class Outcome(msgspec.Struct, frozen=True):
    """The last document ("" for none), and why there is no newer one ("" when the last fetch went well)."""

    text: str = ""
    reason: str = ""


Report = Callable[[str, Outcome | None], None]
"""Told of each URI what came of it, when that changed; None when it is no longer wanted."""


class Fetcher:
    """`want` says what; `close` ends it. `sleep` and `now` (seconds that only grow) are for tests."""

    def __init__(
        self, get: fetch.Fetch, report: Report, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._get = get
        self._report = report
        self._sleep = sleep
        self._now = now
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seconds: dict[str, float] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._told = asyncio.Event()

    def want(self, wanted: Mapping[str, float]) -> None:
        """From now on these URIs and no others, each with the seconds that a fetch of it may take."""
        self._seconds = dict(wanted)
        for uri in [uri for uri in self._outcomes.keys() | self._tasks.keys() if uri not in wanted]:
            task = self._tasks.pop(uri, None)
            if task is not None:
                task.cancel()
            self._outcomes.pop(uri, None)
            self._report(uri, None)
        for uri in wanted:
            if uri in self._tasks:
                continue
            if len(self._tasks) >= MOST:
                self._say(uri, Outcome(reason=f"more than {MOST} URIs are named"))
                continue
            self._tasks[uri] = asyncio.get_running_loop().create_task(self._keep(uri), name=f"keys of {uri}")
        self._told.set()

    async def first(self, seconds: float) -> None:
        """Until each URI that is wanted now was fetched or was not to be had, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._seconds.keys() <= self._outcomes.keys():
                    self._told.clear()
                    await self._told.wait()

    async def close(self) -> None:
        """Fetch nothing any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, uri: str) -> None:
        good, since, wait = "", 0.0, FIRST_WAIT
        while True:
            try:
                async with self._few:
                    found = await self._get(uri, self._seconds[uri])
            except fetch.FetchError as error:
                if good and self._now() - since > KEPT_SECONDS:
                    good = ""
                self._say(uri, Outcome(good, str(error)))
                await self._sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
                continue
            good, since, wait = found.text, self._now(), FIRST_WAIT
            self._say(uri, Outcome(good))
            await self._sleep(found.seconds)

    def _say(self, uri: str, outcome: Outcome) -> None:
        if self._outcomes.get(uri) != outcome:
            self._outcomes[uri] = outcome
            if outcome.reason:
                log.warning("an issuer's keys could not be fetched", reason=outcome.reason)
            else:
                log.info("an issuer's keys were fetched", bytes=len(outcome.text))
            self._report(uri, outcome)
        self._told.set()
