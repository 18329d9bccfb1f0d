"""Reading, changing and writing an object that others write too."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from retic.sources.api.client import Api
from retic.sources.api.errors import ApiError

_TRIES = 6
_CONFLICT = 409


async def edit(api: Api, path: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
    """The object as it is after `change`; `path` may end in /status.

    `change` is given the object as it is now and returns what to write, or None when nothing is to be written. It
    is called again when somebody else was faster. ApiError 409 when that happens again and again, else what
    `get` and `replace` raise.
    """
    for attempt in range(1, _TRIES + 1):
        found = await api.get(path)
        wanted = change(found)
        if wanted is None or wanted == found:
            return found
        try:
            return await api.replace(path, wanted)
        except ApiError as error:
            if error.status != _CONFLICT or attempt == _TRIES:
                raise
        await asyncio.sleep(random.random() * 0.02 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
