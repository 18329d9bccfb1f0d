"""What the other replicas know of their proxies: a proxy's stream is with one replica, and the leader writes for all.

gRPC `retic.v1.Controller/Live` between replicas only: both ends show the control plane's own certificate. Replicas
are found by the EndpointSlices of the controllers' Service. A replica that does not answer is left out, and then
nothing is known for sure: what stood in a status stays (`live.condition`).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog

from retic import findings, graph
from retic.identity import certificate, current, peer, server, spiffe
from retic.kube import live, settings
from retic.mesh import service, services

NAME = "retic.v1.Controller"
MOST = 2_000
"""Objects in one question."""
SECONDS = 2.0
log = structlog.get_logger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """One object's generation, and whose proxies are meant: ids that begin so, or are the same."""

    object: findings.Ref
    generation: int
    clients: str


class _Question(msgspec.Struct, frozen=True):
    objects: tuple[Asked, ...]


class _Answer(msgspec.Struct, frozen=True):
    found: tuple[live.Live, ...]


Know = Callable[[Asked], live.Live]
"""What this replica knows."""


class Service:
    """The answering end, on the port that wants client certificates."""

    def __init__(self, trust_domain: str, know: Know) -> None:
        self._trust_domain, self._know = trust_domain, know

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """For `add_generic_rpc_handlers`."""
        method = grpc.unary_unary_rpc_method_handler(self._live)
        return grpc.method_handlers_generic_handler(NAME, {"Live": method})

    async def _live(self, payload: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            who = peer.identity(context.auth_context(), self._trust_domain)
        except peer.UnknownPeerError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        if not isinstance(who, spiffe.Control):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only controllers ask each other")
        try:
            asked = msgspec.json.decode(payload, type=_Question).objects[:MOST]
        except msgspec.MsgspecError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return msgspec.json.encode(_Answer(tuple(self._know(each) for each in asked)))


class Peers:
    """The asking end. `addresses` gives host:port of the other replicas now."""

    def __init__(self, signer: current.Current, addresses: Callable[[], Sequence[str]]) -> None:
        self._signer, self._addresses = signer, addresses
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._credentials: grpc.ChannelCredentials | None = None
        self._bundle = b""

    async def ask(self, asked: Sequence[Asked]) -> list[live.Live] | None:
        """What all the others know, added up; None when one of them does not answer."""
        total = [live.Live(0, 0)] * len(asked)
        addresses = self._addresses()
        await self._forget(addresses)
        answers = await asyncio.gather(*(self._one(address, asked) for address in addresses))
        for answer in answers:
            if answer is None:
                return None
            total = [one + other for one, other in zip(total, answer, strict=True)]
        return total

    async def close(self) -> None:
        """End the connections."""
        await self._forget(())

    async def _one(self, address: str, asked: Sequence[Asked]) -> tuple[live.Live, ...] | None:
        call = self._channel(address).unary_unary(f"/{NAME}/Live", _same, _same)
        try:
            payload: bytes = await call(msgspec.json.encode(_Question(tuple(asked))), timeout=SECONDS)
            found = msgspec.json.decode(payload, type=_Answer).found
        except (grpc.aio.AioRpcError, msgspec.MsgspecError) as error:
            log.info("a replica does not answer", address=address, reason=str(error)[:200])
            return None
        return found if len(found) == len(asked) else None

    def _channel(self, address: str) -> grpc.aio.Channel:
        bundle = self._signer.bundle()
        if self._credentials is None or bundle != self._bundle:
            key = certificate.new_key()
            chain = self._signer.issue(key.public_key(), spiffe.Control(self._signer.trust_domain))
            self._credentials = grpc.ssl_channel_credentials(bundle, certificate.key_pem(key), chain)
            self._bundle = bundle
        if address not in self._channels:
            self._channels[address] = grpc.aio.secure_channel(
                address, self._credentials, options=server.CHANNEL_OPTIONS
            )
        return self._channels[address]

    async def renew(self) -> None:
        """Use a new certificate from now on; called now and then by whoever runs this."""
        self._credentials = None
        await self._forget(())

    async def _forget(self, but: Iterable[str]) -> None:
        kept = set(but)
        for address in [address for address in self._channels if address not in kept]:
            await self._channels.pop(address).close(None)


def _same(data: bytes) -> bytes:
    return data


def others(mesh: graph.Graph, told: settings.Settings, own: Callable[[], str]) -> list[str]:
    """host:port of the replicas behind the controllers' Service, without the one at the address `own`.

    While the own address is not known, nobody: a replica that asks itself would count its proxies twice.
    """
    mine = own()
    key = services.PortKey(told.namespace, told.service, told.control_port)
    ready = service.usable(mesh.ask(services.endpoints, key)) if mine else ()
    return sorted(f"{e.address}:{e.port}" for e in ready if e.address != mine)
