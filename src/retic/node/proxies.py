"""A node's Envoys: the one that pods are redirected to, and now and then the one before, which drains.

A replacement loses nothing: the next Envoy opens the other set of ports in every pod, loads the clusters that
are in use, and then the redirection is turned, pod by pod, each in one step. Connections that exist stay with
the Envoy that has them (conntrack), until they end or `drain_seconds` have passed. docs/adr/0013 has the reasons.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

import structlog

from retic.identity import clock
from retic.node import admin, config, drain, envoy, pods, proxy, slots

REPLACE_SECONDS = 60.0  # for the next Envoy to be ready; after that the one there is stays
DECIDED_SECONDS = 5.0
LOOK_SECONDS = 30.0  # between looks at Envoy's memory
RECLAIM_SECONDS = 900.0  # between replacements for the sake of memory, and between attempts that failed
_log = structlog.get_logger("retic.node")


async def decided(one: proxy.Proxy) -> None:
    """Wait until an Envoy has the filters whose places in its listeners refuse everything meanwhile.

    It serves before it has them. A filter that nobody has is not waited for longer than `DECIDED_SECONDS`.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DECIDED_SECONDS):
            while not one.relay.decided:  # noqa: ASYNC110
                await asyncio.sleep(drain.LOOK / 10)
            return
    _log.warning("an Envoy lacks filters, which refuse until they come", pid=one.envoy.pid)


class ReplaceError(Exception):
    """Envoy was not replaced, and goes on as before. The message says why."""


class Make(Protocol):
    """Makes what belongs to a slot; `loaded` are the clusters that its Envoy is to have from the beginning."""

    def __call__(
        self, slot: slots.Slot, loaded: Iterable[str], failed: Callable[[BaseException], None]
    ) -> proxy.Proxy: ...


class Proxies:
    """`start`, then `current` serves. `moved` is awaited whenever another proxy has become the current one."""

    def __init__(
        self, settings: config.Config, its_slots: slots.Slots, known: pods.Pods, make: Make,
        moved: Callable[[proxy.Proxy], Coroutine[Any, Any, None]], time: clock.Clock,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._slots = its_slots
        self._pods = known
        self._make = make
        self._moved = moved
        self._time = time
        self._current: proxy.Proxy | None = None
        self.draining: list[proxy.Proxy] = []
        self.busy = asyncio.Lock()  # held while the redirection is turned, here or by another agent
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> proxy.Proxy:
        """The proxy that pods are redirected to."""
        assert self._current is not None
        return self._current

    def all(self) -> list[proxy.Proxy]:
        """The current one, if there is one, and those that drain."""
        return [*([self._current] if self._current else ()), *self.draining]

    async def start(self, slot: slots.Slot, loaded: Iterable[str] = ()) -> None:
        """Run an Envoy in a slot that is claimed: the one that is there, or a new one."""
        self._current = self._make(slot, loaded, self._failed)
        await self._current.open()

    async def ready(self) -> None:
        """Wait until the current one has loaded everything. TimeoutError after `REPLACE_SECONDS`."""
        async with asyncio.timeout(REPLACE_SECONDS):
            await drain.live(self.current.slot.socket("admin"))
        await decided(self.current)

    async def decided(self) -> None:
        """Wait until the current one has its filters, if there is one (`decided`)."""
        if self._current is not None:
            await decided(self._current)

    async def drop(self) -> None:
        """Give up what `start` began: pods are not redirected to it after all."""
        if self._current is not None:
            dropped, self._current = self._current, None
            await self._drain(dropped)

    async def vacate(self, slot: slots.Slot) -> None:
        """Let an Envoy end that lives in a claimed slot which pods are not redirected to: somebody left it there."""
        left = self._make(slot, (), self._failed)
        if await left.adopt():
            _log.info("an Envoy that was being replaced is found", pid=left.envoy.pid)
            await self._drain(left)
            slot.claim()

    async def in_charge(self) -> None:
        """Say that pods are redirected to the current one, and drain what somebody left in the other slot."""
        self._slots.make_current(self.current.slot)
        await self._moved(self.current)
        other = self._slots.other(self.current.slot)
        if self._settings.role is config.Role.NODE and not self.draining and other.claim():
            await self._drain_left(other)

    async def _drain_left(self, slot: slots.Slot) -> bool:
        left = self._make(slot, (), self._failed)
        if not await left.adopt():
            slot.give_up()
            return False
        _log.info("an Envoy that was being replaced is found", pid=left.envoy.pid)
        self._drain(left)
        return True

    async def replace(self, why: str) -> None:
        """Replace the current Envoy, and return once the next one has everything; the one before drains on.

        ReplaceError when that cannot be, or the next one is not ready within `REPLACE_SECONDS`.
        """
        if self._settings.role is config.Role.GATEWAY:
            raise ReplaceError("a gateway's Envoy is replaced with its pod")
        async with self.busy:
            if self._current is None:
                raise ReplaceError("another agent has the pods of this node")
            if self.draining:
                raise ReplaceError(f"the Envoy before (pid {self.draining[0].envoy.pid}) has connections still")
            before, slot = self.current, self._slots.other(self.current.slot)
            if not slot.claim():
                raise ReplaceError("another agent of this node has the other ports")
            if await self._drain_left(slot):
                raise ReplaceError("an Envoy that another agent left has connections still")
            slot.claim()
            started = asyncio.get_running_loop().time()
            loaded = await drain.used(before.slot.socket("admin"), before.relay.clusters)
            _log.info("Envoy is being replaced", why=why, pid=before.envoy.pid, clusters=len(loaded))
            after = self._make(slot, loaded, self._failed)
            await self._turn(after)
            self._slots.make_current(slot)
            self._current = after
            self._drain(before)
            await self._moved(after)
            seconds = round(asyncio.get_running_loop().time() - started, 3)
            _log.info("Envoy replaced", pid=after.envoy.pid, seconds=seconds)

    async def _turn(self, after: proxy.Proxy) -> None:
        try:
            async with asyncio.timeout(REPLACE_SECONDS):
                await after.open()
                await drain.live(after.slot.socket("admin"))
            await decided(after)
            _log.info("the next Envoy is ready", pid=after.envoy.pid)
            await self._pods.switch(after.slot.ports, REPLACE_SECONDS)
        except pods.SwitchError as error:  # pods were redirected to it for a moment
            self._drain(after)
            raise ReplaceError(str(error)) from error
        except BaseException as error:
            await after.close()
            after.slot.give_up()
            if isinstance(error, TimeoutError):
                raise ReplaceError(f"the next Envoy is not ready after {REPLACE_SECONDS:.0f} s") from error
            if isinstance(error, envoy.UnusableEnvoyError | OSError):
                raise ReplaceError(str(error)) from error
            raise

    def replace_soon(self, why: str) -> None:
        """Replace in the background; a failure is logged."""

        async def attempt() -> None:
            try:
                await self.replace(why)
            except ReplaceError as error:
                _log.warning("Envoy is not replaced", why=why, reason=str(error))

        self._keep(attempt())

    async def watch(self) -> None:
        """Replace Envoy when it is not the one that it should be, or holds too much memory. Never returns."""
        pause = 0.0
        while True:
            if why := await self._reason():
                try:
                    await self.replace(why)
                except ReplaceError as error:
                    _log.warning("Envoy is not replaced", why=why, reason=str(error))
                pause = RECLAIM_SECONDS
            await self._time.sleep(pause or LOOK_SECONDS)
            pause = 0.0

    async def _reason(self) -> str:
        if self._settings.role is config.Role.GATEWAY or self.draining or self._current is None:
            return ""
        if self.current.envoy.outdated:
            return "it runs on another bootstrap or binary"
        share = self._settings.reclaim_share
        with contextlib.suppress(admin.AdminError):
            allocated = await drain.memory(self.current.slot.socket("admin"))
            if share and allocated > share * self._settings.heap_bytes:
                return f"it holds {allocated >> 20} MiB of {self._settings.heap_bytes >> 20}"
        return ""

    def _drain(self, before: proxy.Proxy) -> asyncio.Task[None]:
        self.draining.append(before)
        return self._keep(self._end(before))

    async def _end(self, before: proxy.Proxy) -> None:
        await before.retire()
        left = await self._drained(before)
        _log.info("an Envoy has drained", pid=before.envoy.pid, connections_cut=left)
        await before.close()
        before.slot.give_up()
        self.draining.remove(before)

    async def _drained(self, before: proxy.Proxy) -> int:
        now = asyncio.get_running_loop().time
        deadline = now() + self._settings.drain_seconds
        while not before.envoy.ended:
            try:
                return await drain.until_empty(before.slot.socket("admin"), deadline - now())
            except admin.AdminError as error:  # busy, or gone
                _log.warning("an Envoy that drains does not answer", pid=before.envoy.pid, reason=str(error))
                if now() > deadline:
                    break
                await asyncio.sleep(drain.LOOK)
        return 0

    async def settle(self) -> None:
        """Wait until the redirection is not being turned, here or by another agent."""
        async with self.busy:
            pass

    async def superseded(self) -> None:
        """Another agent's Envoy has the pods: let ours drain, and return when the last has ended."""
        before, self._current = self.current, None
        self._drain(before)
        await asyncio.gather(*self._tasks)

    async def close(self, *, leave_envoy: bool = False) -> None:
        """Stop; end the Envoys too, unless they are left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self.all():
            await one.close(leave_envoy=leave_envoy)

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _failed(self, error: BaseException) -> None:
        if not self.broken.done():
            self.broken.set_exception(error)
