"""A discovery server on a unix socket, over a graph whose resources the tests write."""

import contextlib

import grpc
import grpc.aio
import pytest

from retic import ads, graph, xds
from retic.testing import discovery

CDS, EDS, RDS, LDS = xds.CLUSTER, xds.ENDPOINTS, xds.ROUTES, xds.LISTENER


class House:
    """The server, its graph, and what it told. `peer` is who the certificate would say is calling."""

    def __init__(self, folder) -> None:
        self.graph = graph.Graph()
        self.events: list[ads.Event] = []
        self.peer: str | None = None
        self.target = f"unix:{folder}/ads.sock"
        self.stack = contextlib.AsyncExitStack()
        self.rpc: grpc.aio.Server | None = None
        self.limit = 1_000

    async def start(self):
        self.server = ads.Server(
            self.graph, discovery.resource, discovery.names, discovery.scope, self.events.append,
            companions=discovery.companions, identify=lambda _: self.peer or "node/node-1", limit=self.limit,
        )  # fmt: skip
        self.rpc = grpc.aio.server()
        self.rpc.add_generic_rpc_handlers(self.server.handlers())
        self.rpc.add_insecure_port(self.target)
        await self.rpc.start()

    async def stop(self):
        await self.rpc.stop(None)

    def put(self, type_url, **contents):
        self.graph.commit(
            graph.Delete(discovery.RESOURCES, discovery.Key(type_url, name))
            if content is None
            else graph.Set(discovery.RESOURCES, discovery.Key(type_url, name), content)
            for name, content in contents.items()
        )

    def accompany(self, type_url, name, *companions):
        self.graph.commit([graph.Set(discovery.PUSHED, discovery.Key(type_url, name), companions)])

    def client(self, name="node/node-1", zone="a"):
        channel = grpc.aio.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stack.push_async_callback(channel.close)
        client = discovery.Client(channel, name, zone)
        self.stack.push_async_callback(client.disconnect)
        return client

    async def connected(self, **arguments):
        client = self.client(**arguments)
        await client.connect()
        return client


@pytest.fixture
async def house(tmp_path):
    house = House(tmp_path)
    await house.start()
    async with house.stack:
        yield house
    await house.stop()
