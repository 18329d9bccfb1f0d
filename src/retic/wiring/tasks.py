"""Waiting: for tasks to end, for news, for the first whole list of objects."""

import asyncio
from typing import Any

from retic.sources import store


async def synced(kept: store.Store, news: asyncio.Condition) -> None:
    """Until the store holds a whole list."""
    async with news:
        await news.wait_for(lambda: kept.is_synced)


async def until(stop: asyncio.Event, *tasks: "asyncio.Future[Any]") -> None:
    """Until `stop` is set or one of the tasks ends; raises what it raised."""
    waiting: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for finished in done:
        finished.result()


class Notifier:
    """Wakes whoever waits for news, from code that cannot wait itself."""

    def __init__(self, condition: asyncio.Condition) -> None:
        self._condition = condition
        self._task: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._condition:
            self._condition.notify_all()
