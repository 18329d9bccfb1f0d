"""A control plane for tests of the node agent: real gRPC, real TLS, a delta ADS as small as can be.

It sends what `put` and `remove` say to whoever subscribes, keeps what it was asked and told, and decides
nothing. Not the product's discovery service, which is `retic.ads`.
"""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from retic.identity import attest, authority, current, peer, server, service

TOKEN_KEY = b"k" * 32
_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class Holds:
    """MayHold from a table: client id to the SPIFFE ids that it may hold."""

    def __init__(self) -> None:
        self.table: dict[str, set[str]] = {}

    async def check(self, holder: attest.Bearer, spiffe_id: str) -> None:
        """RefusedError unless it is the holder's own or the table says so."""
        own = spiffe_id.endswith(f"/retic/{holder.client_id}")
        if not own and spiffe_id not in self.table.get(holder.client_id, set()):
            raise attest.RefusedError(f"{holder.client_id} runs no pod of {spiffe_id}")


class Control:
    """`requests` is every request of every stream, in order; `streams` counts the streams.

    Given `discovery`, these handlers are served instead of its own ADS; given `may_enroll` or `may_hold`, they
    are asked instead of the token key and the table; given `signer`, it signs instead of an authority in `folder`.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        trust_domain: str = "cluster.local",
        *,
        discovery: "tuple[grpc.GenericRpcHandler[bytes, bytes], ...]" = (),
        may_enroll: attest.MayEnroll | None = None,
        may_hold: attest.MayHold | None = None,
        signer: current.Current | None = None,
    ) -> None:
        self.may_enroll, self.may_hold = may_enroll, may_hold
        self.certificates: service.Service | None = None
        self.discovery = discovery
        self.authority = signer or current.Current(authority.open_own(folder, trust_domain))
        self.holds = Holds()
        self.requests: list[discovery_pb2.DeltaDiscoveryRequest] = []
        self.clients: list[str] = []
        self.streams = 0
        self.port = self.enrol_port = 0
        self._resources: dict[str, dict[str, discovery_pb2.Resource]] = {}
        self._queues: list[asyncio.Queue[discovery_pb2.DeltaDiscoveryResponse]] = []
        self._subscribed: dict[str, set[str]] = {}
        self._servers: list[grpc.aio.Server] = []
        self._nonce = 0

    async def start(self) -> None:
        """Listen on 127.0.0.1: on free ports at first, on the same ones later."""
        known = self.certificates = service.Service(
            self.authority, self.may_enroll or attest.LocalTokens(TOKEN_KEY), self.may_hold or self.holds
        )
        method = grpc.stream_stream_rpc_method_handler(
            self._discover,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        ads = grpc.method_handlers_generic_handler(_SERVICE, {"DeltaAggregatedResources": method})
        self.port = await self._serve(self.port, True, (known.signing(), *(self.discovery or (ads,))))
        self.enrol_port = await self._serve(self.enrol_port, False, (known.enrolment(),))

    async def stop(self) -> None:
        """Cut everything at once."""
        for one in self._servers:
            await one.stop(0)
        self._servers.clear()
        self._queues.clear()

    def put(self, type_url: str, name: str, message: Message, version: str) -> None:
        """A resource is there, or changed; subscribers are sent it."""
        resource = discovery_pb2.Resource(name=name, version=version)
        resource.resource.type_url = type_url
        resource.resource.value = message.SerializeToString()
        self._resources.setdefault(type_url, {})[name] = resource
        if self._wanted(type_url, name):
            self._send(type_url, [resource])

    def remove(self, type_url: str, name: str) -> None:
        """A resource is gone."""
        self._resources.get(type_url, {}).pop(name, None)
        if self._wanted(type_url, name):
            self._send(type_url, removed=[name])

    def acknowledged(self, type_url: str) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """The ACKs of a type."""
        return [one for one in self.answers(type_url) if not one.HasField("error_detail")]

    def answers(self, type_url: str) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """ACKs and NACKs of a type."""
        return [one for one in self.requests if one.type_url == type_url and one.response_nonce]

    async def _serve(self, port: int, require: bool, handlers: tuple[Any, ...]) -> int:
        made = grpc.aio.server(options=server.SERVER_OPTIONS)
        made.add_generic_rpc_handlers(handlers)
        credentials = server.credentials(self.authority, require_client=require)
        port = made.add_secure_port(f"127.0.0.1:{port}", credentials)
        await made.start()
        self._servers.append(made)
        return port

    async def _discover(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], call: Any
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        self.clients.append(peer.client(call.auth_context(), self.authority.trust_domain).client_id)
        self.streams += 1
        self._subscribed = {}
        queue: asyncio.Queue[discovery_pb2.DeltaDiscoveryResponse] = asyncio.Queue()
        self._queues = [queue]

        async def read() -> None:
            async for request in requests:
                self._receive(request)

        reader = asyncio.create_task(read())
        try:
            while True:
                yield await queue.get()
        finally:
            reader.cancel()

    def _receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self.requests.append(request)
        first = request.type_url not in self._subscribed
        names = self._subscribed.setdefault(request.type_url, set())
        names.difference_update(request.resource_names_unsubscribe)
        names.update(request.resource_names_subscribe)
        if not request.resource_names_subscribe:
            return
        there = self._resources.get(request.type_url, {})
        asked = list(there) if "*" in request.resource_names_subscribe else request.resource_names_subscribe
        found = [there[name] for name in asked if name in there]
        held = request.initial_resource_versions
        changed = [one for one in found if held.get(one.name) != one.version]
        gone = [name for name in held if name not in there]
        if changed or gone or first:
            self._send(request.type_url, changed, gone)

    def _wanted(self, type_url: str, name: str) -> bool:
        return bool({name, "*"} & self._subscribed.get(type_url, set()))

    def _send(
        self, type_url: str, resources: list[discovery_pb2.Resource] = [], removed: list[str] = []  # noqa: B006
    ) -> None:
        self._nonce += 1
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=str(self._nonce), resources=resources, removed_resources=removed
        )
        for queue in self._queues:
            queue.put_nowait(response)
