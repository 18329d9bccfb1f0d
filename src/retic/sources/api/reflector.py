"""Reflects the kinds of an API server into a sink, for as long as it runs: what `stream.follow` is on a laptop.

Each kind is listed and watched by itself, so there is no order between kinds: a pod may come before its
namespace, a route before its Service. Decides nothing about the objects.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from retic import findings
from retic.sources import model, stream
from retic.sources.api import client, decoding, kinds, watching
from retic.sources.api.errors import ApiError, Error

BACKOFF = stream.Backoff(first=0.2, longest=10.0)
_LONGEST = 60.0
"""Seconds: an API server that asks for more patience than that is asked again all the same."""
_FORBIDDEN = 403

_log = structlog.get_logger(__name__)

Pause = Callable[[float], Awaitable[None]]


async def reflect(
    api: client.Api,
    reads: Sequence[kinds.Read],
    sink: stream.Sink,
    *,
    limits: watching.Limits = watching.LIMITS,
    backoff: stream.Backoff = BACKOFF,
    pause: Pause = asyncio.sleep,
) -> None:
    """Keep `sink` as the server is, until cancelled. It is synced when every kind was listed once.

    A kind that the server does not have counts as an empty list, one that we may not read does not: with a part
    of the objects only, a proxy would be told less than it has.
    """
    whole = _Whole(sink, reads)
    tasks = [asyncio.create_task(_keep(api, read, whole, limits, backoff, pause), name=read.kind) for read in reads]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(
    api: client.Api, read: kinds.Read, whole: "_Whole", limits: watching.Limits, backoff: stream.Backoff, pause: Pause
) -> None:
    """One kind, for ever."""
    followed, failures = watching.Followed(api, read, _Kind(read, whole), limits), 0
    while True:
        wait = 0.0
        try:
            progress = await followed.step()
            failures = 0 if progress else failures + 1
            whole.may_read(read)
        except (Error, decoding.CorruptError) as error:
            failures = 1 if followed.progress else failures + 1
            wait = min(getattr(error, "retry_after", None) or 0.0, _LONGEST)
            refused = isinstance(error, ApiError) and error.status in {401, _FORBIDDEN}  # a human must mend it
            tell = _log.warning if refused else _log.info
            tell("a watch was lost", kind=read.kind, reason=str(error), failures=failures)
            if isinstance(error, ApiError) and error.status == _FORBIDDEN:
                whole.may_not_read(read, error)
        if failures:
            await pause(max(wait, backoff.delay(failures, random.random())))


class _Whole:
    """What concerns all kinds: findings in one list, and whether everything was listed."""

    def __init__(self, sink: stream.Sink, reads: Sequence[kinds.Read]) -> None:
        self.sink = sink
        self._missing = set(reads)
        self._found: dict[tuple[kinds.Read, findings.Ref | None], tuple[findings.Finding, ...]] = {}
        self._reported: tuple[findings.Finding, ...] = ()

    def listed(self, read: kinds.Read) -> None:
        """A list of the kind is complete."""
        self._missing.discard(read)
        if not self._missing:
            self.sink.synced()

    def say(self, read: kinds.Read, ref: findings.Ref | None, found: tuple[findings.Finding, ...]) -> None:
        """The findings of one object, or (None) of the kind, instead of those before. `tell` passes them on."""
        if found:
            self._found[read, ref] = found
        else:
            self._found.pop((read, ref), None)

    def tell(self) -> None:
        """Report, when there is something new."""
        every = (each for found in self._found.values() for each in found)
        flat = tuple(sorted(every, key=lambda each: (each.object, each.code, each.message)))
        if flat != self._reported:
            self._reported = flat
            self.sink.report(self._reported)

    def may_not_read(self, read: kinds.Read, error: ApiError) -> None:
        """The server refuses the kind: say which right is missing."""
        self.say(read, None, (
            model.finding(
                "RT0610", read.kind, file="", line=0,
                message=f"the API server does not allow to {read.right}: {error.message}",
                fix="give the service account this right with a role and a binding; `retic upgrade` writes both",
            ),
        ))  # fmt: skip
        self.tell()

    def may_read(self, read: kinds.Read) -> None:
        """The server gives the kind out."""
        self.say(read, None, ())
        self.tell()


class _Kind:
    """Fulfils `watching.Receiver` for one kind: decodes, keeps the last good of what is broken, tells differences."""

    def __init__(self, read: kinds.Read, whole: _Whole) -> None:
        self._read, self._whole = read, whole
        self._known = stream.Known(whole.sink)
        self._spoken: set[findings.Ref] = set()
        self._closed: set[findings.Ref] = set()
        self._listed: dict[findings.Ref, stream.Change] = {}
        self._present: set[findings.Ref] = set()

    def began(self) -> None:
        self._listed, self._present = {}, set()

    def page(self, items: Iterable[decoding.Raw]) -> None:
        raws = {self._ref(raw): raw for raw in items}
        self._present |= raws.keys()
        self._listed |= self._changes(raws)

    def listed(self) -> None:
        for ref in self._spoken - self._present:
            self._say(ref, ())
        self._closed &= self._present
        self._known.replace(self._listed, kept=self._present)
        self._listed, self._present = {}, set()
        self._whole.tell()
        self._whole.listed(self._read)

    def changed(self, events: Iterable[decoding.Event]) -> None:
        last = {self._ref(each.object): each for each in events}
        changes = self._changes({ref: e.object for ref, e in last.items() if e.type is not decoding.Type.DELETED})
        for ref, each in last.items():
            if each.type is decoding.Type.DELETED:
                changes[ref] = stream.Change(ref.kind, ref.namespace, ref.name)
                self._closed.discard(ref)
                self._say(ref, ())
        self._known.apply(changes)
        self._whole.tell()

    def _changes(self, raws: dict[findings.Ref, decoding.Raw]) -> dict[findings.Ref, stream.Change]:
        """Changes for what can be used; findings for all."""
        changes = {}
        for ref, raw in raws.items():
            decoded = decoding.decode(self._read, raw)
            if decoded.is_closed and ref in self._known and ref not in self._closed:
                self._say(ref, tuple(map(model.kept, decoded.found)))
            elif decoded.value is not None:
                (self._closed.add if decoded.is_closed else self._closed.discard)(ref)
                changes[ref] = stream.Change(ref.kind, ref.namespace, ref.name, decoded.value)
                self._say(ref, decoded.found)
            else:
                kept = model.LAST_GOOD if ref in self._known else model.LEFT_OUT
                self._say(ref, model.ending(decoded.found, kept))
        return changes

    def _say(self, ref: findings.Ref, found: tuple[findings.Finding, ...]) -> None:
        if found:
            self._spoken.add(ref)
        else:
            self._spoken.discard(ref)
        self._whole.say(self._read, ref, found)

    def _ref(self, raw: decoding.Raw) -> findings.Ref:
        return findings.Ref(self._read.kind, raw.head.namespace, raw.head.name)
