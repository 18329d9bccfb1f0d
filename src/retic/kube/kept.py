"""Answers about secrets, kept for some seconds by the secret's hash: the secrets themselves are not."""

import asyncio
import collections
import hashlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Answers(Generic[T]):
    """`ask` is asked once for all who ask at the same time or within `seconds`; `most` answers are kept. After an error
    that `again` says so of, the next one asks anew. `now` in seconds, of any beginning."""

    def __init__(
        self, ask: Callable[[str], Awaitable[T]], now: Callable[[], float], seconds: float, *, most: int,
        again: Callable[[BaseException], bool],
    ) -> None:  # fmt: skip
        self._ask, self._now, self._seconds, self._most, self._again = ask, now, seconds, most, again
        self._kept: collections.OrderedDict[bytes, tuple[float, asyncio.Task[T]]] = collections.OrderedDict()

    def __repr__(self) -> str:
        return f"<{len(self._kept)} answers>"

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def knows(self, secret: str) -> bool:
        """Whether the next who asks gets an answer that is there, or is on its way."""
        found = self._kept.get(named(secret))
        return found is not None and found[0] > self._now() and not self._failed(found[1])

    async def of(self, secret: str) -> T:
        """The answer, or the error that came instead of one."""
        name = named(secret)
        found = self._kept.pop(name, None)
        if found is None or found[0] <= self._now() or self._failed(found[1]):
            found = self._now() + self._seconds, asyncio.create_task(self._asked(secret))
        self._kept[name] = found
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        # Shielded: others may wait for the same answer.
        return await asyncio.shield(found[1])

    async def _asked(self, secret: str) -> T:
        return await self._ask(secret)

    def _failed(self, task: "asyncio.Task[T]") -> bool:
        if not task.done():
            return False
        if task.cancelled():
            return True
        error = task.exception()
        return error is not None and self._again(error)


def named(secret: str) -> bytes:
    """What stands for a secret that is not kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
