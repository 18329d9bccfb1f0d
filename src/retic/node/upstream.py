"""The agent's one delta discovery stream to the control plane: kept up, resumed where it was.

It knows types, names, versions and nonces, not resources. After a loss it comes back with the versions that
are held, so that almost nothing is sent again. Names that are asked for while it is away are asked for when
it returns.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio
import structlog
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from retic import xds
from retic.identity import clock
from retic.node import session

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between attempts
CONNECT_SECONDS = 5.0
Connect: TypeAlias = Callable[[], "grpc.aio.Channel | None"]
_log = structlog.get_logger("retic.node")


class Listener(Protocol):
    """Who is served by the stream: says what it watches, and takes the answers."""

    def watches(self) -> Mapping[str, session.Watch]: ...

    def respond(
        self, response: discovery_pb2.DeltaDiscoveryResponse, ticket: session.Ticket
    ) -> None: ...


class Upstream:
    """Fulfils `session.Upstream`. `connect` gives a channel with the agent's certificate, None as yet; `connected`
    hears of each new stream."""

    def __init__(
        self, node: base_pb2.Node, connect: Connect, time: clock.Clock, connected: Callable[[], None] = lambda: None
    ) -> None:
        self._node = node
        self._connect = connect
        self._time = time
        self._connected = connected
        self._listener: Listener | None = None
        self._out: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest] | None = None
        self._opened: set[str] = set()
        self._stream = 0
        self._answered = False  # on the stream of the moment
        self._again = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether there is a stream at the moment."""
        return self._out is not None

    def ask(self, type_url: str, more: Iterable[str], less: Iterable[str]) -> None:
        """Tell a change of the watched names; what the listener watches has it already."""
        if self._out is None or self._listener is None:
            return
        if type_url not in self._opened:
            self._open(type_url, self._listener.watches().get(type_url))
            return
        self._put(type_url, resource_names_subscribe=list(more), resource_names_unsubscribe=list(less))

    def ack(self, ticket: session.Ticket) -> None:
        """Acknowledge; nothing when the response was of an earlier stream."""
        if ticket.stream == self._stream:
            self._put(ticket.type_url, response_nonce=ticket.nonce)

    def nack(self, ticket: session.Ticket, detail: status_pb2.Status) -> None:
        """Refuse, with Envoy's own words."""
        if ticket.stream == self._stream:
            self._put(ticket.type_url, response_nonce=ticket.nonce, error_detail=detail)

    def restart(self) -> None:
        """Begin a new stream: another Envoy, or another certificate. The one before is dead at once."""
        self._out = None
        self._again.set()

    async def run(self, listener: Listener) -> None:
        """Keep the stream up for ever."""
        self._listener = listener
        pause, said = FIRST_PAUSE, ""
        while True:
            self._again.clear()
            self._answered = False
            try:
                reason = await self._once()
            except (grpc.RpcError, TimeoutError, OSError) as error:
                reason = _reason(error)
            if self._answered:
                pause, said = FIRST_PAUSE, ""
            if self._again.is_set():
                continue
            if reason != said:  # once, not once a second
                _log.warning("no control plane", reason=reason)
                said = reason
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._again.wait()
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _once(self) -> str:
        channel = self._connect()
        if channel is None:
            return "no certificate yet"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await channel.channel_ready()
            method: Any = channel.stream_stream(
                METHOD,
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )
            return await self._converse(method())
        finally:
            self._out = None
            await channel.close(None)

    async def _converse(self, call: Any) -> str:
        assert self._listener is not None
        self._stream += 1
        self._opened = set()
        out: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest] = asyncio.Queue()
        self._out = out
        _log.info("control plane connected", stream=self._stream)
        self._connected()
        watches = self._listener.watches()
        for type_url in sorted(watches, key=xds.kinds.rank):
            self._open(type_url, watches[type_url])
        tasks = {
            asyncio.create_task(self._write(call, out)),
            asyncio.create_task(self._read(call, self._listener, out)),
            asyncio.create_task(self._again.wait()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return "the control plane ended the stream"
        finally:
            self._out = None
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, call: Any, out: "asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest]") -> None:
        first = True
        while True:
            request = await out.get()
            if first:
                request.node.CopyFrom(self._node)
                first = False
            try:
                await call.write(request)
            except (asyncio.InvalidStateError, grpc.RpcError):  # the stream has ended: the reader hears why
                await asyncio.Event().wait()

    async def _read(self, call: Any, listener: Listener, mine: object) -> None:
        async for response in call:
            if self._out is not mine:
                return
            self._answered = True
            listener.respond(response, session.Ticket(self._stream, response.type_url, response.nonce))

    def _open(self, type_url: str, watch: session.Watch | None) -> None:
        if watch is None:
            return
        self._opened.add(type_url)
        wanted = [xds.WILDCARD, *sorted(watch.names)] if watch.wildcard else sorted(watch.names)
        held = {
            name: version
            for name, version in watch.held.items()
            if watch.wildcard or name in watch.names
        }
        self._put(type_url, resource_names_subscribe=wanted, initial_resource_versions=held)

    def _put(self, type_url: str, **fields: Any) -> None:
        if self._out is not None:
            self._out.put_nowait(discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields))


def _reason(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or "no answer in time"
