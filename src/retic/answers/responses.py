"""Failed requests, asked of all agents of a mesh, and told by what the mesh is now.

It does not matter where the agents are. What does not answer is named, and keeps nobody from hearing the others.
"""

import asyncio
import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from retic import findings
from retic.answers.agents import Agents
from retic.control import model
from retic.explain.request import answer, callers
from retic.explain.request.world import World
from retic.explain.response import called, telling, told
from retic.mesh import tables, workloads
from retic.telemetry import entries, intake, words

Entry = entries.Entry
MOST = 1000
"""So many of each agent are looked at for a list."""
_STILL_ON_THEIR_WAY = 0.6  # seconds; an entry leaves Envoy within 0.25


class Unknown(Exception):  # noqa: N818
    """No agent has the entry; the text is for the user."""


class _Answer(msgspec.Struct, frozen=True):
    entries: tuple[Entry, ...] = ()
    kept: int = 0
    oldest: float = 0.0
    error: str = ""


class _Reported(msgspec.Struct, frozen=True):
    proxy: str
    entry: Entry


class Responses:
    """`world` is what the mesh is now; `option` is the command's that chooses a mesh."""

    def __init__(self, agents: Agents, world: Callable[[], World], option: str = "--name") -> None:
        self._agents = agents
        self._world = world
        self._option = option

    async def find(self, wanted: str) -> told.Told:
        """What became of the request whose answer had this id. Raises Unknown."""
        if not words.is_id(wanted):
            shown = told.plain(wanted, most=60)
            raise Unknown(
                f"{shown!r} is no id of an answer: write what the header {words.ID_HEADER} says, such as "
                "3f0c7a52-91d4-4c36-9d5e-0a6c1f7b8e21; retic explain response --last 10 lists the newest"
            )
        found, answers = await self._entries(wanted)
        if not found:
            await asyncio.sleep(_STILL_ON_THEIR_WAY)
            found, answers = await self._entries(wanted)
        if not found:
            raise Unknown(_unknown(wanted, answers, self._option))
        # What made the answer is told first: the proxy further on.
        found.sort(key=lambda one: (one.entry.source, one.entry.time))
        others = await self._others(found)
        world = self._world()
        return told.Told(wanted, tuple(telling.tell(world, one.entry, one.proxy) for one in (*found, *others)))

    async def failed(self, asked: model.AskFailed) -> told.Listed:
        """The newest that failed. Raises explain.request.answer.Unclear for a caller who is not there."""
        world = self._world()
        wanted = _by(world, asked)
        answers = await self._all({"failed": MOST})
        reported = [_Reported(name, entry) for name, said in answers.items() if said for entry in said.entries]
        chosen = sorted((one for one in reported if wanted(one.entry)), key=lambda one: -one.entry.time)
        shown = chosen[: max(0, asked.last)]
        missing = tuple(name for name, said in answers.items() if said is None)
        return told.Listed(tuple(telling.listed(world, one.entry, one.proxy) for one in shown), missing)

    async def _entries(self, wanted: str) -> tuple[list[_Reported], Mapping[str, _Answer | None]]:
        answers = await self._all({"find": wanted})
        found = [
            _Reported(name, entry)
            for name, said in answers.items() if said
            # A client may have chosen the same for its x-request-id.
            for entry in said.entries if entry.answer == wanted
        ]  # fmt: skip
        return found, answers

    async def _others(self, found: Iterable[_Reported]) -> list[_Reported]:
        """What other proxies say of the same request."""
        known = list(found)
        others: list[_Reported] = []
        for stream in {one.entry.id for one in known if one.entry.id}:
            for name, said in (await self._all({"find": stream})).items():
                for entry in said.entries if said else ():
                    new = entry.answer not in {one.entry.answer for one in (*known, *others)}
                    if new and any(telling.same(one.entry, entry) for one in known):
                        others.append(_Reported(name, entry))
        return others

    async def _all(self, question: Mapping[str, Any]) -> dict[str, _Answer | None]:
        names = await self._agents.names()
        answers = await asyncio.gather(*(self._one(agent, question) for agent in names))
        return dict(zip(names.values(), answers, strict=True))

    async def _one(self, agent: str, question: Mapping[str, Any]) -> _Answer | None:
        try:
            said = msgspec.json.decode(await self._agents.ask(agent, question), type=_Answer)
        except (OSError, msgspec.MsgspecError):
            return None
        return None if said.error else said


def _unknown(wanted: str, answers: Mapping[str, _Answer | None], option: str) -> str:
    there = [said for said in answers.values() if said is not None]
    kept, oldest = sum(said.kept for said in there), min((said.oldest for said in there if said.kept), default=0.0)
    since = datetime.datetime.fromtimestamp(oldest, datetime.UTC).isoformat(timespec="seconds")
    now = f"now {kept}, the oldest of {since}" if kept else "now none"
    silent = [name for name, said in answers.items() if said is None]
    also = f" No answer came from {', '.join(silent)}." if silent else ""
    return (
        f"no proxy of this mesh has an entry with the id {wanted}. Each agent keeps the newest "
        f"{intake.KEPT_BYTES >> 20} MiB of what failed, some 3,000 requests ({now}), until it ends.{also} "
        f"If the answer came from another mesh, choose that one with {option}"
    )


def _by(world: World, asked: model.AskFailed) -> Callable[[Entry], bool]:
    """Whether an entry is about a call of the asked caller."""
    if not asked.source:
        return lambda entry: not asked.namespace or asked.namespace in _namespaces(entry)
    namespace = asked.namespace or "default"
    who = callers.find(world, answer.Asked(asked.source, "", namespace))
    ref = who.ref or findings.Ref("", "", "")
    if ref.kind == "Pod":
        return lambda entry: _of_pod(world, entry, ref)
    if ref.kind == "ServiceAccount":
        return lambda entry: who.identity in (entry.caller, _own(world, entry) if entry.source else "")
    workload = f"{ref.namespace}/{ref.name}"
    return lambda entry: workload == (entry.workload if entry.source else entry.peer)


def _namespaces(entry: Entry) -> set[str]:
    return {each.partition("/")[0] for each in (entry.workload, entry.peer, entry.service)}


def _of_pod(world: World, entry: Entry, ref: findings.Ref) -> bool:
    pod = world.db.ask(workloads.workload, tables.Key(ref.namespace, ref.name))
    if pod is None:
        return False
    return entry.pod == pod.uid if entry.source else entry.remote.rpartition(":")[0] == pod.address


def _own(world: World, entry: Entry) -> str:
    found = world.db.ask(workloads.by_uid, entry.pod) if entry.pod else None
    return called.identity(world, found) if found else ""
