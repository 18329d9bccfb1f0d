"""One Envoy and what serves it: its slot, its relay, and its own discovery stream to the control plane."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from retic.node import envoy, relay, slots, upstream


class Proxy:
    """`open` it, and `close` it. `failed` hears of a task that ended with an error."""

    def __init__(
        self, slot: slots.Slot, its_envoy: envoy.Envoy, its_relay: relay.Relay, above: upstream.Upstream,
        failed: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        self.slot = slot
        self.envoy = its_envoy
        self.relay = its_relay
        self.upstream = above
        self._failed = failed
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Serve discovery, then adopt or start Envoy. UnusableEnvoyError when there is none."""
        await self.relay.start(self.slot.socket("xds"))
        self._keep(self.upstream.run(self.relay), "upstream")
        await self.envoy.start()
        self._keep(self.envoy.run(), "envoy")

    async def adopt(self) -> bool:
        """Serve an Envoy that runs already, without starting another one in its place; False when there is none."""
        if not await self.envoy.adopt():
            return False
        await self.relay.start(self.slot.socket("xds"))
        self._keep(self.upstream.run(self.relay), "upstream")
        return True

    async def retire(self) -> None:
        """Go on serving discovery, but start no other Envoy when this one ends; the agent's own watches end."""
        self.relay.forget()
        await self._cancel("envoy")

    async def close(self, *, leave_envoy: bool = False) -> None:
        """Stop serving; end Envoy too, unless it is left."""
        await self._cancel("")
        if not leave_envoy:
            await self.envoy.stop()
        await self.relay.close()

    async def _cancel(self, name: str) -> None:
        chosen = [task for task in self._tasks if task.get_name().startswith(name)]
        for task in chosen:
            task.cancel()
            self._tasks.remove(task)
        await asyncio.gather(*chosen, return_exceptions=True)

    def _keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{name} {self.slot.name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._failed(error)
