"""Which proxies have what an object came to: the pending names at the time of its change, crossed off one by one.

When an object changes, the graph's commit offers every resource that comes out different to the streams that watch
it, before the commit returns. So the names that a stream owes just after are all that it could owe because of the
object; once each has been answered, the proxy has the object, whatever came later. A stream that begins owes
everything until it has its listeners and is without debts for a moment. What is said is never too early; in a
storm it may be late.

Runs on every replica, for the streams of its own. Asked through `peers` for the others'.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from retic import findings
from retic.identity import clock
from retic.kube import live

Debt = frozenset[tuple[str, str]]
EVERY = 0.1
"""Seconds between two looks at the streams, at least."""
_ALL: Debt = frozenset({("", "")})


class Client(Protocol):
    """A proxy's name for itself."""

    @property
    def id(self) -> str: ...


class Found(Protocol):
    """How far a stream is (ads.stream.Progress)."""

    @property
    def pending(self) -> tuple[tuple[str, str], ...]: ...

    @property
    def refused(self) -> tuple[tuple[str, object], ...]: ...


class Stream(Protocol):
    """One proxy's stream (ads.stream.Stream)."""

    @property
    def client(self) -> Client | None: ...

    @property
    def idle(self) -> bool: ...

    @property
    def begun(self) -> bool: ...

    def progress(self) -> Found: ...


class Discovery(Protocol):
    """The discovery service of this replica (ads.Server)."""

    def streams(self) -> Iterator[Stream]: ...

    async def news(self) -> None: ...


class _Change(msgspec.Struct):
    generation: int
    debts: dict[int, Debt]
    """By stream, what it still owes of this change."""


class Progress:
    """`news` is called with the objects of which more is known than before."""

    def __init__(
        self, discovery: Discovery, time: clock.Clock, news: Callable[[Iterable[findings.Ref]], None]
    ) -> None:
        self._discovery = discovery
        self._time = time
        self._news = news
        self._changes: dict[findings.Ref, _Change] = {}
        self._generations: dict[findings.Ref, int] = {}
        self._fresh: set[int] = set()
        self._refused: dict[int, Debt] = {}
        self._blamed: dict[findings.Ref, set[tuple[int, str, str]]] = {}
        self._known: dict[int, Stream] = {}

    def changed(self, ref: findings.Ref, generation: int | None) -> None:
        """The graph has just taken in this generation of an object; None: it is gone."""
        if generation is None:
            self._generations.pop(ref, None)
            self._changes.pop(ref, None)
            self._blamed.pop(ref, None)
            return
        if self._generations.get(ref) == generation:
            return
        self._generations[ref] = generation
        self._blamed.pop(ref, None)
        self._meet()
        debts = {
            number: _ALL if number in self._fresh else frozenset(one.progress().pending)
            for number, one in self._known.items()
        }
        self._changes[ref] = _Change(generation, {number: debt for number, debt in debts.items() if debt})

    def of(self, ref: findings.Ref, generation: int, concerns: Callable[[str], bool]) -> live.Live:
        """How many of this replica's proxies have that generation; `concerns` chooses by client id.

        A generation that is not known here yet is live nowhere.
        """
        self._meet()
        chosen = [n for n, one in self._known.items() if one.client is not None and concerns(one.client.id)]
        if self._generations.get(ref, -1) < generation:
            return live.Live(0, len(chosen))
        change = self._changes.get(ref)
        owing = change.debts if change is not None else {}
        blamed = self._blamed.get(ref, ())
        refused = tuple(
            name for number, type_url, name in blamed
            if number in chosen and (type_url, name) in self._refused.get(number, ())
        )  # fmt: skip
        return live.Live(sum(1 for n in chosen if n not in owing and n not in self._fresh), len(chosen), refused)

    async def run(self) -> None:
        """Follow the streams until cancelled."""
        while True:
            waiting = asyncio.create_task(self._discovery.news())
            try:
                self.look()
                await waiting
            finally:
                waiting.cancel()
            await self._time.sleep(EVERY)

    def look(self) -> None:
        """Cross off what has been answered since."""
        moved = {ref for ref in self._generations if ref.kind == "Gateway"} if self._meet() else set()
        found = {number: one.progress() for number, one in self._known.items()}
        owed = {number: frozenset(each.pending) for number, each in found.items()}
        self._refused = {
            number: frozenset((type_url, str(getattr(one, "name", one))) for type_url, one in each.refused)
            for number, each in found.items()
        }
        settled = {number for number in self._fresh if _settled(self._known[number])}
        self._fresh -= settled
        for ref, change in list(self._changes.items()):
            for number, debt in list(change.debts.items()):
                left = self._left(number, debt, owed.get(number, frozenset()))
                self._blame(ref, number, debt - left)
                if left:
                    change.debts[number] = left
                else:
                    del change.debts[number]
                    moved.add(ref)
            if not change.debts:
                del self._changes[ref]
        if moved or settled:
            self._news(moved)

    def _left(self, number: int, debt: Debt, owed: Debt) -> Debt:
        if debt == _ALL:
            return _ALL if number in self._fresh else frozenset()
        return debt & owed

    def _blame(self, ref: findings.Ref, number: int, answered: Debt) -> None:
        """What was answered with a refusal stands against the object until it changes."""
        for type_url, name in answered & self._refused.get(number, frozenset()):
            self._blamed.setdefault(ref, set()).add((number, type_url, name))

    def _meet(self) -> bool:
        """Take in streams that have begun or ended; whether there were any."""
        now = {id(one): one for one in self._discovery.streams()}
        if now.keys() == self._known.keys() and all(now[n] is self._known[n] for n in now):
            return False
        for number in now.keys() - self._known.keys():
            if not _settled(now[number]):
                self._fresh.add(number)
        gone = self._known.keys() - now.keys()
        self._fresh -= gone
        for change in self._changes.values():
            for number in gone:
                change.debts.pop(number, None)
        self._known = now
        return True


def _settled(one: Stream) -> bool:
    return one.idle and one.begun
