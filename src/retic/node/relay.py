"""Discovery for one Envoy on a unix socket: one session at a time, and the agent's own watches beside it.

While an Envoy is replaced its agent has two relays, each with a stream to the control plane. A second stream of
Envoy replaces the first. The agent itself may watch single resources too (`watch`): they come over the same stream
and never reach Envoy.
"""

import asyncio
import os
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from retic import xds
from retic.identity import server
from retic.node import cache, ports, secrets, session, upstream

_INVALID_ARGUMENT = 3  # google.rpc.Code
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
Take: TypeAlias = Callable[[bytes | None], Awaitable[None]]
_log = structlog.get_logger("retic.node")


class Relay:
    """Serves Envoy's discovery; fulfils `upstream.Listener`. The keywords are those of `session.Session`; `more` is
    served on the same socket."""

    def __init__(
        self, kept: cache.Cache, own: secrets.Secrets, above: upstream.Upstream, *, connections: int = 0,
        at: ports.Ports = ports.FIRST, loaded: Iterable[str] = (), taken: Callable[[], None] = lambda: None,
        keeps: Callable[[str], bool] = lambda _: False, more: "Iterable[grpc.GenericRpcHandler[Any, Any]]" = (),
    ) -> None:  # fmt: skip
        self._cache = kept
        self._secrets = own
        self._upstream = above
        self._connections = connections
        self._at = at
        self._loaded = tuple(loaded)
        self._taken = taken
        self._keeps = keeps
        self._more = tuple(more)
        self._session: session.Session | None = None
        self._watches: dict[str, session.Watch] = {}
        self._takers: dict[str, dict[str, Take]] = {}
        self._forgotten: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: grpc.aio.Server | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether Envoy's stream is there."""
        return self._session is not None

    @property
    def decided(self) -> bool:
        """Whether Envoy is there and has all by which it decides about connections (session.Session.is_decided)."""
        return self._session is not None and self._session.is_decided

    async def start(self, socket: pathlib.Path) -> None:
        """Serve on the socket, of mode 0600, in a folder of mode 0700."""
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        self._server = grpc.aio.server(options=server.SERVER_OPTIONS)
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": method})
        self._server.add_generic_rpc_handlers((handlers, *self._more))
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        finally:
            os.umask(before)
        await self._server.start()

    async def close(self) -> None:
        """Stop serving; again is the same as once, also after somebody was cancelled who waited for it."""
        if self._server:
            # A `stop` that is cancelled leaves a server that cannot be stopped any more.
            self._ending = self._ending or asyncio.create_task(_stop(self._server))
            await asyncio.shield(self._ending)
        for task in self._tasks:
            task.cancel()

    async def watch(self, type_url: str, name: str, take: Take) -> None:
        """Watch one resource for the agent itself: `take` gets its message's bytes, None when removed.

        What `take` raises refuses the resource. The last good one is taken at once, from disk.
        """
        watch = self._watches.setdefault(type_url, session.Watch())
        watch.names.add(name)
        self._takers.setdefault(type_url, {})[name] = take
        for row in self._cache.get(type_url, [name]):
            try:
                await take(discovery_pb2.Resource.FromString(row.body).resource.value)
                watch.held[name] = row.version
            except Exception as error:  # not held, so upstream sends it, and learns what is wrong
                _log.warning("a kept resource is of no use", type=type_url, reason=str(error))
        self._upstream.ask(type_url, [name], [])

    def forget(self) -> None:
        """Watch nothing for the agent itself any more: another relay does."""
        for type_url, watch in self._watches.items():
            self._upstream.ask(type_url, [], sorted(watch.names))
        self._forgotten.update(self._takers)
        self._watches.clear()
        self._takers.clear()

    @property
    def clusters(self) -> frozenset[str]:
        """The clusters that Envoy has asked for and has."""
        watch = self._session.watches().get(xds.CLUSTER) if self._session else None
        return frozenset(watch.names & watch.held.keys()) if watch else frozenset()

    def identity_changed(self, name: str) -> None:
        """A Secret answered here has come, changed or gone."""
        if self._session:
            self._session.identity_changed(name)

    def goes_by(self, name: str, version: str) -> bool:
        """Whether Envoy is there and goes by that version of a Secret answered here, or by none of that name."""
        return self._session is not None and self._session.goes_by(name, version)

    def arrived(self) -> None:
        """A pod's network namespace has come."""
        if self._session:
            self._session.arrived()

    def withdraw(self, netns_path: str) -> None:
        """Close the listeners in that namespace now; they wait until the namespace comes again."""
        if self._session:
            self._session.withdraw(netns_path)

    def watches(self) -> Mapping[str, session.Watch]:
        """What upstream is asked for: Envoy's and the agent's own."""
        return {**(self._session.watches() if self._session else {}), **self._watches}

    def respond(self, response: discovery_pb2.DeltaDiscoveryResponse, ticket: session.Ticket) -> None:
        """An answer of upstream, to whom it is for."""
        if ticket.type_url in self._forgotten:
            return
        if ticket.type_url in self._takers:
            watch, takers = self._watches[ticket.type_url], dict(self._takers[ticket.type_url])
            task = asyncio.create_task(self._take(response, ticket, watch, takers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._session:
            self._session.respond(response, ticket)

    async def _take(
        self, response: discovery_pb2.DeltaDiscoveryResponse, ticket: session.Ticket,
        watch: session.Watch, takers: Mapping[str, Take],
    ) -> None:  # fmt: skip
        try:
            for one in response.resources:
                if take := takers.get(one.name):
                    await take(one.resource.value)
                    watch.held[one.name] = one.version
                    row = cache.Row(one.name, one.version, one.SerializeToString(), False)
                    self._cache.put(ticket.type_url, [row])
            for name in response.removed_resources:
                if take := takers.get(name):
                    await take(None)
                    watch.held.pop(name, None)
                    self._cache.put(ticket.type_url, (), [name])
        except Exception as error:
            _log.warning("a resource of the agent's own was refused", type=ticket.type_url, reason=str(error))
            detail = status_pb2.Status(code=_INVALID_ARGUMENT, message=str(error))
            self._upstream.nack(ticket, detail)
            return
        self._upstream.ack(ticket)

    async def _serve(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], _call: Any
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        mine = session.Session(
            self._cache, self._secrets, self._upstream, connections=self._connections, at=self._at,
            loaded=self._loaded, taken=self._taken, keeps=self._keeps,
        )  # fmt: skip
        if self._session:
            self._session.end()
            self._upstream.restart()
        self._session = mine
        self._taken()
        _log.info("Envoy connected")
        reader = asyncio.create_task(_read(requests, mine))
        try:
            while (response := await mine.out.get()) is not None:
                yield response
        finally:
            reader.cancel()
            if self._session is mine:
                self._session = None
                self._taken()
                self._upstream.restart()
                _log.info("Envoy disconnected")


async def _stop(server: grpc.aio.Server) -> None:
    await server.stop(0)


async def _read(requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], to: session.Session) -> None:
    try:
        async for request in requests:
            to.receive(request)
    except Exception:
        _log.exception("Envoy's stream is ended")
        raise
    finally:
        to.end()
