"""The gRPC service retic.v1.Metrics: an agent asks whether the bearer of a token may read metrics. Payloads are JSON.

So agents need no rights at the API server, and no part of the mesh but the control plane knows how tokens are checked.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeAlias

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import peer

NAME = "retic.v1.Metrics"
LONGEST = 64 * 1024  # bytes of one question
_log = structlog.get_logger("retic.identity")


class Asked(msgspec.Struct, frozen=True):
    """The token that somebody has shown to the agent."""

    token: str

    def __repr__(self) -> str:
        return "Asked(token=...)"


class Told(msgspec.Struct, frozen=True):
    """An HTTP status: OK, UNAUTHORIZED for no good token, FORBIDDEN for one without the right, SERVICE_UNAVAILABLE
    where nobody could be asked."""

    status: HTTPStatus


Judge: TypeAlias = Callable[[str, str], Awaitable[HTTPStatus]]
"""From a token and who passes it on to a status as in `Told`."""


def service(trust_domain: str, judge: Judge) -> "grpc.GenericRpcHandler[Any, Any]":
    """For the port that requires client certificates. `judge` gets the token and the client's id.

    Callers that are no agents are refused (PERMISSION_DENIED), and what is no question (INVALID_ARGUMENT).
    """

    async def may_read(data: bytes, call: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        try:
            bearer = peer.bearer(call.auth_context(), trust_domain)
            if len(data) > LONGEST:
                raise msgspec.ValidationError(f"a question has at most {LONGEST} bytes, not {len(data)}")
            asked = msgspec.json.decode(data, type=Asked)
            return msgspec.json.encode(Told(await judge(asked.token, bearer.client_id)))
        except PermissionError as error:
            code, text = grpc.StatusCode.PERMISSION_DENIED, str(error)
        except msgspec.DecodeError as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        _log.warning("question about a reader of metrics refused", reason=text, peer=call.peer())
        await call.abort(code, text)
        raise AssertionError("abort always raises")

    method = grpc.unary_unary_rpc_method_handler(may_read)
    return grpc.method_handlers_generic_handler(NAME, {"MayRead": method})
