"""Single requests as they pass, from the agents of a mesh on this machine to whoever asked: `retic tap`.

Only the pods concerned report, and only while somebody listens: each agent sees to that for as long as its connection
lasts. Pods and agents that come later are looked at too. A call has one line, from the caller's proxy where that is
looked at, else from the called one's.
"""

import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncGenerator, Callable

import msgspec

from retic import ads, graph
from retic.answers import tap_ends
from retic.control import admin, model, service
from retic.mesh import tables
from retic.sources import store
from retic.telemetry import calls, entries, redaction, words

MOST_A_SECOND = 200
"""So many calls of one tap are told in a second; how many more there were is said."""
_AGAIN = 0.1  # seconds until an agent that went away is tried again
_PATIENCE = 3.0  # seconds until it begins without a proxy that is late
_SAID = 1.0  # seconds of silence after which it is said how many were not told
_LONGEST = 1 << 20  # bytes of an entry's line
Pods = tuple[str, ...]


class _Line(msgspec.Struct, frozen=True):
    following: bool = False
    entry: entries.Entry | None = None
    dropped: int = 0
    error: str = ""


class Taps:
    """`news` is notified when an object has changed."""

    def __init__(
        self, folder: pathlib.Path, db: graph.Graph, kept: store.Store, discovery: ads.Server, news: asyncio.Condition,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._db = db
        self._discovery = discovery
        self._headers = _Headers(db)
        self._kept = kept
        self._news = news
        self._now = now

    async def tap(self, asked: model.AskTap) -> AsyncGenerator[model.Tapped, None]:
        """First how many pods report, then each call. Raises Refused when there is none to look at."""
        ends = tap_ends.Ends(self._db, self._kept, asked)
        ends.check()
        names = frozenset((*asked.wanted.headers, *asked.shown.headers))
        for name in sorted(names):
            if reason := redaction.unreported(name, asked.shown.secret):
                raise service.Refused(reason)
        if len(names | self._headers.all) > words.MOST_HEADERS:
            raise service.Refused(f"all who tap may look at {words.MOST_HEADERS} headers together, not more")
        out: asyncio.Queue[model.Tapped] = asyncio.Queue(maxsize=1000)
        told = _Told(ends, asked, out, self._now)
        watching = asyncio.create_task(self._watch(ends, told, names), name="tap")
        try:
            while not watching.done():
                try:
                    async with asyncio.timeout(_SAID):
                        found = await out.get()
                except TimeoutError:
                    if told.missed:
                        yield told.missing()
                    continue
                yield found
            watching.result()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._headers.want(told, frozenset(), frozenset())

    async def _watch(self, ends: tap_ends.Ends, told: "_Told", names: frozenset[str]) -> None:
        """Keep a connection to each agent that has pods concerned."""
        following: dict[str, tuple[Pods, asyncio.Task[None], asyncio.Event]] = {}
        said = -1
        try:
            while True:
                ends.refresh()
                if self._headers.want(told, ends.namespaces(), names):
                    await self._discovery.settled(_PATIENCE)
                wanted = ends.by_agent(admin.proxies(self._folder))
                for agent in [name for name in following if following[name][0] != wanted.get(name)]:
                    following.pop(agent)[1].cancel()
                for agent, uids in wanted.items():
                    if agent not in following:
                        ready = asyncio.Event()
                        task = asyncio.create_task(self._agent(agent, uids, told, ready))
                        following[agent] = (uids, task, ready)
                await asyncio.gather(*(ready.wait() for _, _, ready in following.values()))
                count = sum(len(uids) for uids, _, _ in following.values())
                if count != said:
                    said = count
                    await told.out.put(model.Tapped(pods=count))
                async with self._news:
                    await self._news.wait()
        finally:
            for _, task, _ in following.values():
                task.cancel()
            await asyncio.gather(*(task for _, task, _ in following.values()), return_exceptions=True)

    async def _agent(self, agent: str, uids: Pods, told: "_Told", ready: asyncio.Event) -> None:
        socket = self._folder / "agents" / agent / "reports.sock"
        while True:
            with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
                reader, writer = await asyncio.open_unix_connection(str(socket), limit=_LONGEST)
                try:
                    writer.write(msgspec.json.encode({"follow": {"pods": uids, "failed": told.failed}}) + b"\n")
                    while line := await reader.readline():
                        said = msgspec.json.decode(line, type=_Line)
                        ready.set()
                        told.missed += said.dropped
                        if said.entry is not None:
                            told.entry(said.entry)
                finally:
                    writer.close()
            ready.set()  # whoever waits need not wait for an agent that is away
            await asyncio.sleep(_AGAIN)


class _Headers:
    """Which request headers are noted for those who look."""

    def __init__(self, db: graph.Graph) -> None:
        self._db = db
        self._wanted: dict[object, dict[str, frozenset[str]]] = {}

    @property
    def all(self) -> frozenset[str]:
        """What is noted anywhere."""
        return frozenset(name for each in self._wanted.values() for names in each.values() for name in names)

    def want(self, whose: object, namespaces: frozenset[str], names: frozenset[str]) -> bool:
        """From now on `whose` are these; whether anything changes."""
        before = self._wanted.pop(whose, {})
        now = dict.fromkeys(namespaces, names) if names else {}
        if now:
            self._wanted[whose] = now
        if now == before:
            return False
        changes: list[graph.Change] = []
        for namespace in {*before, *now}:
            some = frozenset(name for each in self._wanted.values() for name in each.get(namespace, ()))
            key = tables.Key("", namespace)
            row = tables.Observed(tuple(sorted(some)))
            changes.append(graph.Set(tables.OBSERVED, key, row) if some else graph.Delete(tables.OBSERVED, key))
        self._db.commit(changes)
        return True


class _Told:
    """What becomes of an entry."""

    def __init__(
        self, ends: tap_ends.Ends, asked: model.AskTap, out: "asyncio.Queue[model.Tapped]", now: Callable[[], float]
    ) -> None:
        self._ends = ends
        self._shown = msgspec.structs.replace(
            asked.shown, headers=tuple({*asked.shown.headers, *asked.wanted.headers})
        )
        self._holds = calls.matcher(asked.wanted)
        self._now = now
        self._second, self._in_second = 0, 0
        self.failed = ends.destination_only
        self.out = out
        self.missed = 0

    def entry(self, entry: entries.Entry) -> None:
        """Tell of it, if it is wanted and there is room."""
        if not self._ends.concern(entry):
            return
        made = calls.call(entry, self._shown, self._ends.workload_at)
        if not self._holds(made):
            return
        second = int(self._now())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > MOST_A_SECOND or self.out.full():
            self.missed += 1
            return
        self.out.put_nowait(msgspec.structs.replace(self.missing(), call=made))

    def missing(self) -> model.Tapped:
        """How many were not told since this was said last."""
        missed, self.missed = self.missed, 0
        return model.Tapped(missed=missed)
