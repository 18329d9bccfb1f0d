"""List and watch of one kind: where it stands with its server, and what to do next.

Sources: Kubernetes API concepts (watches, bookmarks, 410 Gone, continue tokens). Knows no object but its head;
says when something failed, and leaves the waiting to its caller.
"""

import random
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from retic.sources.api import client, decoding, kinds
from retic.sources.api.errors import ApiError

_AS = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_UNAUTHORIZED, _ABSENT, _BUSY = 401, 404, 429


class Limits(msgspec.Struct, frozen=True):
    """`page`: objects in one answer. `watch`: seconds after which the server ends a watch, up to a third more by
    chance. `silence`: seconds without a byte after which one is given up."""

    page: int = 500
    watch: int = 300
    silence: float = client.SILENCE


LIMITS = Limits()


class Receiver(Protocol):
    """Who is told."""

    def began(self) -> None:
        """A list begins; one that was not ended counts for nothing."""

    def page(self, items: Iterable[decoding.Raw]) -> None:
        """A part of the list. CorruptError for an object that is none."""

    def listed(self) -> None:
        """The list is complete: there is nothing else."""

    def changed(self, events: Iterable[decoding.Event]) -> None:
        """What was added, modified or deleted, in order; arrived together. Never empty."""


class Followed:
    """One kind. `version` is the resourceVersion up to which the receiver knows everything; None: list anew."""

    def __init__(self, api: client.Api, read: kinds.Read, receiver: Receiver, limits: Limits = LIMITS) -> None:
        self._api, self._read, self._receiver, self._limits = api, read, receiver, limits
        self._version: str | None = None
        self._path = ""
        self._absences = 0
        self._holds = False
        self.progress = False
        """Whether the last step got anywhere before it ended."""

    async def step(self) -> bool:
        """A list, or a watch until its end; whether it got anywhere: if not, wait before the next one.

        ApiError, UnreachableError or CorruptError when it failed; the next step goes on where it is safe.
        """
        self.progress = False
        try:
            if self._version is None:
                await self._list()
            else:
                await self._watch(self._version)
        except ApiError as error:
            if error.status == _ABSENT:
                self._absent()
                return False
            if error.status not in {_UNAUTHORIZED, _BUSY}:
                self._version = None
            raise
        except decoding.CorruptError:
            self._version = None
            raise
        return self.progress

    async def _list(self) -> None:
        """From the first path that the server has; all parts are from one moment."""
        last: ApiError | None = None
        for path in self._read.paths:
            try:
                count, version = await self._pages(path)
            except ApiError as error:
                if error.status != _ABSENT:
                    raise
                last = error
                continue
            self._path, self._version, self._absences = path, version, 0
            self._holds = bool(count)
            self._receiver.listed()
            self.progress = True
            return
        if last is not None:
            raise last

    async def _pages(self, path: str) -> tuple[int, str]:
        """How many there are, and up to which version. A page at a time is in memory as it came."""
        self._receiver.began()
        count, rest = 0, ""
        while True:
            params = {"limit": self._limits.page, "continue": rest or None, "fieldSelector": self._read.fields}
            page = decoding.page(await self._api.content(path, accept=self._accept("List"), **params))
            self._receiver.page(page.items)
            count, rest = count + len(page.items), page.rest
            if not rest:
                return count, page.version

    async def _watch(self, version: str) -> None:
        """Until the server ends it, as it does after a while."""
        params: dict[str, Any] = {
            "watch": True, "allowWatchBookmarks": True, "resourceVersion": version,
            "timeoutSeconds": int(self._limits.watch * (1 + random.random() / 3)),
            "fieldSelector": self._read.fields,
        }  # fmt: skip
        silence = self._limits.silence
        async with self._api.pieces(self._path, silence=silence, accept=self._accept(""), **params) as pieces:
            async for lines in pieces:
                self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        """Lines that arrived together; those before a wrong one count."""
        good: list[decoding.Event] = []
        try:
            for each in map(decoding.event, filter(None, lines)):
                if each.type is decoding.Type.ERROR:
                    code, message = decoding.status(each.object)
                    raise ApiError(code, "", message, request=f"watch of {self._path}")
                if each.type is not decoding.Type.BOOKMARK:
                    good.append(each)
                self._version, self.progress = each.object.head.resource_version, True
        finally:
            if good:
                self._holds = True
                self._receiver.changed(good)

    def _absent(self) -> None:
        """The server does not have the kind. Believed at once when there was nothing, else the second time:
        an API server that starts says so for a moment of what it has."""
        self._version = None
        self._absences += 1
        if self._absences == (2 if self._holds else 1):
            self._holds = False
            self._receiver.began()
            self._receiver.listed()

    def _accept(self, suffix: str) -> str:
        return accept(self._read, suffix)


def accept(read: kinds.Read, suffix: str) -> str:
    """The form in which a kind is asked for; `suffix` is "List" for lists."""
    return _AS.format(suffix) if read.metadata_only else "application/json"
