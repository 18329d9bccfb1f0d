"""Single requests as they pass, from the agents of a mesh to whoever asked: `retic tap`.

Only the pods concerned report, and only while somebody listens: each agent sees to that for as long as its connection
lasts. Pods and agents that come later are looked at too. A call has one line, from the caller's proxy where that is
looked at, else from the called one's.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable

import msgspec

from retic import graph
from retic.answers import tap_ends, tap_headers
from retic.answers.agents import Agents
from retic.control import model
from retic.sources import store
from retic.telemetry import calls, entries

MOST_A_SECOND = 200
"""So many calls of one tap are told in a second; how many more there were is said."""
_SAID = 1.0  # seconds of silence after which it is said how many were not told
Pods = tuple[str, ...]


class _Line(msgspec.Struct, frozen=True):
    following: bool = False
    entry: entries.Entry | None = None
    dropped: int = 0
    error: str = ""


class Taps:
    """`news` is notified when an object has changed."""

    def __init__(
        self, agents: Agents, db: graph.Graph, kept: store.Store, headers: tap_headers.Headers, news: asyncio.Condition,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._agents = agents
        self._db = db
        self._kept = kept
        self._headers = headers
        self._news = news
        self._now = now

    async def tap(self, asked: model.AskTap) -> AsyncGenerator[model.Tapped, None]:
        """First how many pods report, then each call. Raises Refused when there is none to look at."""
        ends = tap_ends.Ends(self._db, self._kept, asked)
        ends.check()
        self._headers.check(ends.namespaces(), asked)
        out: asyncio.Queue[model.Tapped] = asyncio.Queue(maxsize=1000)
        told = _Told(ends, asked, out, self._now)
        watching = asyncio.create_task(self._watch(ends, told, asked), name="tap")
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
            self._headers.forget(told)

    async def _watch(self, ends: tap_ends.Ends, told: "_Told", asked: model.AskTap) -> None:
        """Keep a connection to each agent that has pods concerned."""
        following: dict[str, _Followed] = {}
        changed = asyncio.Event()
        listening = asyncio.create_task(self._listen(changed))
        said = -1
        try:
            while True:
                changed.clear()
                ends.refresh()
                await self._headers.want(told, ends.namespaces(), asked)
                wanted = ends.by_agent(await self._agents.names())
                for agent in [name for name, one in following.items() if one.pods != wanted.get(name)]:
                    following.pop(agent).task.cancel()
                for agent, pods in wanted.items():
                    if agent not in following:
                        following[agent] = _Followed(pods, changed)
                        following[agent].begin(self._agents, agent, told)
                await asyncio.gather(*(one.ready.wait() for one in following.values()))
                count = sum(len(one.pods) for one in following.values() if one.stands)
                if count != said:
                    said = count
                    await told.out.put(model.Tapped(pods=count))
                await changed.wait()
                await asyncio.sleep(self._agents.pause)
        finally:
            tasks = [listening, *(one.task for one in following.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, changed: asyncio.Event) -> None:
        while True:
            async with self._news:
                await self._news.wait()
            changed.set()


class _Followed:
    """An agent that is listened to. `ready`: it was reached, or tried in vain; `changed` is set when `stands` has
    changed later."""

    def __init__(self, pods: Pods, changed: asyncio.Event) -> None:
        self.pods = pods
        self.ready = asyncio.Event()
        self.stands = False
        self._changed = changed

    def begin(self, agents: Agents, agent: str, told: "_Told") -> None:
        """Listen to it until `task` is cancelled."""
        self.task = asyncio.create_task(self._follow(agents, agent, told), name=f"tap {agent}")

    async def _follow(self, agents: Agents, agent: str, told: "_Told") -> None:
        question = {"follow": {"pods": self.pods, "failed": told.failed}}
        while True:
            with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):
                async with contextlib.aclosing(agents.follow(agent, question)) as lines:
                    async for line in lines:
                        self._take(msgspec.json.decode(line, type=_Line), told)
            self._stand(stands=False)  # whoever waits need not wait for an agent that is away
            await asyncio.sleep(agents.pause)

    def _take(self, said: _Line, told: "_Told") -> None:
        if said.error:
            raise OSError(said.error)
        self._stand(stands=True)
        told.missed += said.dropped
        if said.entry is not None:
            told.entry(said.entry)

    def _stand(self, *, stands: bool) -> None:
        if self.ready.is_set() and stands is not self.stands:
            self._changed.set()
        self.stands = stands
        self.ready.set()


class _Told:
    """What becomes of an entry."""

    def __init__(
        self, ends: tap_ends.Ends, asked: model.AskTap, out: "asyncio.Queue[model.Tapped]", now: Callable[[], float]
    ) -> None:
        self._ends = ends
        self._shown = msgspec.structs.replace(asked.shown, headers=tuple({*asked.shown.headers, *asked.wanted.headers}))
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
