"""The gRPC service retic.v1.Node: a node's agent tells which pods it has captured. Payloads are msgspec JSON.

Who reports is told by the certificate alone, so a node speaks for its own pods only; which pods those are, and what
follows from it, is for whoever takes the report.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import peer, spiffe

NAME = "retic.v1.Node"
LONGEST = 1 << 20  # bytes of one report
_Uid: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Version: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
_log = structlog.get_logger("retic.identity")


class Plaintext(msgspec.Struct, frozen=True):
    """How many open connections of a captured pod pass the proxy by."""

    uid: _Uid
    connections: Annotated[int, msgspec.Meta(ge=0)]


class Refusable(msgspec.Struct, frozen=True):
    """How many requests and connections STRICT would have refused at a pod, and when the last was seen (RFC 3339)."""

    uid: _Uid
    count: Annotated[int, msgspec.Meta(ge=0)]
    last: _Version


class Report(msgspec.Struct, frozen=True):
    """All that a node has captured now, and the versions of its Envoy and agent. Bounds: 4,096 pods.

    `released` are pods that the agent knows and does not capture, or no longer.
    `cni` says what is wrong with the node's chain of CNI plugins, `kernel` names what the kernel lacks: empty when all
    is well, None when the agent has not looked.
    """

    captured: Annotated[tuple[_Uid, ...], msgspec.Meta(max_length=4096)] = ()
    plaintext: Annotated[tuple[Plaintext, ...], msgspec.Meta(max_length=4096)] = ()
    envoy: _Version = ""
    retic: _Version = ""
    cni: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    kernel: Annotated[tuple[_Version, ...], msgspec.Meta(max_length=32)] | None = None
    released: Annotated[tuple[_Uid, ...], msgspec.Meta(max_length=4096)] = ()
    refusable: Annotated[tuple[Refusable, ...], msgspec.Meta(max_length=4096)] = ()


class NotTakenError(Exception):
    """The report is not carried out; the agent is to tell it again, maybe to another replica. The message says why."""


class Noted(msgspec.Struct, frozen=True):
    """The report has been taken."""


Take: TypeAlias = Callable[[str, str, Report], Awaitable[None]]


def service(trust_domain: str, take: Take) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """For the port that requires client certificates. `take` gets the node's name, the uid of the agent's
    pod ("" for one that is in none), and the report.

    Callers that are no nodes are refused (PERMISSION_DENIED), and what is no report (INVALID_ARGUMENT). Where `take`
    raises NotTakenError: UNAVAILABLE.
    """

    async def report(data: bytes, call: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        try:
            bearer = peer.bearer(call.auth_context(), trust_domain)
            caller = spiffe.client(trust_domain, bearer.client_id)
            if not isinstance(caller, spiffe.Node):
                raise peer.UnknownPeerError(f"{caller} is no node")
            if len(data) > LONGEST:
                raise msgspec.ValidationError(f"a report has at most {LONGEST} bytes, not {len(data)}")
            await take(caller.name, bearer.pod, msgspec.json.decode(data, type=Report))
            return msgspec.json.encode(Noted())
        except PermissionError as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except msgspec.DecodeError as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except NotTakenError as error:
            code, text = grpc.StatusCode.UNAVAILABLE, str(error)
        _log.warning("report refused", reason=text, peer=call.peer())
        await call.abort(code, text)
        raise AssertionError("abort always raises")

    method = grpc.unary_unary_rpc_method_handler(report)
    return grpc.method_handlers_generic_handler(NAME, {"Report": method})
