"""A clock that stands still until a test moves it, and wakes who waited for the moment reached."""

import asyncio
import datetime

START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class Fake:
    """Fulfils `retic.identity.clock.Clock` and `retic.kube.lease.Clock`.

    `waiting` tells a test that somebody sleeps, and until when."""

    def __init__(self, start: datetime.datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime.datetime, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> tuple[datetime.datetime, ...]:
        """When each present sleeper wakes, soonest first."""
        return tuple(sorted(when for when, future in self._sleepers if not future.done()))

    def now(self) -> datetime.datetime:
        """The time a test has set, in UTC."""
        return self._now

    def seconds(self) -> float:
        """The same time as seconds, for clocks that only count."""
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the clock that far; at once when `seconds` is not positive."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._now + datetime.timedelta(seconds=seconds), future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            self._sleepers.remove(entry)

    def advance(self, seconds: float) -> None:
        """Move the clock; whoever's moment has come wakes at the event loop's next turn."""
        self._now += datetime.timedelta(seconds=seconds)
        for when, future in self._sleepers:
            if when <= self._now and not future.done():
                future.set_result(None)
