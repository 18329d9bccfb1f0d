"""What a place to count in must do."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class StoreError(RuntimeError):
    """Nothing could be counted. The message has no secret in it."""


class Want(msgspec.Struct, frozen=True):
    """One more request of a window. `limit` names the limit, `key` a window among those of the limit: `requests` in
    `seconds`. One that is not `enforced` is counted and refuses nothing."""

    limit: str
    key: str
    requests: int
    seconds: int
    enforced: bool = True


class Taken(msgspec.Struct, frozen=True):
    """What a window says: whether the request is in it, how many more fit, and in how many seconds it ends."""

    fits: bool
    remaining: int
    reset: float


class Store(Protocol):
    """Counts in windows that begin with their first request."""

    async def take(self, wants: Sequence[Want]) -> list[Taken]:
        """Count a request in all of these windows, or, where one that is enforced is full, in none. StoreError."""
        ...

    async def look(self) -> None:
        """Whether anything can be counted. StoreError when not."""
        ...

    async def close(self) -> None: ...
