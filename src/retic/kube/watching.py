"""Wakes whoever goes by a single object when it changes; what it says is read by the one who is woken."""

import asyncio
import random
from collections.abc import Callable

import structlog

from retic.sources import api

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts
_log = structlog.get_logger("retic.kube")


async def follow(cluster: api.Api, collection: str, name: str, changed: Callable[[], None]) -> None:
    """Call `changed` at every event of the object, and when a watch begins, for ever."""
    pause, said = FIRST_PAUSE, ""
    while True:
        reason = ""
        try:
            selector = f"metadata.name={name}"
            async with cluster.lines(
                collection, watch=True, fieldSelector=selector, allowWatchBookmarks=True
            ) as lines:
                async for _ in lines:
                    pause = FIRST_PAUSE
                    changed()
        except api.Error as error:
            reason = str(error)
        if reason and reason != said:
            _log.warning("a watch ended", object=f"{collection}/{name}", reason=reason)
        said = reason
        changed()
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(LONGEST_PAUSE, pause * 2)

