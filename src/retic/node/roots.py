"""Follows the trust bundle: each change comes at once over a stream, and the agent says what it goes by.

The control plane lets no new root sign before everybody has said so. What an agent says is what its Envoy has
acknowledged, not what the agent has been told.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import msgspec
import structlog

from retic.identity import client, clock, service
from retic.node import keys, trust

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds between attempts
_log = structlog.get_logger("retic.node")


class Roots:
    """`channel` gives a channel with the agent's certificate, None as yet; `public` one without.

    `goes_by` tells whether Envoy goes by the bundle of `told`, `issuer` who has signed all certificates that are used.
    """

    def __init__(
        self,
        told: trust.Trust,
        channel: Callable[[], client.Channel | None],
        public: Callable[[], client.Channel],
        goes_by: Callable[[], bool],
        time: clock.Clock,
        issuer: Callable[[], str] = lambda: "",
    ) -> None:
        self._told = told
        self._channel = channel
        self._public = public
        self._goes_by = goes_by
        self._issuer = issuer
        self._time = time
        self._look = asyncio.Event()
        self._heard = False

    def look(self) -> None:
        """The bundle may have changed, or what Envoy has of it."""
        self._look.set()

    async def run(self) -> None:
        """Follow for ever. Without a certificate of its own, or with one that is refused, the agent asks the port
        that wants none."""
        pause, said = FIRST_PAUSE, ""
        while True:
            self._heard = False
            reason = await self._attempt(self._follow)
            if self._heard:
                pause = FIRST_PAUSE
            elif reason:
                reason = await self._attempt(self._ask) or reason
            if reason != said:
                _log.info("trust bundle not followed", reason=reason)
                said = reason
            await self._time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _attempt(self, what: Callable[[], Awaitable[None]]) -> str:
        """Do it; why it failed, or ""."""
        try:
            await what()
        except (grpc.RpcError, asyncio.InvalidStateError, ValueError) as error:
            return keys.reason(error)
        return ""

    async def _follow(self) -> None:
        channel = self._channel()
        if channel is None:
            raise ValueError("no certificate yet")
        async with contextlib.aclosing(_Closing(channel)):
            call = channel.roots()
            saying = asyncio.create_task(self._say(call))
            try:
                async for data in call:
                    self._learn(msgspec.json.decode(data, type=service.Bundle))
                    self._heard = True
            finally:
                saying.cancel()
                await asyncio.gather(saying, return_exceptions=True)
                call.cancel()

    async def _ask(self) -> None:
        channel = self._public()
        async with contextlib.aclosing(_Closing(channel)):
            self._learn(await channel.bundle())

    async def _say(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        said: service.Holds | None = None
        while True:
            self._look.clear()
            now = service.Holds(self._told.digest if self._goes_by() else "", self._issuer())
            if now != said:
                await call.write(msgspec.json.encode(now))
                said = now
            await self._look.wait()

    def _learn(self, bundle: service.Bundle) -> None:
        self._told.learn(bundle.bundle.encode(), bundle.serial, bundle.domains, bundle.issuer)


class _Closing:
    """A channel whose end may fail, since it may have failed before."""

    def __init__(self, channel: client.Channel) -> None:
        self._made = channel

    async def aclose(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            await self._made.close()
