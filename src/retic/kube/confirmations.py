"""Which agents go by which trust bundle, said by each controller for its own agents on the agents' pods.

A controller hears only the agents that are connected to it. What it hears it writes as a condition of the
agent's pod, where the leader reads it, this one or the next.
"""

import asyncio
import datetime
from typing import Any

import structlog

from retic import graph
from retic.identity import attest, holdings
from retic.kube import agents, naming
from retic.mesh import tables
from retic.sources import api

CONDITION = "retic.dev/TrustBundle"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts to write
_log = structlog.get_logger("retic.kube")


class Confirmations:
    """Writes what `heard` holds to the pods, for ever."""

    def __init__(self, cluster: api.Api, db: graph.Graph, heard: holdings.Holdings) -> None:
        self._cluster = cluster
        self._db = db
        self._heard = heard
        self._written: dict[attest.Bearer, str] = {}
        self._news = asyncio.Event()
        heard.on_change(self._news.set)

    def __repr__(self) -> str:
        return f"<Confirmations of {len(self._written)} agents>"

    async def run(self) -> None:
        """Until cancelled. What cannot be written is tried again."""
        pause = FIRST_PAUSE
        while True:
            self._news.clear()
            if await self._write():
                pause = FIRST_PAUSE
                await self._news.wait()
            else:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _write(self) -> bool:
        """Whether everything is written."""
        held = self._heard.held()
        self._written = {bearer: said for bearer, said in self._written.items() if bearer in held}
        done = True
        for bearer, said in held.items():
            if self._written.get(bearer) == said:
                continue
            pod = self._db.ask(agents.by_uid, bearer.pod)
            try:
                if pod is not None:
                    await self._patch(pod, said)
                    self._written[bearer] = said
                elif bearer.pod:
                    done = False  # its news are on their way, or it is gone: then its stream is too, soon
            except api.Error as error:
                _log.warning("a confirmation is not written", client=bearer.client_id, reason=str(error))
                done = False
        return done

    async def _patch(self, pod: agents.Pod, said: str) -> None:
        condition = {
            "type": CONDITION,
            "status": "True" if said else "False",
            "reason": "Confirmed" if said else "NotConfirmed",
            "message": said,
            "lastTransitionTime": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        # With the uid: a pod of the same name that came after it is another one.
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        try:
            await self._cluster.patch(path, body, kind="strategic")
        except api.ApiError as error:
            if error.status not in {404, 409}:
                raise  # else: it is gone


class Missing:
    """Calls as `authority.Missing`: who of all agents that run has not confirmed a bundle."""

    def __init__(self, cluster: api.Api, accounts: agents.Accounts | None = None) -> None:
        self._cluster = cluster
        self._accounts = accounts or agents.Accounts()

    async def __call__(self, bundle: bytes) -> frozenset[str]:
        """Their names, as a user reads them. api.Error when the API server cannot be asked."""
        wanted = holdings.digest(bundle)
        return frozenset(_shown(pod) for pod in await self._pods() if _says(pod) != wanted)

    async def _pods(self) -> list[dict[str, Any]]:
        namespace, _, account = self._accounts.node.partition("/")
        nodes = await self._cluster.get(
            f"/api/v1/namespaces/{namespace}/pods", fieldSelector=f"spec.serviceAccountName={account}"
        )
        selector = f"{tables.GATEWAY_LABEL},{naming.MANAGED_LABEL}={naming.MANAGED_BY}"
        gateways = await self._cluster.get("/api/v1/pods", labelSelector=selector)
        found = [*nodes.get("items", []), *filter(_is_gateway, gateways.get("items", []))]
        return [pod for pod in found if pod.get("status", {}).get("phase") in {"Running", "Unknown"}]


def _is_gateway(pod: dict[str, Any]) -> bool:
    return bool((pod["metadata"].get("annotations") or {}).get(tables.ROLE_ANNOTATION) == "gateway")


def _says(pod: dict[str, Any]) -> str:
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == CONDITION:
            return str(condition.get("message", ""))
    return ""


def _shown(pod: dict[str, Any]) -> str:
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "no node")
    return f"{meta['namespace']}/{meta['name']} on {node}"
