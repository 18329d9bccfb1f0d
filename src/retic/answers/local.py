"""What commands ask the control plane of a laptop's mesh: from its objects, its discovery service, its agents."""

import asyncio
import contextlib
import datetime
import functools
import importlib.metadata
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

import msgspec

from retic import ads, graph
from retic import findings as report
from retic.answers import agents, questions, responses, tap_headers, taps
from retic.control import admin, model, service
from retic.control import config as settings
from retic.envoy import counters
from retic.explain import places
from retic.explain import why as explain
from retic.explain.request import answer as explained
from retic.explain.response import told
from retic.findings import catalogue
from retic.mesh import gateways, tables
from retic.objects import pods
from retic.sources import certificates, store
from retic.telemetry import readings


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


class Trust(Protocol):
    """The authority, as commands ask it. RuntimeError and ValueError say why not."""

    def findings(self) -> Sequence[report.Finding]:
        """What is wrong with its files now."""
        ...

    async def status(self) -> model.Root:
        """How far a rotation is."""
        ...

    async def rotate(self) -> model.Root:
        """Order one."""
        ...

    def accept(self, change: model.Accepted | None) -> model.Accepted:
        """Which trust domains are accepted, from now on."""
        ...


def expected(db: graph.Graph, kept: store.Store) -> set[str]:
    """The clients that discovery is to have: nodes with pods, and gateways that listen."""
    wanted = {
        f"node/{v.spec.node_name}" for v in kept.objects.values() if isinstance(v, pods.Pod) and v.spec.node_name
    }
    for ref in kept.objects:
        if ref.kind == "Gateway" and db.ask(gateways.resolved, tables.Key(ref.namespace, ref.name)).listeners:
            wanted.add(f"gateway/{ref.namespace}/{ref.name}")
    return wanted


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
        trust: Trust | None = None,
    ) -> None:
        self._config = config
        self._db = db
        self._kept = kept
        self._discovery = discovery
        self._refusals = refusals
        self._news = news
        self._trust = trust
        self._questions = questions.Questions(db, kept)
        self._agents = agents.Sockets(config.folder)

    async def ps(self) -> model.Ps:
        """Pods and services from the objects, gateways and processes from the laptop's cluster."""
        runtime = await self._runtime()
        return model.Ps(
            pods=tuple(map(questions.pod, self._questions.pods())),
            services=tuple(self._questions.services()),
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

    async def policies(self) -> Sequence[model.Policy]:
        """From the objects, with what the Envoys that answer have counted."""
        stats = []
        for agent in admin.proxies(self._config.folder):
            with contextlib.suppress(OSError):
                stats.append(await admin.read(self._config.folder / "agents" / agent / "admin.sock", "stats"))
        return self._questions.policies(counters.read(stats))

    async def numbers(self, namespace: str) -> Sequence[model.Numbers]:
        """From the admin sockets, of all at once."""
        questions.check_namespace(self._kept, namespace)
        known = admin.proxies(self._config.folder)
        found = await asyncio.gather(*map(self._numbers, known))
        return [model.Numbers(known[agent], text) for agent, text in zip(known, found, strict=True) if text]

    async def _numbers(self, agent: str) -> str:
        try:
            return await admin.page(self._config.folder / "agents" / agent / "admin.sock", readings.PATH)
        except OSError:
            return ""

    @functools.cached_property
    def _taps(self) -> taps.Taps:
        headers = tap_headers.Noted(self._db, self._discovery)
        return taps.Taps(self._agents, self._db, self._kept, headers, self._news)

    def tap(self, asked: model.AskTap) -> AsyncGenerator[model.Tapped, None]:
        """Requests as they end."""
        return self._taps.tap(asked)

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
        refused = map(self._refusal, self._refusals.standing)
        meant = self._questions.faults(self._kept.objects)
        trust = self._trust.findings() if self._trust else ()
        return places.ordered((*self._kept.found, *meant, *self._questions.lapsed(), *refused, *trust))

    def _refusal(self, key: tuple[str, str, str]) -> report.Finding:
        client, type_url, name = key
        explained = self._questions.of_client(client, type_url, name)
        source = explained.sources[0] if explained.sources else None
        code = catalogue.CODES["RT0601"]
        return report.Finding(
            code.code, code.severity, source.object if source else name,
            source.file if source else "", source.line if source else 0,
            f"{client} refused {name}: {self._refusals.standing[key]}",
            "this is a fault of Retic: please report it; the proxy keeps what it had", code.url,
        )

    async def follow(self) -> AsyncGenerator[Sequence[report.Finding], None]:
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
        return self._questions.why(resource)

    async def request(self, asked: explained.Asked) -> explained.Answer:
        """What becomes of a request."""
        return self._questions.request(asked)

    async def response(self, wanted: str) -> told.Told:
        """What became of the request whose answer had this id, by what the agents have kept."""
        try:
            return await self._responses().find(wanted)
        except responses.Unknown as error:
            raise service.Refused(str(error)) from error

    async def failed(self, asked: model.AskFailed) -> told.Listed:
        """The newest that failed."""
        return await self._responses().failed(asked)

    def _responses(self) -> responses.Responses:
        return responses.Responses(self._agents, self._questions.world)

    async def root(self) -> model.Root:
        """How far a rotation of the root is."""
        return await self._asked().status()

    async def rotate(self) -> model.Root:
        """Order one, or show the one that is under way."""
        return await self._asked().rotate()

    async def accepted(self, change: model.Accepted | None) -> model.Accepted:
        """The trust domains that are accepted beside the own one, from now on."""
        return self._asked().accept(change)

    def _asked(self) -> Trust:
        if self._trust is None:
            raise service.Refused("this control plane has no authority of its own")
        return self._trust

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
        return sorted(expected(self._db, self._kept) - set(self._discovery.converged()))
