"""The client's end of the watch stream: a reflector that survives its server.

Connects, lists, follows; connects again with backoff and jitter whenever the stream ends or makes no sense,
and then gives out only what differs from what it had. Decides nothing about the objects.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from retic import findings, objects
from retic.sources import codec, model

MAX_LINE = 64 * 1024 * 1024
_CHUNK = 256 * 1024

_log = structlog.get_logger(__name__)


class Change(msgspec.Struct, frozen=True):
    """One object as it is now; `object` None: it is gone."""

    kind: str
    namespace: str
    name: str
    object: objects.Object | None = None
    position: model.Position | None = None


class Sink(Protocol):
    """Who receives. Called in the event loop, one call at a time; an exception ends `follow`."""

    def apply(self, changes: tuple[Change, ...]) -> None:
        """Changes that belong together: all of a first list, or all that arrived at once. Never empty."""

    def report(self, found: tuple[findings.Finding, ...]) -> None:
        """The whole list of findings, instead of the one before."""

    def synced(self) -> None:
        """A list is complete: after the first connection, and after each one that follows."""


class Backoff(msgspec.Struct, frozen=True):
    """Seconds to wait before connecting again: doubled each time, up to `longest`, half of it by chance."""

    first: float = 0.05
    longest: float = 2.0

    def delay(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row (from 1); `chance` is from 0 to 1."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + chance / 2)


BACKOFF = Backoff()


async def follow(
    path: Path,
    sink: Sink,
    *,
    backoff: Backoff = BACKOFF,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Follow the stream at the socket `path` until cancelled. The sink keeps what it has meanwhile."""
    reflector, failures = _Reflector(sink), 0
    while True:
        reason = "the server ended the stream"
        try:
            await reflector.connection(path)
        except (OSError, codec.CorruptError) as error:
            reason = str(error) or type(error).__name__
        failures = 1 if reflector.was_synced else failures + 1
        wait = backoff.delay(failures, random.random())
        _log.info("watch stream lost", path=str(path), reason=reason, wait=round(wait, 3))
        await pause(wait)


class Known:
    """What a sink was given: passes on only what differs from it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._known: dict[findings.Ref, Change] = {}

    def __contains__(self, ref: findings.Ref) -> bool:
        return ref in self._known

    def __len__(self) -> int:
        return len(self._known)

    def apply(self, changes: Mapping[findings.Ref, Change]) -> None:
        """Changes that belong together."""
        news = tuple(self._news(changes))
        if news:
            self._sink.apply(news)

    def replace(self, listed: Mapping[findings.Ref, Change], kept: Container[findings.Ref] = ()) -> None:
        """A whole list: what is neither in it nor in `kept` is gone."""
        gone = {
            ref: Change(ref.kind, ref.namespace, ref.name)
            for ref in self._known
            if ref not in listed and ref not in kept
        }
        self.apply({**gone, **listed})

    def _news(self, changes: Mapping[findings.Ref, Change]) -> Iterator[Change]:
        """Those that differ from what the sink has, which is brought up to date."""
        for ref, change in changes.items():
            known = self._known.get(ref)
            if change.object is None and known is not None:
                del self._known[ref]
                yield change
            elif change.object is not None and change != known:
                self._known[ref] = change
                yield change


class _Reflector:
    """What was given to the sink, and what the list of the present connection has so far."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._known = Known(sink)
        self._found: tuple[findings.Finding, ...] | None = None
        self._listed: dict[findings.Ref, Change] = {}
        self.was_synced = False

    async def connection(self, path: Path) -> None:
        """One connection, from request to end. OSError, CorruptError; what arrived before them counts."""
        self._listed, self.was_synced = {}, False
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(codec.REQUEST)
            await writer.drain()
            rest = b""
            while chunk := await reader.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE:
                    raise codec.CorruptError(f"a line of more than {MAX_LINE} bytes")
                self._take(lines)
        finally:
            writer.close()

    def _take(self, lines: list[bytes]) -> None:
        """Lines that arrived together; those before a corrupt one count."""
        batch: dict[findings.Ref, Change] = {}
        try:
            for event in map(codec.decode, lines):
                if event.type is codec.Type.SYNCED:
                    self._synced()
                elif event.type is codec.Type.FINDINGS:
                    self._report(event.found)
                elif event.object is not None:
                    change = _change(event.type, event.object, event.position)
                    target = batch if self.was_synced else self._listed
                    target[model.ref(event.object)] = change
        finally:
            self._known.apply(batch)

    def _report(self, found: tuple[findings.Finding, ...]) -> None:
        if found != self._found:
            self._found = found
            self._sink.report(found)

    def _synced(self) -> None:
        self._known.replace(self._listed)
        self._listed, self.was_synced = {}, True
        self._sink.synced()


def _change(kind: codec.Type, value: objects.Object, position: model.Position | None) -> Change:
    ref = model.ref(value)
    if kind is codec.Type.DELETED:
        return Change(ref.kind, ref.namespace, ref.name)
    return Change(ref.kind, ref.namespace, ref.name, value, position)
