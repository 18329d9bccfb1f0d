"""Graphs with their first rows, and what the authority asks of them."""

import asyncio
from collections.abc import Iterable

import structlog

from retic import findings, graph, objects
from retic.identity import attest, spiffe
from retic.mesh import network, tables, workloads
from retic.mesh import service as mesh_service

log = structlog.get_logger("retic.control")

# How long an enrolment may be ahead of the news of its pod, in seconds.
_NEWS_SECONDS = 5.0


def mesh(values: network.Settings) -> graph.Graph:
    """A graph that holds the settings and nothing else yet."""
    made = graph.Graph(on_error=_failed)
    made.commit([graph.Set(tables.SETTINGS, tables.ONE, values)])
    return made


def _failed(query: object, key: object, error: Exception) -> None:
    log.error("a query failed", query=repr(query), key=repr(key), error=repr(error))


def offline(given: Iterable[objects.Object], values: network.Settings | None = None) -> graph.Graph:
    """A graph of these objects, for commands that need no running mesh."""
    made = mesh(values or network.Settings())
    rows: list[graph.Change] = []
    for value in given:
        ref = findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)
        rows.extend(tables.changes(ref, value))
    made.commit(rows)
    return made


class Holders:
    """attest.MayHold from the objects: a client may hold the accounts of the pods bound to it."""

    def __init__(self, db: graph.Graph) -> None:
        self._db = db

    async def check(self, holder: attest.Bearer, spiffe_id: str) -> None:
        """RefusedError unless it is the client's own, or such a pod is there or becomes known within seconds."""
        wanted, client_id = spiffe.parse(spiffe_id), holder.client_id
        if not isinstance(wanted, spiffe.Workload):
            if wanted == spiffe.client(wanted.trust_domain, client_id):
                return
            raise attest.RefusedError(f"{spiffe_id} is no workload's identity")
        account = mesh_service.Account(wanted.namespace, wanted.account)
        try:
            async with asyncio.timeout(_NEWS_SECONDS):
                with self._watch(client_id) as held:
                    async for accounts in held:
                        if account in accounts:
                            return
        except TimeoutError:
            pass
        raise attest.RefusedError(f"{client_id} runs no pod of {spiffe_id}")

    def _watch(self, client_id: str) -> graph.Watch[frozenset[mesh_service.Account]]:
        role, _, rest = client_id.partition("/")
        if role == "node":
            return self._db.watch(workloads.accounts_on_node, rest)
        namespace, _, name = rest.partition("/")
        return self._db.watch(workloads.accounts_of_gateway, tables.Key(namespace, name))
