"""The control plane of a cluster, one replica of it: objects from the API server, tokens reviewed by it.

Every replica serves discovery and signs; only the one that holds the lease writes.
"""

import asyncio
import datetime
import functools
from collections.abc import Awaitable, Iterator

import grpc.aio
import structlog

from retic import ads, graph
from retic.answers import Refusals
from retic.control import cluster as settings
from retic.counting import place
from retic.envoy import resources
from retic.identity import server as identity_server
from retic.install import names
from retic.kube import certificates, drain, lease, ranges
from retic.kube import run as controllers
from retic.kube import settings as told
from retic.sources import api, store
from retic.sources.api import kinds
from retic.wiring import accepting, counting, inputs, keys, measuring, modes, networks, peers, tasks, zones

log = structlog.get_logger("retic.control")

DISCOVERY, ENROLMENT = 15010, 15011
LEASE = "retic-controller"


async def run(config: settings.Config, stop: asyncio.Event) -> None:
    """A replica until `stop` is set. OSError when a port cannot be had; RuntimeError for what ended it otherwise."""
    try:
        await _run(config, stop)
    except ExceptionGroup as group:
        raise RuntimeError("; ".join(str(each) for each in _leaves(group))) from group
    except api.Error as error:
        raise RuntimeError(str(error)) from error


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


async def _run(config: settings.Config, stop: asyncio.Event) -> None:
    async with await api.connect() as cluster:
        found = networks.Networks(networks.wanted(config), ranges=await ranges.services(cluster))
        db = inputs.mesh(found.settings)
        news = asyncio.Condition()
        changed = tasks.Notifier(news)
        changes = modes.Changes(db, found.rows)
        kept = store.Store(db, changes.rows, changed)
        reading = kinds.mesh(config.namespace)
        following = asyncio.create_task(api.reflect(cluster, reading, kept), name="objects")
        opening = asyncio.create_task(_certificates(cluster, db, config), name="authority")
        try:
            await tasks.until(stop, following, opening)
            # Before the whole list is there, an answer to a proxy would take away what it has.
            await tasks.until(stop, following, asyncio.create_task(tasks.synced(kept, news)))
            if not stop.is_set():
                changes.begin()
                replica = _Replica(config, cluster, db, kept, opening.result(), changed)
                # Every replica fetches for the proxies that it serves.
                async with keys.fetched(db, changed) as fetching:
                    draining = drain.follow(cluster, config.namespace, _draining(db, found, config))
                    await replica.run(stop, following, draining, changes.run(), fetching)
        finally:
            for task in (following, opening):
                task.cancel()
            await asyncio.gather(following, opening, return_exceptions=True)


class _Leading:
    """Fulfils `controllers.Lease`: who leads does the controllers' work, and the root's beside it."""

    def __init__(self, held: lease.Lease, certified: certificates.Certificates) -> None:
        self._lease = held
        self._certificates = certified

    @property
    def is_held(self) -> bool:
        """Whether this replica leads at this moment."""
        return self._lease.is_held

    async def run(self, lead: controllers.Work) -> None:
        """Lead whenever we can, until cancelled."""

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_as_coroutine(lead()))
                group.create_task(self._certificates.lead())

        await self._lease.run(both)


class _Replica:
    """What is served, and what runs beside it."""

    def __init__(
        self, config: settings.Config, cluster: api.Api, db: graph.Graph, kept: store.Store,
        certified: certificates.Certificates, changed: tasks.Notifier,
    ) -> None:  # fmt: skip
        self._certificates = certified
        self._lease = lease.Lease(cluster, config.namespace, LEASE)
        refusals = Refusals(changed)
        self._discovery = ads.Server(
            db,
            resources.resource,
            resources.wanted,
            functools.partial(zones.scope, db),
            refusals,
            companions=resources.companions,
            identify=peers.of_pods(config.trust_domain, certified.bound),
            listing=resources.wildcard,
        )
        self._counted = counting.opened(
            db, _place(config), config.trust_domain, peers.of_pods(config.trust_domain, certified.bound), changed
        )
        self._controllers = controllers.Controllers(
            cluster, db, kept, self._discovery, certified.current, _told(config), address=lambda: config.address
        )
        self._measuring = measuring.OfControl(
            certified.current, self._controllers.readers.judge, config.metrics_port,
            lambda: measuring.own_numbers(db, self._discovery, refusals, (*kept.found, *self._controllers.found)),
        )  # fmt: skip

    async def run(self, stop: asyncio.Event, *beside: Awaitable[None]) -> None:
        """Until `stop` is set, or one of the parts ends."""
        rpc = await self._serve()
        log.info("control plane is up", discovery=DISCOVERY, enrolment=ENROLMENT)
        leading = _Leading(self._lease, self._certificates)
        running = (*beside, self._certificates.run(), self._controllers.run(leading), self._measuring.run())
        parts = [asyncio.ensure_future(each) for each in running]
        try:
            await tasks.until(stop, *parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await self._counted.close()
            await asyncio.gather(*(server.stop(grace=0.5) for server in rpc))

    async def _serve(self) -> "list[grpc.aio.Server]":
        signer, service = self._certificates.current, self._certificates.service
        main = grpc.aio.server(options=identity_server.SERVER_OPTIONS)
        main.add_generic_rpc_handlers(
            (
                *self._discovery.handlers(),
                service.signing(),
                self._counted.handlers(),
                *self._controllers.handlers(),
            )
        )
        main.add_secure_port(f"0.0.0.0:{DISCOVERY}", identity_server.credentials(signer, require_client=True))
        enrolment = grpc.aio.server(
            options=identity_server.ENROLMENT_OPTIONS, maximum_concurrent_rpcs=identity_server.MOST_ENROLMENTS
        )
        enrolment.add_generic_rpc_handlers((service.enrolment(),))
        enrolment.add_secure_port(
            f"0.0.0.0:{ENROLMENT}", identity_server.credentials(signer, require_client=False)
        )
        for server in (main, enrolment):
            await server.start()
        return [main, enrolment]


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work


async def _certificates(
    cluster: api.Api, db: graph.Graph, config: settings.Config
) -> certificates.Certificates:
    wanted = certificates.Settings(
        trust_domain=config.trust_domain,
        namespace=config.namespace,
        lifetime=datetime.timedelta(seconds=config.lifetime),
    )
    made = await certificates.open(cluster, db, inputs.Holders(db), wanted)
    made.current.accept(accepting.by_values(config, made.current.bundle(), made.current.time))
    return made


def _draining(db: graph.Graph, found: networks.Networks, config: settings.Config) -> drain.Told:
    def told(drained: bool) -> None:
        changes = found.change(networks.wanted(config, drained=drained))
        if changes:
            log.warning("every pod leaves the mesh" if drained else "pods enter the mesh again")
            db.commit(changes)

    return told


def _place(config: settings.Config) -> place.Place | None:
    return place.read(config.redis, names.REDIS_FOLDER if config.redis_secret else "") if config.redis else None


def _told(config: settings.Config) -> told.Settings:
    return told.Settings(
        image=config.image,
        pod=config.pod,
        namespace=config.namespace,
        trust_domain=config.trust_domain,
        image_pull_policy=config.image_pull_policy,
        image_pull_secrets=tuple(each["name"] for each in config.image_pull_secrets),
        gateway_replicas=config.gateway_replicas,
        gateway_cpu=config.gateway_cpu,
        gateway_memory=config.gateway_memory,
        gateway_memory_limit=config.gateway_memory_limit,
        service_type=config.service_type,
        metrics_port=config.metrics_port,
        cluster_domain=config.cluster_domain,
    )
