"""What commands ask the control plane, answered from objects, the graph and the discovery service."""

import asyncio
import contextlib
import datetime
import importlib.metadata
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence

import msgspec

from retic import ads, graph
from retic import findings as report
from retic.control import admin, model
from retic.control import config as settings
from retic.envoy import names, resources
from retic.explain import places, standing
from retic.explain import why as explain
from retic.findings import catalogue
from retic.mesh import faults, gateways, tables, workloads
from retic.objects import core, pods
from retic.sources import certificates, store
from retic.xds import Client


class Refusals:
    """The NACKs that stand, as `ads` reports them. A NACK is a fault of ours: it becomes a finding."""

    def __init__(self, news: Callable[[], None]) -> None:
        self._news = news
        self.standing: dict[tuple[str, str, str], str] = {}

    def __call__(self, event: ads.Event) -> None:
        """Called by the discovery service."""
        match event:
            case ads.Nack():
                self.standing[event.client.id, event.type_url, event.name] = event.message
            case ads.Cleared():
                self.standing.pop((event.client.id, event.type_url, event.name), None)
        self._news()


class _Runtime(msgspec.Struct, frozen=True):
    processes: tuple[model.Process, ...] = ()
    gateways: tuple[model.Gateway, ...] = ()


class Answers:
    """Implements `control.service.Queries` for local mode."""

    def __init__(
        self,
        config: settings.Config,
        db: graph.Graph,
        kept: store.Store,
        discovery: ads.Server,
        refusals: Refusals,
        news: asyncio.Condition,
    ) -> None:
        self._config = config
        self._db = db
        self._kept = kept
        self._discovery = discovery
        self._refusals = refusals
        self._news = news

    async def ps(self) -> model.Ps:
        """Pods and services from the objects, gateways and processes from the laptop's cluster."""
        runtime = await self._runtime()
        listed = sorted(self._kept.objects.items())
        return model.Ps(
            pods=tuple(_pod(v) for _, v in listed if isinstance(v, pods.Pod)),
            services=tuple(_service(v) for _, v in listed if isinstance(v, core.Service)),
            gateways=runtime.gateways,
            processes=runtime.processes,
            findings=tuple(await self.findings()),
        )

    async def _runtime(self) -> _Runtime:
        reader, writer = await asyncio.open_unix_connection(
            str(self._config.folder / "cluster.sock"), limit=1 << 24
        )
        try:
            writer.write(b'{"get":"status"}\n')
            return msgspec.json.decode(await reader.readline(), type=_Runtime)
        finally:
            writer.close()

    async def version(self) -> model.Version:
        """The control plane's own version, and what the Envoys say of theirs."""
        found = set()
        for agent in admin.proxies(self._config.folder):
            socket = self._config.folder / "agents" / agent / "admin.sock"
            try:
                found.add(await admin.version(socket))
            except OSError:
                continue
        return model.Version(importlib.metadata.version("retic"), ", ".join(sorted(found)))

    async def findings(self) -> Sequence[report.Finding]:
        """Faults of form and of local mode, of meaning, of certificates' times, and what proxies refused."""
        meant = places.located(
            (f for ref in self._kept.objects for f in self._db.ask(faults.of, ref)), self._kept.positions
        )
        lapsed = certificates.lapsed(self._kept.objects, self._kept.positions, datetime.datetime.now(datetime.UTC))
        refused = map(self._refusal, self._refusals.standing)
        return places.ordered((*self._kept.found, *meant, *lapsed, *refused))

    def _refusal(self, key: tuple[str, str, str]) -> report.Finding:
        client, type_url, name = key
        explained = explain.why(
            self._db, resources.resource, resources.scope(type_url, name, Client(client)),
            resource=name, book=self._book(),
        )
        source = explained.sources[0] if explained.sources else None
        code = catalogue.CODES["RT0601"]
        return report.Finding(
            code.code, code.severity, source.object if source else name,
            source.file if source else "", source.line if source else 0,
            f"{client} refused {name}: {self._refusals.standing[key]}",
            "this is a fault of Retic: please report it; the proxy keeps what it had", code.url,
        )

    async def follow(self) -> AsyncIterator[Sequence[report.Finding]]:
        """The findings now, then after each change of them."""
        last: Sequence[report.Finding] | None = None
        while True:
            found = await self.findings()
            if found != last:
                last = found
                yield found
            wait = certificates.until_change(self._kept.objects, datetime.datetime.now(datetime.UTC))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait), self._news:
                    await self._news.wait()

    async def why(self, resource: str) -> explain.Why:
        """From a resource's name to its objects."""
        name = names.parse(resource)
        if name is None:
            forms = ", ".join(f"{kind.value}/..." for kind in names.Kind)
            raise explain.Unknown(f"{resource!r} is no resource's name; names begin with one of: {forms}")
        self._know(name.client_namespace)
        key = resources.scope(name.type_url, resource, Client(self._client(name)))
        return explain.why(self._db, resources.resource, key, resource=resource, book=self._book())

    def _know(self, namespace: str) -> None:
        """Raises Unknown for a namespace in which nothing is: its routes would be those of any other."""
        known = {"", "default"}
        for ref in self._kept.objects:
            known.add(ref.name if ref.kind == "Namespace" else ref.namespace)
        if namespace not in known:
            there = ", ".join(sorted(known - {""}))
            raise explain.Unknown(f"there is no namespace {namespace}: no object is in it; there are {there}")

    def _client(self, name: names.Name) -> str:
        """The client that has such a resource, where only one does."""
        if name.kind in (names.Kind.GATEWAY, names.Kind.GATEWAY_ROUTES, names.Kind.LISTENER_ROUTES):
            return f"gateway/{name.parts[0]}/{name.parts[1]}"
        if name.kind is names.Kind.TLS:
            secret = tables.Key(name.parts[0], name.parts[1])
            for ref in self._kept.objects:
                owner = tables.Key(ref.namespace, ref.name)
                if ref.kind == "Gateway" and secret in self._db.ask(gateways.certificates_of, owner):
                    return f"gateway/{ref.namespace}/{ref.name}"
        if name.type_url in (names.LISTENER, names.FILTER):
            found = self._db.ask(workloads.by_uid, name.parts[-1])
            return f"node/{found.node}" if found else ""
        return ""

    def _book(self) -> explain.Book:
        kinds = {table.name: kind for kind, table in tables.TABLES.items()}

        def ref(table: str, key: Hashable) -> report.Ref | None:
            if table not in kinds or not isinstance(key, tables.Key):
                return None
            return report.Ref(kinds[table], key.namespace, key.name)

        return explain.Book(ref, lambda r: r in self._kept.objects, self._kept.positions, self._owner)

    def _owner(self, ref: report.Ref) -> report.Ref | None:
        value = self._kept.objects.get(ref)
        owners = value.metadata.owner_references if value is not None else ()
        found = next((one for one in owners if one.controller), None)
        return report.Ref(found.kind, ref.namespace, found.name) if found is not None else None

    async def converged(self, seconds: float) -> model.Converged:
        """Whether every proxy that must be there is, and has acknowledged everything."""
        begin = time.monotonic()
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: not self._missing())
        except TimeoutError:
            return model.Converged(False, tuple(f"{client} has not connected" for client in self._missing()))
        if await self._discovery.settled(max(0.0, begin + seconds - time.monotonic())):
            return model.Converged(True, sent=sum(each.sent for each in self._discovery.converged().values()))
        late = [
            f"{client} has not acknowledged {', '.join(map(str, progress.pending))}"
            for client, progress in self._discovery.converged().items()
            if progress.pending
        ]
        return model.Converged(False, tuple(late))

    def _missing(self) -> list[str]:
        if not self._kept.is_synced:
            return ["the laptop's cluster"]
        wanted = {
            f"node/{v.spec.node_name}"
            for v in self._kept.objects.values()
            if isinstance(v, pods.Pod) and v.spec.node_name
        }
        for ref in self._kept.objects:
            if ref.kind == "Gateway" and self._db.ask(gateways.resolved, tables.Key(ref.namespace, ref.name)).listeners:
                wanted.add(f"gateway/{ref.namespace}/{ref.name}")
        return sorted(wanted - set(self._discovery.converged()))


def _pod(pod: pods.Pod) -> model.Pod:
    status = pod.status or pods.PodStatus()
    ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions)
    stands = standing.of(pod)
    return model.Pod(
        pod.metadata.namespace, pod.metadata.name, pod.spec.node_name or "", status.pod_ip or "",
        pod.spec.service_account_name or "default", ready, stands.word, stands.phase, stands.restarts,
    )


def _service(value: core.Service) -> model.Service:
    spec = value.spec
    address = spec.external_name or "" if spec.type == "ExternalName" else spec.cluster_ip or ""
    ports = tuple(model.Port(p.name or "", p.port, p.protocol or "TCP") for p in spec.ports)
    return model.Service(value.metadata.namespace, value.metadata.name, spec.type or "ClusterIP", address, ports)
