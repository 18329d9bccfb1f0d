"""The gRPC service retic.v1.Authority: Enroll, Sign, Bundle, Roots. Payloads are msgspec JSON.

Python's gRPC asks for client certificates always or never, so the service is on two ports: Enroll, whose
callers have no certificate yet, where none is asked for; Sign and Roots where one is required; Bundle, which
is public, on both. Refuses to decide who may have what: `attest` does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import attest, authority, counts, current, holdings, peer, spiffe

NAME = "retic.v1.Authority"
_log = structlog.get_logger("retic.identity")


class EnrollRequest(msgspec.Struct, frozen=True):
    """For a client's own certificate. `request` is PKCS 10, PEM."""

    client_id: str
    token: str
    request: str

    def __repr__(self) -> str:
        return f"EnrollRequest(client_id={self.client_id!r}, token=...)"


class SignRequest(msgspec.Struct, frozen=True):
    """For a certificate of `identity`, a SPIFFE id. `request` is PKCS 10, PEM."""

    identity: str
    request: str


class BundleRequest(msgspec.Struct, frozen=True):
    """For the roots."""


class Signed(msgspec.Struct, frozen=True):
    """A certificate chain, leaf first, and the roots of the trust domain with their serial; both PEM."""

    certificate: str
    bundle: str
    serial: int = 0
    issuer: str = ""
    domains: tuple[current.Domain, ...] = ()


class Bundle(msgspec.Struct, frozen=True):
    """The roots of the trust domain, PEM, and what else `current.Roots` has. Of two bundles the one with the greater
    serial is the newer."""

    bundle: str
    serial: int = 0
    issuer: str = ""
    domains: tuple[current.Domain, ...] = ()


class Holds(msgspec.Struct, frozen=True):
    """What a client says on the stream Roots: the SHA-256, in hex, of the bundle that it and its Envoy go by, and the
    issuer of all certificates that they use, "" as long as there is more than one."""

    held: str
    issuer: str = ""


Q = TypeVar("Q", bound=msgspec.Struct)
Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Service:
    """The methods over one authority. `enrolment()` and `signing()` are what the two ports serve.

    `counts` says what was signed and refused, `holdings` which client goes by which bundle.
    """

    def __init__(
        self, signer: current.Current, may_enroll: attest.MayEnroll, may_hold: attest.MayHold
    ) -> None:
        self._signer = signer
        self._may_enroll = may_enroll
        self._may_hold = may_hold
        self.counts = counts.Counts()
        self.holdings = holdings.Holdings()

    def enrolment(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Enroll and Bundle: for the port that asks for no client certificate."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Enroll": self._unary(EnrollRequest, self._enroll),
                "Bundle": self._unary(BundleRequest, self._bundle),
            },
        )

    def signing(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Sign, Roots and Bundle: for the port that requires client certificates."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Sign": self._unary(SignRequest, self._sign),
                "Bundle": self._unary(BundleRequest, self._bundle),
                "Roots": grpc.stream_stream_rpc_method_handler(self._roots),
            },
        )

    async def _enroll(self, asked: EnrollRequest, call: Call) -> Signed:
        identity = spiffe.client(self._signer.trust_domain, asked.client_id)
        pod = await self._may_enroll.check(asked.client_id, asked.token, call.peer())
        return self._signed(asked.request, identity, pod)

    async def _sign(self, asked: SignRequest, call: Call) -> Signed:
        bearer = peer.bearer(call.auth_context(), self._signer.trust_domain)
        identity = spiffe.parse(asked.identity)
        own = identity == spiffe.client(self._signer.trust_domain, bearer.client_id)
        if not own and not isinstance(identity, spiffe.Workload):
            raise attest.RefusedError(f"{bearer.client_id} may not hold {identity}")
        await self._may_hold.check(bearer, str(identity))
        return self._signed(asked.request, identity, bearer.pod if own else "")

    async def _bundle(self, _asked: BundleRequest, _call: Call) -> Bundle:
        return _told(self._signer.roots)

    async def _roots(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """The bundle, now and when it changes; the client says what it goes by, now and when that changes."""
        try:
            bearer = peer.bearer(call.auth_context(), self._signer.trust_domain)
        except attest.RefusedError as error:
            await self._abort(call, error)
            return
        with self.holdings.of(bearer) as held:
            reader = asyncio.create_task(_read(requests, held))
            try:
                async for roots in self._signer.follow():
                    yield msgspec.json.encode(_told(roots))
            finally:
                reader.cancel()

    def _signed(self, request: str, identity: spiffe.Id, pod: str) -> Signed:
        chain = self._signer.sign(request.encode(), identity, pod=pod)
        self.counts.signed += 1
        _log.info("certificate signed", identity=str(identity), pod=pod)
        told = _told(self._signer.roots)
        return Signed(chain.decode(), told.bundle, told.serial, told.issuer, told.domains)

    def _unary(
        self, asked: type[Q], answer: Callable[[Q, Call], Awaitable[msgspec.Struct]]
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The method with its payloads decoded, and its refusals counted, logged, and as gRPC statuses."""

        async def serve(data: bytes, call: Call) -> bytes:
            try:
                return msgspec.json.encode(await answer(msgspec.json.decode(data, type=asked), call))
            except _REFUSALS as error:
                await self._abort(call, error)
                raise AssertionError("abort always raises") from None

        return grpc.unary_unary_rpc_method_handler(serve)

    async def _abort(self, call: Call, error: Exception) -> None:
        if isinstance(error, attest.RefusedError):
            reason = error.reason
        elif isinstance(error, authority.StaleError):
            reason = attest.Reason.UNAVAILABLE
        else:
            reason = attest.Reason.MALFORMED
        self.counts.refuse(reason)
        _log.warning("certificate refused", kind=reason.value, reason=str(error), peer=call.peer())
        await call.abort(_STATUS.get(reason, grpc.StatusCode.PERMISSION_DENIED), str(error))


# UnicodeEncodeError: JSON can carry halves of surrogate pairs, which no text of ours has.
_REFUSALS = (
    attest.RefusedError, authority.StaleError, msgspec.DecodeError, spiffe.InvalidIdError,
    authority.RefusedRequestError, UnicodeEncodeError,
)  # fmt: skip
_STATUS = {
    attest.Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    attest.Reason.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    attest.Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}


def _told(roots: current.Roots) -> Bundle:
    return Bundle(roots.bundle.decode(), roots.serial, roots.issuer, roots.domains)


async def _read(requests: AsyncIterator[bytes], held: holdings.Entry) -> None:
    async for data in requests:
        try:
            said = msgspec.json.decode(data, type=Holds)
            held.say(said.held, said.issuer)
        except msgspec.DecodeError:
            continue  # of a newer version: what it does not say in our words it does not hold
