"""What one endpoint's change costs the control plane at growing numbers of Services.

In process, the time of the commit until every watched answer is up to date, with the engine's own counters;
then through a real discovery server, with one client on a unix socket that has asked for everything: the
time until the client has acknowledged it, messages, resources and bytes. The sizes take turns.
"""

import asyncio
import contextlib
import pathlib
import statistics
import time
from collections.abc import AsyncIterator, Iterator

import grpc.aio
import msgspec
from tools.bench import engine_mesh, options, spread, table

from retic import ads, graph, xds
from retic.envoy import names, resources
from retic.testing import discovery, wait

AIM_RATIO = 1.5
"""The time at the largest mesh over that at the smallest: less is taken for the machine's own noise."""

_NODE = xds.Client("node/node-1")
_CHANGES = 40


class Change(msgspec.Struct, frozen=True):
    """What one change took: ms in the engine and until the acknowledgement, and what ran and was sent."""

    engine_ms: float
    wire_ms: float
    run: int
    changed: int
    messages: int
    resources: int
    size: int


class Subscribed:
    """A mesh whose every Service one client has asked for, over a real discovery server."""

    def __init__(self, services: int, db: graph.Graph, server: ads.Server, client: discovery.Client) -> None:
        self._services = services
        self._db = db
        self._server = server
        self._client = client
        self._ready: dict[int, bool] = {}

    async def change(self, number: int) -> Change:
        """One pod becomes ready, or is so no longer; returns when the client has acknowledged."""
        service = number * 7919 % self._services  # a prime: another part of the mesh each time
        self._ready[service] = not self._ready.get(service, False)
        rows = engine_mesh.readiness(service, ready=self._ready[service])
        before, sent, seen = self._db.counters, self._counts(), len(self._client.log)
        begin = time.perf_counter()
        self._db.commit(rows)
        committed = time.perf_counter()
        if not await self._server.settled(10) or len(self._client.log) == seen:
            raise RuntimeError("a change was not sent, or not acknowledged")
        acknowledged = time.perf_counter()
        spent = self._db.counters - before
        messages, named, size = (after - was for after, was in zip(self._counts(), sent, strict=True))
        return Change(
            (committed - begin) * 1e3, (acknowledged - begin) * 1e3, spent.run, spent.changed, messages, named, size
        )

    def _counts(self) -> tuple[int, int, int]:
        now = self._server.counters
        return now.messages, now.resources, now.bytes


@contextlib.asynccontextmanager
async def subscribed(services: int, socket: pathlib.Path) -> AsyncIterator[Subscribed]:
    """Make the mesh, the server and the client, and wait until the client has everything."""
    db = engine_mesh.mesh(services)
    server = ads.Server(
        db, resources.resource, resources.wanted, resources.scope, companions=resources.companions,
        identify=lambda _: _NODE.id, listing=resources.wildcard,
    )  # fmt: skip
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers(server.handlers())
    rpc.add_insecure_port(f"unix:{socket}")
    await rpc.start()
    options_ = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options_) as channel:
        client = discovery.Client(channel, _NODE.id)
        await client.connect()
        wanted = list(_wanted(services))
        for type_url in dict.fromkeys(url for url, _ in wanted):
            await client.subscribe(type_url, *(name for url, name in wanted if url == type_url))
        await wait.until_async(lambda: len(client.held) == len(wanted), "everything came", seconds=120)
        try:
            yield Subscribed(services, db, server, client)
        finally:
            await client.disconnect()
            await rpc.stop(None)


def _wanted(services: int) -> Iterator[tuple[str, str]]:
    """Type URL and name of what a node has that uses every Service."""
    for number in range(services):
        address = f"{engine_mesh.virtual_address(number)}:80"
        yield names.CLUSTER, names.virtual(engine_mesh.NAMESPACE, address)
        yield names.ENDPOINTS, names.endpoints(engine_mesh.NAMESPACE, engine_mesh.name(number), 80)
    yield names.ROUTES, names.routes(engine_mesh.NAMESPACE)


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Measure each size."""
    return [_table(asyncio.run(_measure(folder, given.services)))]


async def _measure(folder: pathlib.Path, sizes: tuple[int, ...]) -> dict[int, list[Change]]:
    async with contextlib.AsyncExitStack() as stack:
        meshes = {
            size: await stack.enter_async_context(subscribed(size, folder / f"ads-{size}.sock")) for size in sizes
        }
        found: dict[int, list[Change]] = {size: [] for size in sizes}
        for number in range(_CHANGES):
            for size, one in meshes.items():
                found[size].append(await one.change(number))
        return found


def _table(found: dict[int, list[Change]]) -> table.Table:
    rows, missed = [], []
    least = found[min(found)]
    for services, changes in found.items():
        taken = spread.of([x.engine_ms for x in changes])
        ratio = spread.ratios([x.engine_ms for x in changes], [x.engine_ms for x in least])
        verdict = spread.against(ratio, AIM_RATIO) if changes is not least else ""
        if verdict == spread.MISSED:
            missed.append(
                f"one endpoint change at {services:,} services takes {ratio.median:.1f} times as long as "
                f"at {min(found):,}; the aim is independence"
            )
        counted = (
            _middle([x.run for x in changes]), _middle([x.changed for x in changes]),
            _middle([x.messages for x in changes]), _middle([x.resources for x in changes]),
            _middle([x.size for x in changes]),
        )  # fmt: skip
        whole = spread.of([x.wire_ms for x in changes])
        rows.append((f"{services:,}", taken.text(3), whole.text(2), *counted, ratio.text(), verdict))
    head = (
        "services", "engine ms", "ms until acknowledged", "queries run", "answers changed", "messages",
        "resources", "bytes", f"engine, ratio to {min(found):,}", "verdict",
    )  # fmt: skip
    return table.Table("One endpoint change", head, tuple(rows), tuple(missed))


def _middle(values: list[int]) -> str:
    return f"{statistics.median(values):g}" + ("" if min(values) == max(values) else f" (to {max(values)})")
