"""The one place where inputs are made and tasks are started: objects in, discovery, certificates, answers out."""

import asyncio
import datetime
from collections.abc import Iterable

import grpc.aio
import structlog

from retic import ads, findings, graph, objects
from retic.answers import Answers, Refusals
from retic.control import config as settings
from retic.control import server as control
from retic.control import service as control_service
from retic.envoy import resources
from retic.identity import attest, authority, spiffe
from retic.identity import server as identity_server
from retic.identity import service as identity_service
from retic.mesh import network, tables, workloads
from retic.mesh import service as mesh_service
from retic.sources import store, stream

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

    async def check(self, client_id: str, spiffe_id: str) -> None:
        """RefusedError unless such a pod is there, or becomes known within a few seconds."""
        wanted = spiffe.parse(spiffe_id)
        if not isinstance(wanted, spiffe.Workload):
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


async def run(config: settings.Config, stop: asyncio.Event) -> None:
    """The control plane until `stop` is set. OSError when a port or a socket cannot be had."""
    db = mesh(_settings(config))
    news = asyncio.Condition()
    changed = _Notifier(news)
    kept = store.Store(db, tables.changes, changed)
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
    answers = Answers(config, db, kept, discovery, refusals, news)
    api = control.Server(control_service.Service(answers, config.folder), config.folder / "control.sock")
    following = asyncio.create_task(stream.follow(config.folder / "cluster.sock", kept))
    await api.start()
    rpc: list[grpc.aio.Server] = []
    try:
        # Before the whole list is there, an answer to a proxy would take away what it has.
        await _until(stop, following, asyncio.create_task(_synced(kept, news)))
        if not stop.is_set():
            rpc = await _serve(config, db, discovery)
            log.info("control plane is up", listen=config.listen)
            await _until(stop, following)
    finally:
        following.cancel()
        await api.close()
        await asyncio.gather(*(server.stop(grace=0.5) for server in rpc))


async def _synced(kept: store.Store, news: asyncio.Condition) -> None:
    async with news:
        await news.wait_for(lambda: kept.is_synced)


async def _until(stop: asyncio.Event, *tasks: "asyncio.Task[None]") -> None:
    """Until `stop` is set or one of the tasks ends; raises what it raised."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for finished in done:
        finished.result()


def _settings(config: settings.Config) -> network.Settings:
    return network.Settings(
        trust_domain=config.trust_domain,
        pod_networks=config.pod_networks,
        service_networks=config.service_networks,
        netns_folder=config.netns_folder or str(config.folder / "netns"),
    )


async def _serve(
    config: settings.Config, db: graph.Graph, discovery: ads.Server
) -> "list[grpc.aio.Server]":
    """Two ports: one that requires a client certificate, one for those who have none yet."""
    signer = authority.open_own(
        config.folder / "ca", config.trust_domain, lifetime=datetime.timedelta(seconds=config.lifetime)
    )
    tokens = attest.LocalTokens((config.folder / "token.key").read_bytes())
    certificates = identity_service.Service(signer, tokens, Holders(db))
    main = grpc.aio.server(options=identity_server.SERVER_OPTIONS)
    main.add_generic_rpc_handlers((*discovery.handlers(), certificates.signing()))
    main.add_secure_port(config.listen, identity_server.credentials(signer, require_client=True))
    enrolment = grpc.aio.server(options=identity_server.ENROLMENT_OPTIONS)
    enrolment.add_generic_rpc_handlers((certificates.enrolment(),))
    enrolment.add_secure_port(config.enrol, identity_server.credentials(signer, require_client=False))
    for server in (main, enrolment):
        await server.start()
    return [main, enrolment]


class _Notifier:
    """Wakes whoever waits for news, from code that cannot wait itself."""

    def __init__(self, condition: asyncio.Condition) -> None:
        self._condition = condition
        self._task: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._condition:
            self._condition.notify_all()
