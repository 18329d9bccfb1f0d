"""The condition `retic.dev/Captured` of pods, on the word of the agents of their nodes.

Runs on every replica, for the agents that report to it. A node's agent speaks for pods that the objects place on
its node and for no other. During an upgrade a node has two agents: what one of them has captured is captured, and
it is released only by one that had it. An agent that is silent changes nothing: its Envoy runs on.

An agent's reports reach now this replica, now another. So what a replica was told counts while it takes a report and
shortly after, and never overrules what another has written since: a report is answered once its conditions are written.
"""

import asyncio
import datetime
from collections.abc import Iterable

import msgspec
import structlog

from retic import findings, graph
from retic.identity import clock, report
from retic.kube import paths, work
from retic.mesh import tables
from retic.objects import pods
from retic.sources import api, store

log = structlog.get_logger(__name__)

CONDITION = tables.CAPTURED
FRESH = 90.0
"""Seconds for which a report counts. Agents report at each change, and every 30 s."""
SETTLED = 30.0
"""Seconds for which an agent may not yet have what its predecessor had."""
LATE = 10.0
"""Seconds after which a report does not count for a pod that becomes known after it: agents report anew by then."""
_AT_ONCE = 8


class _Agent(msgspec.Struct):
    """One agent's word: since when it has which pod, since when it speaks, and when it spoke last."""

    begun: datetime.datetime
    last: datetime.datetime
    since: dict[str, datetime.datetime]


class Captured:
    """Takes reports and patches pods."""

    def __init__(self, client: api.Api, mesh: graph.Graph, kept: store.Store, time: clock.Clock) -> None:
        self._api, self._mesh, self._kept, self._time = client, mesh, kept, time
        self._nodes: dict[str, dict[str, _Agent]] = {}
        self._released: set[str] = set()
        self._written: dict[findings.Ref, tuple[str | None, bool]] = {}  # uid and what we said, unless heard since
        self._rate = work.Rate(50, 200, time)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.queue = work.Queue("captured", self._late, time, workers=_AT_ONCE)
        self.refused = 0
        """Pods that were reported by an agent of another node."""

    async def report(self, node: str, agent: str, said: report.Report) -> None:
        """Take in what an agent of the node says now; returns once its pods say so too. api.Error, OSError."""
        now = self._time.now()
        agents = self._nodes.setdefault(node, {})
        for name in [name for name, other in agents.items() if (now - other.last).total_seconds() > FRESH]:
            del agents[name]
        one = agents.setdefault(agent, _Agent(now, now, {}))
        captured = set(said.captured)
        for uid in one.since.keys() - captured:
            self._release(agents, one, uid)
        self._released = (self._released | set(said.released)) - captured
        one.since = {uid: one.since.get(uid, now) for uid in captured}
        one.last = now
        self._count_refused(node, captured)
        here = [findings.Ref("Pod", key.namespace, key.name) for key in self._mesh.find(tables.PODS_BY_NODE, node)]
        for outcome in await asyncio.gather(*map(self._write, here), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _release(self, agents: dict[str, _Agent], one: _Agent, uid: str) -> None:
        """The agent had the pod and has it no more. Who spoke last before it took the pod over has it neither."""
        for other in agents.values():
            if other is not one and other.last <= one.since[uid]:
                other.since.pop(uid, None)
        if not any(uid in other.since for other in agents.values() if other is not one):
            self._released.add(uid)

    def _count_refused(self, node: str, captured: set[str]) -> None:
        here = self._mesh.find(tables.PODS_BY_NODE, node)
        for uid in captured:
            for key in self._mesh.find(tables.PODS_BY_UID, uid) - here:
                self.refused += 1
                log.warning("an agent reports a pod of another node", node=node, pod=f"{key.namespace}/{key.name}")

    def changed(self, refs: Iterable[findings.Ref]) -> None:
        """Pods have come or changed: a report may have been ahead of those of which nobody has said anything yet."""
        for ref in refs:
            if ref.kind == "Pod":
                self._written.pop(ref, None)
                value = self._kept.objects.get(ref)
                if isinstance(value, pods.Pod) and _unsaid(value) and self._just_told(value.spec.node_name or ""):
                    self.queue.add(ref)

    def _just_told(self, node: str) -> bool:
        now = self._time.now()
        agents = self._nodes.get(node, {}).values()
        return any((now - one.last).total_seconds() <= LATE for one in agents)

    def wanted(self, pod: pods.Pod) -> bool | None:
        """What the condition is to say; None: leave it as it is."""
        uid, now = pod.metadata.uid or "", self._time.now()
        status = pod.status
        if status is None or status.phase in ("Succeeded", "Failed"):
            return None
        if uid in self._released:
            return False
        agents = self._nodes.get(pod.spec.node_name or "", {})
        fresh = [one for one in agents.values() if (now - one.last).total_seconds() <= FRESH]
        if any(uid in one.since for one in fresh):
            return True
        if fresh and all((one.last - one.begun).total_seconds() >= SETTLED for one in fresh):
            return False
        return None

    async def _late(self, ref: findings.Ref) -> None:
        pod = self._kept.objects.get(ref)
        if isinstance(pod, pods.Pod) and _unsaid(pod) and self._just_told(pod.spec.node_name or ""):
            await self._write(ref)

    async def _write(self, ref: findings.Ref) -> None:
        pod = self._kept.objects.get(ref)
        if not isinstance(pod, pods.Pod) or pod.status is None:
            return
        wanted = self.wanted(pod)
        if wanted is None or wanted == self._present(ref, pod):
            return
        now = self._time.now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": CONDITION, "status": str(wanted), "lastTransitionTime": now,
            "reason": "Captured" if wanted else "Released",
            "message": "the node's proxy takes its connections" if wanted else "its connections pass no proxy",
        }  # fmt: skip
        body = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        try:
            async with self._turns:
                await self._rate.take()
                await self._api.patch(f"{paths.pod(ref.namespace, ref.name)}/status", body, kind="strategic")
        except api.ApiError as error:
            if error.status in (404, 409):  # gone, or another pod of that name
                return
            if error.status >= 500 or error.status in (401, 403, 429):
                raise
            # Of this pod alone; others of its node must not wait for it.
            log.warning("a pod's condition is refused", pod=f"{ref.namespace}/{ref.name}", reason=str(error))
            return
        if self._kept.objects.get(ref) is pod:  # the event of it is still on its way
            self._written[ref] = (pod.metadata.uid, wanted)

    def _present(self, ref: findings.Ref, pod: pods.Pod) -> bool:
        """What the pod says now, as far as we know."""
        uid, said = self._written.get(ref, (None, False))
        if uid is not None and uid == pod.metadata.uid:
            return said
        conditions = pod.status.conditions if pod.status else ()
        return next((c.status == "True" for c in conditions if c.type == CONDITION), False)


def _unsaid(pod: pods.Pod) -> bool:
    """Whether nobody has set the condition yet."""
    return pod.status is not None and not any(one.type == CONDITION for one in pod.status.conditions)
