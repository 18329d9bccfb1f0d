"""The condition `retic.dev/Captured` of pods, on the word of the agents of their nodes.

Runs on every replica, for the agents that report to it. A node's agent speaks for pods that the objects place on
its node and for no other. During an upgrade a node has two agents: what one of them has captured is captured, and
it is released only by one that had it. An agent that is silent changes nothing: its Envoy runs on.
"""

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
        self._rate = work.Rate(50, 200, time)
        self.queue = work.Queue("captured", self._write, time, workers=8)
        self.refused = 0
        """Pods that were reported by an agent of another node."""

    def report(self, node: str, agent: str, said: report.Report) -> None:
        """Take in what an agent of the node says now."""
        now = self._time.now()
        agents = self._nodes.setdefault(node, {})
        for name in [name for name, other in agents.items() if (now - other.last).total_seconds() > FRESH]:
            del agents[name]
        one = agents.setdefault(agent, _Agent(now, now, {}))
        captured = set(said.captured)
        for uid in one.since.keys() - captured:
            self._release(agents, one, uid)
        self._released -= captured
        one.since = {uid: one.since.get(uid, now) for uid in captured}
        one.last = now
        self._queue_node(node, captured)

    def _release(self, agents: dict[str, _Agent], one: _Agent, uid: str) -> None:
        """The agent had the pod and has it no more. Who spoke last before it took the pod over has it neither."""
        for other in agents.values():
            if other is not one and other.last <= one.since[uid]:
                other.since.pop(uid, None)
        if not any(uid in other.since for other in agents.values() if other is not one):
            self._released.add(uid)

    def _queue_node(self, node: str, captured: set[str]) -> None:
        here = self._mesh.find(tables.PODS_BY_NODE, node)
        for key in here:
            self.queue.add(findings.Ref("Pod", key.namespace, key.name))
        for uid in captured:
            for key in self._mesh.find(tables.PODS_BY_UID, uid) - here:
                self.refused += 1
                log.warning("an agent reports a pod of another node", node=node, pod=f"{key.namespace}/{key.name}")

    def changed(self, refs: Iterable[findings.Ref]) -> None:
        """Pods have come or changed: a report may have been ahead of them."""
        for ref in refs:
            if ref.kind == "Pod":
                value = self._kept.objects.get(ref)
                if isinstance(value, pods.Pod) and value.spec.node_name in self._nodes:
                    self.queue.add(ref)

    def wanted(self, pod: pods.Pod) -> bool | None:
        """What the condition is to say; None: leave it as it is."""
        uid, now = pod.metadata.uid or "", self._time.now()
        status = pod.status
        if status is None or status.phase in ("Succeeded", "Failed"):
            return None
        agents = self._nodes.get(pod.spec.node_name or "", {})
        fresh = [one for one in agents.values() if (now - one.last).total_seconds() <= FRESH]
        if any(uid in one.since for one in fresh):
            return True
        if uid in self._released:
            return False
        if fresh and all((one.last - one.begun).total_seconds() >= SETTLED for one in fresh):
            return False
        return None

    async def _write(self, ref: findings.Ref) -> None:
        pod = self._kept.objects.get(ref)
        if not isinstance(pod, pods.Pod) or pod.status is None:
            return
        wanted = self.wanted(pod)
        present = next((c.status == "True" for c in pod.status.conditions if c.type == CONDITION), False)
        if wanted is None or wanted == present:
            return
        now = self._time.now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": CONDITION, "status": str(wanted), "lastTransitionTime": now,
            "reason": "Captured" if wanted else "Released",
            "message": "the node's proxy takes its connections" if wanted else "its connections pass no proxy",
        }  # fmt: skip
        await self._rate.take()
        body = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        try:
            await self._api.patch(f"{paths.pod(ref.namespace, ref.name)}/status", body, kind="strategic")
        except api.ApiError as error:
            if error.status not in (404, 409):  # gone, or another pod of that name
                raise
