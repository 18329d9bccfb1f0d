"""Waiting on a condition instead of sleeping; refuses to hide which condition was not met."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 40.0, every: float = 0.02) -> T:
    """Call `condition` every `every` seconds until it returns something true, and return that.

    An AssertionError counts as "not yet". Raises TimeoutError, naming `what`, after `seconds`.
    """
    end = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still not: {what} (last seen: {last!r})")
        time.sleep(every)


async def until_async(
    condition: Callable[[], Awaitable[T] | T], what: str, seconds: float = 40.0, every: float = 0.02
) -> T:
    """As `until`, for a running event loop; `condition` may be a plain or an async function."""
    end = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            answer = condition()
            value = await answer if isinstance(answer, Awaitable) else answer
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still not: {what} (last seen: {last!r})")
        await asyncio.sleep(every)
