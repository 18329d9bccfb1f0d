"""The API server as the leader may use it: reads always, writes only while the lease is held at that moment.

The task of a leader that is none any more is cancelled, but a write could be on its way just then.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

from retic.sources import api


class NotLeadingError(api.Error):
    """The lease is not held any more: nothing was written."""


class Client:
    """As `api.Api`, with the same errors, and NotLeadingError before a write."""

    def __init__(self, client: api.Api) -> None:
        self._api = client
        self.is_held: Callable[[], bool] = lambda: False

    def _check(self) -> None:
        if not self.is_held():
            raise NotLeadingError("this replica does not lead any more")

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """An object or a list."""
        return await self._api.get(path, **params)

    def lines(self, path: str, **params: Any) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A watch."""
        return self._api.lines(path, **params)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object."""
        self._check()
        return await self._api.create(path, body)

    async def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Server-side apply."""
        self._check()
        return await self._api.apply(path, body)

    async def patch(
        self, path: str, body: Any, *, kind: Literal["merge", "strategic", "json"] = "merge"
    ) -> dict[str, Any]:
        """A patch."""
        self._check()
        return await self._api.patch(path, body, kind=kind)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole object."""
        self._check()
        return await self._api.replace(path, body)

    async def delete(self, path: str) -> None:
        """Delete; what is not there is fine."""
        self._check()
        await self._api.delete(path)
