"""A small discovery client over real gRPC, and queries whose resources a test writes by hand.

The client takes what it is sent, unless a test tells it what to reject; it translates nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import grpc
import grpc.aio
import msgspec
from envoy.config.core.v3 import base_pb2

from retic import graph, xds
from retic.xds import subscriber

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class Key(msgspec.Struct, frozen=True):
    """A resource, or with the name `*` what there is of its type."""

    type_url: str
    name: str


RESOURCES = graph.table("discovery resources", Key, bytes)
PUSHED = graph.table("discovery companions", Key, tuple)


def _types(key: Key, _: bytes) -> Iterable[str]:
    return (key.type_url,)


BY_TYPE = graph.index(RESOURCES, _types)


@graph.query
def resource(db: graph.Db, key: Key) -> xds.Encoded | None:
    """The resource from the bytes that the test has put in the table."""
    content = db.get(RESOURCES, key)
    if content == b"raise":
        raise ValueError("told to")
    return None if content is None else xds.encode(key.type_url, key.name, content)


@graph.query
def names(db: graph.Db, key: Key) -> frozenset[str]:
    """Everything of the key's type."""
    return frozenset(one.name for one in db.find(BY_TYPE, key.type_url))


@graph.query
def companions(db: graph.Db, key: Key) -> tuple[tuple[str, str], ...]:
    """What the test wants pushed before the resource."""
    return db.get(PUSHED, key) or ()


def scope(type_url: str, name: str, _: xds.Client) -> Key:
    """All clients share everything."""
    return Key(type_url=type_url, name=name)


class Client:
    """A delta client: takes over what comes, or rejects what `reject` gives a message for."""

    def __init__(self, channel: grpc.aio.Channel, client_id: str, zone: str = "") -> None:
        node = base_pb2.Node(id=client_id, locality=base_pb2.Locality(zone=zone))
        self.state = subscriber.Subscriber(node)
        self.held: dict[tuple[str, str], bytes] = {}
        self.log: list[subscriber.Response] = []
        self.reject: Callable[[subscriber.Response], str | None] = lambda _: None
        self.reading = asyncio.Event()
        self.reading.set()
        self._half_closed = False
        self._channel = channel
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open a stream and say what is subscribed."""
        self._call = self._channel.stream_stream(METHOD + "DeltaAggregatedResources", None, None)(None)
        for content in self.state.connect():
            await self._call.write(content)
        self._task = asyncio.create_task(self._read(self._call))

    async def disconnect(self) -> None:
        """Drop the stream."""
        if self._call is not None:
            self._call.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def finish(self) -> None:
        """End the client's half of the stream, and read until the server ends the other."""
        assert self._call is not None
        assert self._task is not None
        self._half_closed = True
        await self._call.done_writing()
        await self._task

    async def send(self, content: bytes | None) -> None:
        """Send a request as it is; None is nothing. To a stream that was refused meanwhile it is nothing either:
        `failure` has the reason."""
        assert self._call is not None
        if content is not None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._call.write(content)

    async def subscribe(self, type_url: str, *wanted: str) -> None:
        """Ask for names."""
        await self.send(self.state.subscribe(type_url, wanted))

    async def unsubscribe(self, type_url: str, *lost: str) -> None:
        """Ask no longer for names, and drop what is there."""
        for name in lost:
            self.held.pop((type_url, name), None)
        await self.send(self.state.unsubscribe(type_url, lost))

    async def failure(self) -> tuple[grpc.StatusCode, str]:
        """Wait until the stream ends; its status."""
        assert self._call is not None
        return await self._call.code(), await self._call.details() or ""

    def names(self, type_url: str) -> set[str]:
        """What the client has of a type."""
        return {name for url, name in self.held if url == type_url}

    def received(self) -> int:
        """How many resources have come, removals not counted."""
        return sum(len(response.resources) for response in self.log)

    async def _read(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        while True:
            await self.reading.wait()
            content = await call.read()
            if not isinstance(content, bytes):
                return
            response = self.state.receive(content)
            self.log.append(response)
            answer = self._answer(response)
            if not self._half_closed:
                await call.write(answer)

    def _answer(self, response: subscriber.Response) -> bytes:
        message = self.reject(response)
        if message is not None:
            return self.state.nack(response, message)
        for one in response.resources:
            self.held[response.type_url, one.name] = one.any
        for name in response.removed:
            self.held.pop((response.type_url, name), None)
        return self.state.ack(response)
