"""An Envoy's questions about global rate limits, passed on to the control plane with the agent's certificate.

So pods have no way to ask: Envoy asks on its agent's socket, and the control plane answers agents only. What cannot be
passed on is UNAVAILABLE at once, and Envoy lets the request pass or refuses it, as its limit says.
"""

import asyncio
from typing import Any

import grpc
import grpc.aio

from retic.node import upstream

METHOD, SERVICE = "ShouldRateLimit", "envoy.service.ratelimit.v3.RateLimitService"
SECONDS = 0.1
"""How long an answer is waited for: as long as Envoy waits for ours."""
RETIRE_SECONDS = 1.0


def _same(data: bytes) -> bytes:
    return data


class Questions:
    """`connect` gives a channel to the control plane with the agent's certificate, None as yet."""

    def __init__(self, connect: upstream.Connect) -> None:
        self._connect = connect
        self._channel: grpc.aio.Channel | None = None
        self._retired: set[asyncio.Task[None]] = set()

    def handlers(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """For the server on the agent's socket."""
        method = grpc.unary_unary_rpc_method_handler(self._ask)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})

    def renew(self) -> None:
        """Ask by a new connection from now on: the certificate or the roots are others."""
        before, self._channel = self._channel, None
        if before is not None:
            task = asyncio.create_task(before.close(RETIRE_SECONDS))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """End the connection; what is asked later gets a new one."""
        before, self._channel = self._channel, None
        if before is not None:
            await before.close(None)
        await asyncio.gather(*self._retired, return_exceptions=True)

    async def _ask(self, data: bytes, call: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self._channel = self._channel or self._connect()
        if self._channel is None:
            await call.abort(grpc.StatusCode.UNAVAILABLE, "no certificate yet")
            raise AssertionError("abort returns never")
        above: Any = self._channel.unary_unary(f"/{SERVICE}/{METHOD}", _same, _same)
        try:
            answer: bytes = await above(data, timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            await call.abort(grpc.StatusCode.UNAVAILABLE, f"the control plane: {error.code().name}")
            raise AssertionError("abort returns never") from None
        return answer
