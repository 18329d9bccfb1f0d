"""The control plane of a mesh on one machine: objects from the laptop's cluster, tokens of its own."""

import asyncio

import grpc.aio
import structlog

from retic import ads, graph
from retic.answers import Answers, Refusals, expected
from retic.control import config as settings
from retic.control import server as control
from retic.control import service as control_service
from retic.counting import place
from retic.envoy import resources
from retic.identity import attest, current
from retic.identity import server as identity_server
from retic.identity import service as identity_service
from retic.mesh import network, tables
from retic.sources import store, stream
from retic.sources.keys import nameserver
from retic.wiring import counting, inputs, keys, measuring, modes, tasks, trusting

log = structlog.get_logger("retic.control")


async def run(config: settings.Config, stop: asyncio.Event) -> None:
    """The control plane until `stop` is set. OSError when a port or a socket cannot be had."""
    db = inputs.mesh(_settings(config))
    news = asyncio.Condition()
    changed = tasks.Notifier(news)
    changes = modes.Changes(db)
    kept = store.Store(db, changes.rows, changed)
    refusals = Refusals(changed)
    discovery = ads.Server(
        db,
        resources.resource,
        resources.wanted,
        resources.scope,
        refusals,
        companions=resources.companions,
        identify=ads.by_certificate(config.trust_domain),
        listing=resources.wildcard,
    )
    counted = counting.opened(
        db, _place(config.counting), config.trust_domain, ads.by_certificate(config.trust_domain), changed
    )
    trust = trusting.Trust(
        config, lambda: expected(db, kept), lambda aliases: _aliased(db, config, aliases), changed
    )
    answers = Answers(config, db, kept, discovery, refusals, news, trust)
    api = control.Server(control_service.Service(answers, config.folder), config.folder / "control.sock")
    following = asyncio.create_task(stream.follow(config.folder / "cluster.sock", kept))
    changing = asyncio.create_task(changes.run())
    await api.start()
    opening = asyncio.create_task(trust.open(), name="authority")
    rpc: list[grpc.aio.Server] = []
    beside: list[asyncio.Task[None]] = []
    try:
        await tasks.until(stop, following, opening)
        # Before the whole list is there, an answer to a proxy would take away what it has.
        await tasks.until(stop, following, asyncio.create_task(tasks.synced(kept, news)))
        if not stop.is_set():
            changes.begin()
            certificates = _certificates(config, db, opening.result())
            beside = [asyncio.create_task(trust.run(certificates.holdings), name="root")]
            # The machine's nameservers are asked where pods ask them: UDP does not leave the mesh's network.
            names = nameserver.at(config.listen.rpartition(":")[0])
            metrics = measuring.Metrics(answers, db, discovery, refusals, opening.result())
            if config.metrics:
                await metrics.start(config.metrics, config.folder)
                beside.append(asyncio.create_task(metrics.run(), name="metrics"))
            async with keys.fetched(db, changed, _own_networks(config), names) as fetching:
                rpc = await _serve(config, opening.result(), certificates, (*discovery.handlers(), counted.handlers()))
                log.info("control plane is up", listen=config.listen)
                await tasks.until(stop, following, changing, fetching, *beside)
    finally:
        for each in (following, changing, opening, *beside):
            each.cancel()
        await api.close()
        await counted.close()
        await asyncio.gather(following, opening, *beside, return_exceptions=True)
        await asyncio.gather(*(server.stop(grace=0.5) for server in rpc))


def _place(said: settings.Counting) -> place.Place | None:
    return place.read(said.redis, said.credentials) if said.redis else None


def _own_networks(config: settings.Config) -> tuple[str, ...]:
    """Where the mesh is, from where the control plane reaches pods and no Services."""
    return (*config.pod_networks, *config.service_networks, f"{config.listen.rpartition(':')[0]}/24")


def _settings(config: settings.Config, aliases: tuple[str, ...] = ()) -> network.Settings:
    return network.Settings(
        trust_domain=config.trust_domain,
        pod_networks=config.pod_networks,
        service_networks=config.service_networks,
        enrolment=config.enrolment,
        mode=config.mode,
        access_logs=config.access_logs,
        netns_folder=config.netns_folder or str(config.folder / "netns"),
        trust_domain_aliases=aliases,
    )


def _aliased(db: graph.Graph, config: settings.Config, aliases: tuple[str, ...]) -> None:
    db.commit([graph.Set(tables.SETTINGS, tables.ONE, _settings(config, aliases))])


def _certificates(
    config: settings.Config, db: graph.Graph, signer: current.Current
) -> identity_service.Service:
    tokens = attest.LocalTokens((config.folder / "token.key").read_bytes())
    return identity_service.Service(signer, tokens, inputs.Holders(db))


async def _serve(
    config: settings.Config,
    signer: current.Current,
    certificates: identity_service.Service,
    handlers: "tuple[grpc.GenericRpcHandler[bytes, bytes], ...]",
) -> "list[grpc.aio.Server]":
    """Two ports: one that requires a client certificate, one for those who have none yet."""
    main = grpc.aio.server(options=identity_server.SERVER_OPTIONS)
    main.add_generic_rpc_handlers((*handlers, certificates.signing()))
    main.add_secure_port(config.listen, identity_server.credentials(signer, require_client=True))
    enrolment = grpc.aio.server(
        options=identity_server.ENROLMENT_OPTIONS,
        maximum_concurrent_rpcs=identity_server.MOST_ENROLMENTS,
    )
    enrolment.add_generic_rpc_handlers((certificates.enrolment(),))
    enrolment.add_secure_port(config.enrol, identity_server.credentials(signer, require_client=False))
    for server in (main, enrolment):
        await server.start()
    return [main, enrolment]
