"""What the agent tells the control plane: which pods it has captured, and which of their connections pass by the proxy.

At every change, at least every 30 s, and again as soon as the control plane is back. Who waits for `told` knows that
the control plane has heard of everything before.
"""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import grpc
import grpc.aio
import structlog

from retic.identity import client, clock, report
from retic.node import connections, keys, pods

EVERY = 30.0  # seconds between reports, at most
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between failed attempts
MOST_PODS = 4096  # whose connections are counted for one report
Refusable: TypeAlias = Callable[[Iterable[str]], Awaitable[tuple[report.Refusable, ...]]]
_log = structlog.get_logger("retic.node")


class Reporting:
    """`connect` gives a channel with the agent's certificate, None as yet; `count` counts a namespace's connections.

    `chain` says what is wrong with the node's chain of plugins ("" for nothing), `kernel` is what the kernel lacks;
    None where nobody has looked. `refusable` tells what STRICT would refuse at pods, given by uid.
    """

    def __init__(
        self,
        known: pods.Pods,
        connect: Callable[[], "client.Channel | None"],
        time: clock.Clock,
        *,
        count: Callable[[str], connections.Counted] = connections.counted,
        chain: Callable[[], str | None] = lambda: None,
        refusable: Refusable | None = None,
    ) -> None:
        self._known = known
        self._connect = connect
        self._time = time
        self._count = count
        self._due = asyncio.Event()
        self._heard = asyncio.Condition()
        self._changes = 0
        self._told = -1
        self._chain = chain
        self._refusable = refusable
        self.envoy = ""
        self.kernel: tuple[str, ...] | None = None

    def changed(self) -> None:
        """Report soon."""
        self._changes += 1
        self._due.set()

    async def told(self) -> None:
        """Return once the control plane has taken a report made after this call. Waits as long as it is away."""
        self.changed()
        wanted = self._changes
        async with self._heard:
            await self._heard.wait_for(lambda: self._told >= wanted)

    async def run(self) -> None:
        """Report for ever."""
        pause, said = FIRST_PAUSE, ""
        while True:
            self._due.clear()
            changes = self._changes
            try:
                sent = await self._send()
                reason = "" if sent else "no certificate yet"
            except (grpc.RpcError, OSError, ValueError) as error:
                reason = keys.reason(error)
            if not reason:
                pause, said = FIRST_PAUSE, ""
                self._told = changes
                async with self._heard:
                    self._heard.notify_all()
                await self._wait(EVERY)
                continue
            if reason != said:
                _log.warning("the control plane has not taken the report", reason=reason)
                said = reason
            await self._time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _wait(self, seconds: float) -> None:
        waits = {asyncio.ensure_future(self._due.wait()), asyncio.ensure_future(self._time.sleep(seconds))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _send(self) -> bool:
        said = await self._make()
        channel = self._connect()
        if channel is None:
            return False
        try:
            await channel.report(said)
        finally:
            with contextlib.suppress(grpc.RpcError):
                await channel.close()
        return True

    async def _make(self) -> report.Report:
        captured = [pod for pod in self._known.all() if pod.captured][:MOST_PODS]
        plaintext: list[report.Plaintext] = []
        for pod in captured:
            try:
                found = (await asyncio.to_thread(self._count, pod.netns)).plaintext
            except OSError as error:  # mostly: the namespace has just gone
                _log.info("connections not counted", namespace=pod.namespace, name=pod.name, reason=str(error))
                continue
            if found:
                plaintext.append(report.Plaintext(pod.uid, found))
        # Counted meanwhile, some may be captured no longer.
        known = self._known.all()
        still = tuple(pod.uid for pod in known if pod.captured)[:MOST_PODS]
        released = tuple(pod.uid for pod in known if not pod.captured)[:MOST_PODS]
        chain = await asyncio.to_thread(self._chain)
        return report.Report(
            captured=still,
            plaintext=tuple(plaintext),
            released=released,
            refusable=await self._refusable(still) if self._refusable else (),
            envoy=self.envoy,
            retic=importlib.metadata.version("retic"),
            cni=chain,
            kernel=self.kernel,
        )
