"""An external authorizer that speaks envoy.service.auth.v3.Authorization; `authorizers` has what it decides.

A connection, which has no headers, is allowed when the caller's SPIFFE ID ends with /sa/friend.
"""

import asyncio
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.type.v3 import http_status_pb2
from google.rpc import status_pb2

from retic.testing.apps import authorizers, start

SERVICE = "envoy.service.auth.v3.Authorization"
_ALLOWED, _REFUSED = 0, 7  # google.rpc.Code: OK, PERMISSION_DENIED


class Authorizer:
    """The method; `identity` says who answers."""

    def __init__(self, identity: start.Identity) -> None:
        self._name = identity.name

    async def check(self, request: external_auth_pb2.CheckRequest, call: Any) -> bytes:
        """The answer, as bytes."""
        http = request.attributes.request.http
        caller = request.attributes.source.principal
        if not http.method:
            return _answer(_ALLOWED if caller.endswith("/sa/friend") else _REFUSED)
        by = dict(call.invocation_metadata() or ()).get("x-forwarded-client-cert", "")
        body = http.raw_body or http.body.encode()
        asked = authorizers.Asked(http.method, http.path, dict(http.headers), body, caller, str(by))
        verdict = authorizers.decide(asked, self._name)
        await asyncio.sleep(verdict.delay)
        if verdict.garbage:
            return b"\xff no message \xff"
        answer = external_auth_pb2.CheckResponse(
            status=status_pb2.Status(code=_ALLOWED if verdict.status == 200 else _REFUSED)
        )
        if verdict.status == 200:
            answer.ok_response.headers.extend(_headers(verdict.upstream))
            answer.ok_response.response_headers_to_add.extend(_headers(verdict.downstream))
            answer.ok_response.headers_to_remove.append("x-take-away")
        else:
            answer.denied_response.status.code = http_status_pb2.Unauthorized
            answer.denied_response.headers.extend(_headers(verdict.downstream))
            answer.denied_response.body = verdict.body
        return answer.SerializeToString()


def _answer(code: int) -> bytes:
    return external_auth_pb2.CheckResponse(status=status_pb2.Status(code=code)).SerializeToString()


def _headers(of: dict[str, str]) -> list[base_pb2.HeaderValueOption]:
    return [base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=k, value=v)) for k, v in of.items()]


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    method = grpc.unary_unary_rpc_method_handler(
        Authorizer(given.identity).check, request_deserializer=external_auth_pb2.CheckRequest.FromString
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Check": method})])
    port = server.add_insecure_port(f"{given.host}:{given.port}")
    await server.start()
    start.announce(given.host, port)
    await start.until_told()
    await server.stop(grace=1)


if __name__ == "__main__":
    asyncio.run(main())
