"""Objects of an API server as they are at one moment: for commands, which ask once and end.

Lists and decodes exactly as the reflector does, with the same last look at what cannot be decoded. What the caller
may not read is part of the answer, not an error.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from retic import findings, objects
from retic.sources import model
from retic.sources.api import client, decoding, kinds, watching
from retic.sources.api.errors import ApiError, UnreachableError

_FORBIDDEN, _ABSENT, _GONE = 403, 404, 410
_TRIES = 3


class Refused(msgspec.Struct, frozen=True):
    """A kind that the caller may not list, and what the server said."""

    read: kinds.Read
    message: str


class Listed(msgspec.Struct, frozen=True):
    """`found`: faults of form of what was listed, an object that cannot be used among them."""

    values: tuple[objects.Object, ...] = ()
    found: tuple[findings.Finding, ...] = ()
    refused: tuple[Refused, ...] = ()

    def __add__(self, other: "Listed") -> "Listed":
        return Listed(self.values + other.values, self.found + other.found, self.refused + other.refused)


async def listed(api: client.Api, reads: Sequence[kinds.Read]) -> Listed:
    """All objects of these kinds, at once. Error when the server cannot be asked; a kind it does not have is empty."""
    answer = Listed()
    for each in await asyncio.gather(*(_kind(api, read) for read in reads)):
        answer += each
    return answer


async def _kind(api: client.Api, read: kinds.Read) -> Listed:
    page = _Pages()
    followed = watching.Followed(api, read, page)
    for attempt in range(1, _TRIES + 1):
        try:
            await followed.step()
            return _decoded(read, page.raws)
        except decoding.CorruptError as error:
            raise UnreachableError(f"the API server's list of {read.plural} makes no sense: {error}") from None
        except ApiError as error:
            if error.status == _FORBIDDEN:
                return Listed(refused=(Refused(read, error.message),))
            if error.status != _GONE or attempt == _TRIES:  # the list took longer than the server remembers
                raise
    raise AssertionError("the last attempt returns or raises")


async def one(api: client.Api, read: kinds.Read, namespace: str, name: str) -> Listed:
    """A single object of the kind; nothing when it is not there. `refused` when the caller may not read it."""
    for path in read.paths:
        prefix, _, plural = path.rpartition("/")
        inside = f"/namespaces/{namespace}" if namespace and objects.KINDS[read.kind].namespaced else ""
        try:
            body = await api.content(f"{prefix}{inside}/{plural}/{name}", accept=watching.accept(read, ""))
        except ApiError as error:
            if error.status == _FORBIDDEN:
                return Listed(refused=(Refused(read, error.message),))
            if error.status != _ABSENT:
                raise
            continue
        try:
            return _decoded(read, [decoding.single(body)])
        except decoding.CorruptError as error:
            raise UnreachableError(f"what the API server sent as {read.kind} {name} makes no sense: {error}") from None
    return Listed()


def _decoded(read: kinds.Read, raws: Iterable[decoding.Raw]) -> Listed:
    values: list[objects.Object] = []
    found: list[findings.Finding] = []
    for raw in raws:
        each = decoding.decode(read, raw)
        if each.value is None:
            found.extend(model.ending(each.found, model.LEFT_OUT))
        else:
            values.append(each.value)
            found.extend(each.found)
    return Listed(tuple(values), tuple(found))


class _Pages:
    """Fulfils `watching.Receiver` for a single list."""

    def __init__(self) -> None:
        self.raws: list[decoding.Raw] = []

    def began(self) -> None:
        self.raws = []

    def page(self, items: Iterable[decoding.Raw]) -> None:
        self.raws.extend(items)

    def listed(self) -> None:
        """Nothing is left to do."""

    def changed(self, events: Iterable[decoding.Event]) -> None:
        raise AssertionError("nobody watches")
