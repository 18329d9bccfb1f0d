"""Time as a value that can be given: the real clock, and the Protocol that a fake one fulfils too."""

import asyncio
import datetime
from typing import Protocol


class Clock(Protocol):
    """What timers may ask. `now` is in UTC, aware; `sleep` is in seconds."""

    def now(self) -> datetime.datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class System:
    """The machine's clock."""

    def now(self) -> datetime.datetime:
        """The present time in UTC."""
        return datetime.datetime.now(datetime.UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait that many seconds; less than nothing is nothing."""
        await asyncio.sleep(max(0.0, seconds))
