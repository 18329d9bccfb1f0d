"""The controllers of a cluster, put together: what every replica does, and what only the leader writes.

    made = run.Controllers(client, mesh, kept, discovery, signer, settings)
    server.add_generic_rpc_handlers((*discovery.handlers(), *made.handlers()))
    await made.run(lease.Lease(client, "retic-system", "retic-controller"))

Refuses to make its own inputs: the wiring does.
"""

import asyncio
import time as _time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import grpc
import structlog

from retic import findings, graph
from retic.identity import current, report
from retic.identity import readers as identity_readers
from retic.kube import (
    bundle,
    captured,
    events,
    gateway_writer,
    leading,
    nodes,
    peers,
    progress,
    reach,
    readers,
    settings,
    status_writer,
    webhook,
    webserver,
)
from retic.mesh import governed, tables
from retic.sources import api, store

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]


class Lease(Protocol):
    """Who leads (lease.Lease)."""

    @property
    def is_held(self) -> bool:
        """Whether we lead at this moment."""

    async def run(self, lead: Work) -> None:
        """Run the work while we lead and cancel it when we do not any more; until cancelled itself."""

_PRUNED = 300.0
_RENEWED = 3600.0


class Controllers:
    """`address` gives this replica's own pod address, "" while it is not known: by it the others are told apart.

    `names`: further DNS names by which the webhook's port may be called.
    """

    def __init__(
        self, client: api.Api, mesh: graph.Graph, kept: store.Store, discovery: progress.Discovery,
        signer: current.Current, told: settings.Settings, *, address: Callable[[], str] = str,
        names: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._mesh, self._kept, self._signer, self._told, self._time = mesh, kept, signer, told, signer.time
        time = signer.time
        self._leader = leader = leading.Client(client)
        self.progress = progress.Progress(discovery, time, self._advanced)
        self._others = peers.Peers(signer, lambda: peers.others(mesh, told, address))
        self.reach = reach.Reach(self.progress, self._others, time, told.grace)
        self.captured = captured.Captured(client, mesh, kept, time)
        self.nodes = nodes.Nodes(client, told.namespace, time, self._node_names)
        self._bundle = bundle.Bundle(leader, told.webhook, signer.bundle, time, self._classes)
        self.gateways = gateway_writer.GatewayWriter(
            leader, mesh, kept, told, signer.bundle, time, self._gateway_made
        )
        made = status_writer.Gateways(self.gateways.asked, self.gateways.addresses)
        self.status = status_writer.StatusWriter(
            leader, mesh, kept, made, self.reach.far, lambda: self._bundle.version, time
        )
        self.events = events.Events(leader, mesh, kept, time, told)
        own = tuple(f"{told.service}.{told.namespace}.{end}" for end in ("svc", "svc.cluster.local"))
        self.web = webserver.Server(signer, (*own, *names), self._validate, lambda: kept.is_synced)
        self.readers = readers.Readers(client, _time.monotonic)
        self._leads = False
        kept.listen(self._changed)
        self._changed(tuple(kept.objects))

    def handlers(self) -> "tuple[grpc.GenericRpcHandler[Any, Any], ...]":
        """What is served on the port that wants client certificates: reports of agents and their questions about
        readers of metrics, questions of replicas."""
        domain = self._signer.trust_domain
        return (
            report.service(domain, self._report),
            peers.Service(domain, self.reach.know).handler(),
            identity_readers.service(domain, self.readers.judge),
        )

    @property
    def leads(self) -> bool:
        """Whether this replica writes."""
        return self._leads

    @property
    def found(self) -> tuple[findings.Finding, ...]:
        """Findings of the controllers themselves."""
        return self.status.found

    async def run(self, lease: Lease, *, host: str = "0.0.0.0") -> None:
        """Until cancelled. OSError when the webhook's port cannot be had."""
        self._leader.is_held = lambda: lease.is_held
        await self.web.start(host, self._told.webhook_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.web.run(), name="certificate of the webhook")
                group.create_task(self.progress.run(), name="progress of proxies")
                group.create_task(self.captured.queue.run(), name="captured pods")
                group.create_task(self.nodes.run(), name="reports of nodes")
                group.create_task(self._renew(), name="certificate towards replicas")
                group.create_task(_forever(lease.run(self._work)), name="lease")
        finally:
            await self.web.close()
            await self._others.close()

    async def _work(self) -> None:
        """What only the leader does, until cancelled."""
        log.info("this replica leads", pod=self._told.pod)
        self._leads = True
        try:
            async with asyncio.TaskGroup() as group:
                for task in (
                    self.gateways.made.run(), self.gateways.queue.run(), self.status.run(),
                    self.events.queue.run(), self._bundle.run(), self._prune(),
                ):  # fmt: skip
                    group.create_task(task)
                self._follow(tuple(self._kept.objects))
        finally:
            self._leads = False
            self.status.close()
            self.events.close()
            log.info("this replica leads no more", pod=self._told.pod)

    def _changed(self, refs: tuple[findings.Ref, ...]) -> None:
        for ref in refs:
            if ref.kind in governed.WITH_STATUS and ref.kind != "GatewayClass":
                value = self._kept.objects.get(ref)
                self.progress.changed(ref, (value.metadata.generation or 0) if value is not None else None)
        self.captured.changed(refs)
        if self._leads:
            self._follow(refs)

    def _follow(self, refs: tuple[findings.Ref, ...]) -> None:
        self.status.follow(refs)
        self.events.follow(refs)
        everybody = any(
            ref.kind == "GatewayClass" or (ref.kind, ref.namespace, ref.name) == self._own_service for ref in refs
        )
        for ref in self._kept.objects if everybody else refs:
            if ref.kind == "Gateway":
                self.gateways.queue.add(tables.Key(ref.namespace, ref.name))

    @property
    def _own_service(self) -> tuple[str, str, str]:
        return "Service", self._told.namespace, self._told.service

    def _advanced(self, refs: Iterable[findings.Ref]) -> None:
        if self._leads:
            self.status.advanced(refs)

    def _gateway_made(self, key: tables.Key) -> None:
        if self._leads:
            self.status.queue.add(findings.Ref("Gateway", key.namespace, key.name))

    def _classes(self) -> None:
        for ref in self._kept.objects:
            if ref.kind == "GatewayClass":
                self.status.queue.add(ref)

    async def _report(self, node: str, agent: str, said: report.Report) -> None:
        self.nodes.report(node, said)
        try:
            await self.captured.report(node, agent, said)
        except (api.Error, OSError) as error:
            raise report.NotTakenError(f"not written yet: {error}") from error

    def _validate(self, content: bytes) -> bytes:
        return webhook.answer(self._mesh, content)

    def _node_names(self) -> list[str]:
        return [ref.name for ref in self._kept.objects if ref.kind == "Node"]

    async def _prune(self) -> None:
        while True:
            await self._time.sleep(_PRUNED)
            try:
                await self.nodes.prune()
            except (api.Error, OSError) as error:
                log.info("nodes that are gone stay listed", reason=str(error))

    async def _renew(self) -> None:
        while True:
            await self._time.sleep(min(_RENEWED, self._signer.lifetime.total_seconds() / 2))
            await self._others.renew()


async def _forever(work: Awaitable[None]) -> None:
    """A lease that ends by itself would leave nobody to write: that is a failure of the whole."""
    await work
    raise RuntimeError("the lease ended")
