"""A gRPC echo server without protos: messages are JSON bytes, services are generic.

Service `retic.testing.Echo`: Unary, Stream (as many answers as `count`), Chat (an answer per message), Sum
(client streaming: one answer with the number of messages). A request may carry `message`, `count`,
`delay_ms` and `code` (a gRPC status name to end with). grpc.health.v1.Health answers SERVING.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import msgspec

from retic.testing.apps import start

SERVICE = "retic.testing.Echo"
_HEALTHY = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse with status SERVING


class Ask(msgspec.Struct, frozen=True):
    """A request. `count` bounds a stream's answers; `code` names a status such as UNAVAILABLE."""

    message: str = ""
    count: int = 1
    delay_ms: int = 0
    code: str = ""


class Echo:
    """The methods; `identity` is in every answer."""

    def __init__(self, identity: start.Identity) -> None:
        self.identity = identity

    def reply(self, call: Any, message: str, number: int) -> bytes:
        """What was seen, as JSON bytes. `peer` loses gRPC's `ipv4:` so that it reads like the others'."""
        facts = {
            "name": self.identity.name,
            "version": self.identity.version,
            "message": message,
            "number": number,
            "peer": call.peer().removeprefix("ipv4:"),
            "metadata": {key: str(value) for key, value in call.invocation_metadata() or ()},
        }
        return json.dumps(facts).encode()

    async def obey(self, ask: Ask, call: Any) -> None:
        """Wait and fail as the request wants it."""
        await asyncio.sleep(ask.delay_ms / 1000)
        if ask.code:
            await call.abort(grpc.StatusCode[ask.code], ask.message)

    async def unary(self, ask: Ask, call: Any) -> bytes:
        await self.obey(ask, call)
        return self.reply(call, ask.message, 1)

    async def stream(self, ask: Ask, call: Any) -> AsyncIterator[bytes]:
        for number in range(1, ask.count + 1):
            await self.obey(ask, call)
            yield self.reply(call, ask.message, number)

    async def chat(self, asks: AsyncIterator[Ask], call: Any) -> AsyncIterator[bytes]:
        number = 0
        async for ask in asks:
            number += 1
            await self.obey(ask, call)
            yield self.reply(call, ask.message, number)

    async def sum(self, asks: AsyncIterator[Ask], call: Any) -> bytes:
        number = 0
        async for ask in asks:
            number += 1
            await self.obey(ask, call)
        return self.reply(call, "", number)


def _decode(data: bytes) -> Ask:
    return msgspec.json.decode(data or b"{}", type=Ask)


async def _healthy(request: bytes, call: Any) -> bytes:
    return _HEALTHY


def handlers(identity: start.Identity) -> list[Any]:
    """The generic handlers of both services."""
    echo = Echo(identity)
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary, request_deserializer=_decode),
        "Stream": grpc.unary_stream_rpc_method_handler(echo.stream, request_deserializer=_decode),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, request_deserializer=_decode),
        "Sum": grpc.stream_unary_rpc_method_handler(echo.sum, request_deserializer=_decode),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(_healthy)}
    return [
        grpc.method_handlers_generic_handler(SERVICE, methods),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    ]


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(handlers(given.identity))
    port = server.add_insecure_port(f"{given.host}:{given.port}")
    await server.start()
    start.announce(given.host, port)
    await start.until_told()
    await server.stop(grace=1)


if __name__ == "__main__":
    asyncio.run(main())
