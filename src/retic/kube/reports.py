"""What node agents say of their pods: the gRPC service retic.v1.Node. Payloads are msgspec JSON.

Who speaks is the certificate's to say, never the message's. Refuses to believe anything about pods of other nodes:
that is judged against the objects (`captured`).
"""

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import peer, spiffe

NAME = "retic.v1.Node"
MOST_PODS = 1_000
"""More pods than any node has (kubelet's maxPods is 110 by default)."""
_LONGEST = 256
log = structlog.get_logger(__name__)


class Plaintext(msgspec.Struct, frozen=True):
    """Connections of a pod that are older than its enrolment."""

    uid: str
    connections: int


class Report(msgspec.Struct, frozen=True):
    """What an agent has captured: uids of pods. `envoy` and `retic` are versions; `agent` tells two agents of one
    node apart, whatever connections they use ("": by the connection)."""

    captured: tuple[str, ...] = ()
    plaintext: tuple[Plaintext, ...] = ()
    envoy: str = ""
    retic: str = ""
    agent: str = ""


Take = Callable[[str, str, Report], None]
"""Takes a node's name, the agent's own address and the report."""


def read(payload: bytes) -> Report:
    """The report in a message. ValueError (msgspec's) for one that is none, or is too big."""
    found = msgspec.json.decode(payload, type=Report)
    if max(len(found.captured), len(found.plaintext)) > MOST_PODS:
        raise ValueError(f"more than {MOST_PODS} pods in one report")
    if any(len(text) > _LONGEST for text in (*found.captured, found.envoy, found.retic, found.agent)):
        raise ValueError(f"a text of more than {_LONGEST} characters")
    return found


class Service:
    """Serves Report on the port that wants client certificates."""

    def __init__(self, trust_domain: str, take: Take) -> None:
        self._trust_domain = trust_domain
        self._take = take

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """For `add_generic_rpc_handlers`."""
        method = grpc.unary_unary_rpc_method_handler(self._report)
        return grpc.method_handlers_generic_handler(NAME, {"Report": method})

    async def _report(self, payload: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        try:
            who = peer.identity(context.auth_context(), self._trust_domain)
        except peer.UnknownPeerError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        if not isinstance(who, spiffe.Node):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{who} is no node: only its agent reports for it")
        try:
            found = read(payload)
        except ValueError as error:
            log.warning("a report was refused", node=str(who), reason=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no report: {error}")
        assert isinstance(who, spiffe.Node)
        self._take(who.name, found.agent or context.peer(), found)
        return b"{}"
