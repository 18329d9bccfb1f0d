"""The gRPC service retic.v1.Authority: Enroll, Sign, Bundle. Payloads are msgspec JSON.

Python's gRPC asks for client certificates always or never, so the service is on two ports: Enroll, whose
callers have no certificate yet, where none is asked for; Sign where one is required; Bundle, which is
public, on both. Refuses to decide who may have what: `attest` does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import attest, authority, peer, spiffe

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
    """A certificate chain, leaf first, and the roots of the trust domain; both PEM."""

    certificate: str
    bundle: str


class Bundle(msgspec.Struct, frozen=True):
    """The roots of the trust domain, PEM."""

    bundle: str


Q = TypeVar("Q", bound=msgspec.Struct)
Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Service:
    """The three methods over one authority. `enrolment()` and `signing()` are what the two ports serve."""

    def __init__(
        self, signer: authority.Authority, may_enroll: attest.MayEnroll, may_hold: attest.MayHold
    ) -> None:
        self._signer = signer
        self._may_enroll = may_enroll
        self._may_hold = may_hold

    def enrolment(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Enroll and Bundle: for the port that asks for no client certificate."""
        return grpc.method_handlers_generic_handler(
            NAME,
            {"Enroll": _unary(EnrollRequest, self._enroll), "Bundle": _unary(BundleRequest, self._bundle)},
        )

    def signing(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """Sign and Bundle: for the port that requires client certificates."""
        return grpc.method_handlers_generic_handler(
            NAME, {"Sign": _unary(SignRequest, self._sign), "Bundle": _unary(BundleRequest, self._bundle)}
        )

    async def _enroll(self, asked: EnrollRequest, _call: Call) -> Signed:
        identity = spiffe.client(self._signer.trust_domain, asked.client_id)
        await self._may_enroll.check(asked.client_id, asked.token)
        return self._signed(asked.request, identity)

    async def _sign(self, asked: SignRequest, call: Call) -> Signed:
        caller = peer.client(call.auth_context(), self._signer.trust_domain)
        identity = spiffe.parse(asked.identity)
        if identity != caller:
            if not isinstance(identity, spiffe.Workload):
                raise attest.RefusedError(f"{caller.client_id} may not hold {identity}")
            await self._may_hold.check(caller.client_id, str(identity))
        return self._signed(asked.request, identity)

    async def _bundle(self, _asked: BundleRequest, _call: Call) -> Bundle:
        return Bundle(self._signer.bundle().decode())

    def _signed(self, request: str, identity: spiffe.Id) -> Signed:
        chain = self._signer.sign(request.encode(), identity)
        _log.info("certificate signed", identity=str(identity))
        return Signed(certificate=chain.decode(), bundle=self._signer.bundle().decode())


def _unary(
    asked: type[Q], answer: Callable[[Q, Call], Awaitable[msgspec.Struct]]
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """The method with its payloads decoded, and its refusals as gRPC statuses."""

    async def serve(data: bytes, call: Call) -> bytes:
        try:
            return msgspec.json.encode(await answer(msgspec.json.decode(data, type=asked), call))
        except PermissionError as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except (msgspec.DecodeError, spiffe.InvalidIdError, authority.RefusedRequestError) as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        _log.warning("certificate refused", reason=text, peer=call.peer())
        await call.abort(code, text)
        raise AssertionError("abort always raises")

    return grpc.unary_unary_rpc_method_handler(serve)
