"""A control plane for tests of the node agent: real gRPC, real TLS, a delta ADS as small as can be.

It sends what `put` and `remove` say to whoever subscribes, keeps what it was asked and told, and decides
nothing. Not the product's discovery service, which is `retic.ads`.
"""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

from retic.identity import attest, authority, current, peer, readers, report, server, service
from retic.testing import ports

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
    """`requests` is every request of every stream, in order; `streams` counts the streams; `reports` are those
    of nodes, with the node's name. `readers` has the tokens of those who may read metrics or not, with what is said of
    them; `judged` is who asked about which token.

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
        self.reports: list[tuple[str, report.Report]] = []
        self.readers: dict[str, HTTPStatus] = {}
        self.judged: list[tuple[str, str]] = []
        self.streams = 0
        self.port = self.enrol_port = 0
        self._resources: dict[str, dict[str, discovery_pb2.Resource]] = {}
        self._open: list[_Stream] = []
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
        reports = report.service(self.authority.trust_domain, self._report)
        judging = readers.service(self.authority.trust_domain, self._judge)
        self.port = await self._serve(
            self.port, True, (known.signing(), reports, judging, *(self.discovery or (ads,)))
        )
        self.enrol_port = await self._serve(self.enrol_port, False, (known.enrolment(),))

    async def stop(self) -> None:
        """Cut everything at once."""
        for one in self._servers:
            await one.stop(0)
        self._servers.clear()
        self._open.clear()

    def put(self, type_url: str, name: str, message: Message, version: str) -> None:
        """A resource is there, or changed; subscribers are sent it."""
        resource = discovery_pb2.Resource(name=name, version=version)
        resource.resource.type_url = type_url
        resource.resource.value = message.SerializeToString()
        self._resources.setdefault(type_url, {})[name] = resource
        for one in self._wanting(type_url, name):
            self._send(one, type_url, [resource])

    def remove(self, type_url: str, name: str) -> None:
        """A resource is gone."""
        self._resources.get(type_url, {}).pop(name, None)
        for one in self._wanting(type_url, name):
            self._send(one, type_url, removed=[name])

    def acknowledged(self, type_url: str) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """The ACKs of a type."""
        return [one for one in self.answers(type_url) if not one.HasField("error_detail")]

    def answers(self, type_url: str) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """ACKs and NACKs of a type."""
        return [one for one in self.requests if one.type_url == type_url and one.response_nonce]

    async def _report(self, node: str, _pod: str, said: report.Report) -> None:
        self.reports.append((node, said))

    async def _judge(self, token: str, asker: str) -> HTTPStatus:
        self.judged.append((asker, token))
        return self.readers.get(token, HTTPStatus.UNAUTHORIZED)

    async def _serve(self, port: int, require: bool, handlers: tuple[Any, ...]) -> int:
        made = grpc.aio.server(options=server.SERVER_OPTIONS)
        made.add_generic_rpc_handlers(handlers)
        credentials = server.credentials(self.authority, require_client=require)
        port = made.add_secure_port(f"127.0.0.1:{port or ports.free()}", credentials)
        await made.start()
        self._servers.append(made)
        return port

    async def _discover(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], call: Any
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        self.clients.append(peer.client(call.auth_context(), self.authority.trust_domain).client_id)
        self.streams += 1
        mine = _Stream()
        self._open.append(mine)

        async def read() -> None:
            async for request in requests:
                self._receive(mine, request)

        reader = asyncio.create_task(read())
        try:
            while True:
                yield await mine.queue.get()
        finally:
            reader.cancel()
            if mine in self._open:
                self._open.remove(mine)

    def _receive(self, mine: "_Stream", request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        self.requests.append(request)
        first = request.type_url not in mine.subscribed
        names = mine.subscribed.setdefault(request.type_url, set())
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
            self._send(mine, request.type_url, changed, gone)

    def _wanting(self, type_url: str, name: str) -> "list[_Stream]":
        return [one for one in self._open if {name, "*"} & one.subscribed.get(type_url, set())]

    def _send(
        self, to: "_Stream", type_url: str,
        resources: list[discovery_pb2.Resource] = [], removed: list[str] = [],  # noqa: B006
    ) -> None:  # fmt: skip
        self._nonce += 1
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=str(self._nonce), resources=resources, removed_resources=removed
        )
        to.queue.put_nowait(response)


class _Stream:
    """One stream: what is to be sent on it, and the names that it asked for by type."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[discovery_pb2.DeltaDiscoveryResponse] = asyncio.Queue()
        self.subscribed: dict[str, set[str]] = {}
