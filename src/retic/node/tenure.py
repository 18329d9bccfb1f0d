"""An agent's time in charge of its node: it begins with what is on disk or with a predecessor, and ends with a
stop or with a successor.

A successor takes nothing before its own Envoy serves every pod. An agent that was superseded lets its Envoy
drain, and ends when it is told to; if its successor fails before that, it begins anew.
"""

import asyncio
import contextlib
import os
import pathlib

import structlog

from retic.node import charge, cni, config, measuring, pods, proxies, reports, slots, sockets, succession

LOOK = 0.2  # seconds between looks for a slot or an agent
IDLE_LOOK = 1.0  # seconds between looks whether the successor is still there
MISSED = 10  # so many looks in a row without one, longer than its restart takes, and it is taken for gone
_log = structlog.get_logger("retic.node")


class Tenure:
    """`begin`, then `end`. `again` says afterwards whether the agent is to begin anew.

    While `waiting`, it may be given up at any moment: nothing of the node is its own yet.
    """

    def __init__(
        self, settings: config.Config, its_slots: slots.Slots, known: pods.Pods, its: proxies.Proxies,
        its_charge: charge.Charge | None = None, its_reports: reports.Reports | None = None,
        its_measuring: measuring.Measuring | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._slots = its_slots
        self._pods = known
        self._proxies = its
        self._charge = its_charge
        self._reports = its_reports
        self._measuring = its_measuring
        self._servers: dict[pathlib.Path, tuple[asyncio.Server, int]] = {}
        self._incumbent = succession.Incumbent(known, its, self._take_back)
        self.again = False
        self.waiting = True

    async def begin(self) -> None:
        """Return once in charge. UnusableEnvoyError when there is no Envoy to run."""
        while True:
            self.waiting = True
            before = await self._claim()
            if before is None:
                return await self._first()
            try:
                return await self._succeed(before)
            except (succession.LostError, pods.SwitchError, TimeoutError) as error:
                _log.warning("the node is not taken over yet", reason=str(error) or "no answer in time")
                before.close()  # which has it take everything back
                await self._proxies.drop()
                await asyncio.sleep(IDLE_LOOK)
            finally:
                before.close()

    async def end(self, stop: asyncio.Event, leave_envoy: asyncio.Event) -> None:
        """Be in charge until `stop`, or until superseded; return when the agent is to end."""
        superseded = self._incumbent.superseded
        await _first_of(stop, superseded)
        if not superseded.is_set() and not leave_envoy.is_set() and self._settings.handover_seconds:
            self._incumbent.leaving = True
            _log.info("waiting for a successor", seconds=self._settings.handover_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.handover_seconds):
                    await superseded.wait()
        if superseded.is_set():
            _log.info("superseded")
            if self._measuring is not None:
                await self._measuring.end()
            if self._charge is not None:
                await self._charge.end()
            await self._retire(stop)

    def close(self) -> None:
        """Serve no more; take the sockets away that are still ours."""
        for path, (server, inode) in self._servers.items():
            server.close()
            with contextlib.suppress(FileNotFoundError):
                if not self._incumbent.superseded.is_set() and path.stat().st_ino == inode:
                    path.unlink()
        self._servers.clear()

    async def _claim(self) -> succession.Predecessor | None:
        """Claim a slot: pods' own, or beside an agent that is in charge, the other one."""
        said = False
        while True:
            before = None
            if self._settings.role is config.Role.NODE:
                before = await succession.find(self._settings.socket("agent"))
            slot = self._slots.current()
            if before is not None:
                slot = self._slots.other(slot)
            if slot.claim():
                self._slot = slot
                return before
            if before is not None:
                before.close()
            if not said:
                _log.info("waiting for another agent of this node to give up its ports", slot=slot.name)
            said = True
            await asyncio.sleep(LOOK)

    async def _first(self) -> None:
        self.waiting = False
        self._pods.restore(self._settings.identities)
        await self._proxies.start(self._slot)
        with contextlib.suppress(pods.SwitchError):  # those that refuse are enrolled again by whoever runs them
            await self._pods.point(self._slot.ports)
        await self._take_charge()

    async def _succeed(self, before: succession.Predecessor) -> None:
        state = await before.state()
        _log.info("taking over from the agent in charge", pods=len(state.pods), clusters=len(state.loaded))
        self._learn(state)
        await self._proxies.vacate(self._slot)
        await self._proxies.start(self._slot, state.loaded)
        await self._proxies.ready()
        await self._pods.served(self._slot.ports, proxies.REPLACE_SECONDS)
        self.waiting = False
        try:
            self._learn(await before.give())
        except succession.LostError as error:
            if await succession.find(self._settings.socket("agent")):
                raise
            _log.warning("the agent in charge has gone; going on from what it wrote", reason=str(error))
            self._pods.restore(self._settings.identities)
        await self._pods.switch(self._slot.ports, proxies.REPLACE_SECONDS)
        self._pods.save()
        await self._take_charge()
        with contextlib.suppress(succession.LostError):
            await before.superseded()

    def _learn(self, state: succession.State) -> None:
        there = self._slots.other(self._slot).ports
        self._pods.learn(state.pods, (*state.identities, *self._settings.identities), at=there)

    async def _take_charge(self) -> None:
        await self._proxies.in_charge()
        cni_path, own_path = self._settings.socket("cni"), self._settings.socket("agent")
        if self._charge is None:
            await self._bind(cni_path, await cni.serve(cni_path, self._pods))
        await self._bind(own_path, await sockets.serve(own_path, self._incumbent.connected))
        if self._reports is not None:
            reports_path = self._settings.socket("reports")
            await self._bind(reports_path, await self._reports.serve(reports_path))
        if self._measuring is not None:
            self._measuring.begin()
        if self._charge is not None:
            await self._charge.begin()

    async def _bind(self, path: pathlib.Path, server: asyncio.Server) -> None:
        before = self._servers.pop(path, None)
        if before is not None:
            before[0].close()
        self._servers[path] = (server, os.stat(path).st_ino)

    async def _take_back(self) -> None:
        with contextlib.suppress(pods.SwitchError):
            await self._pods.point(self._proxies.current.slot.ports)
        await self._take_charge()

    async def _retire(self, stop: asyncio.Event) -> None:
        drained = asyncio.create_task(self._proxies.superseded())
        missed = 0
        try:
            while not stop.is_set() and not self.again:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_LOOK):
                        await stop.wait()
                successor = await self._successor()
                missed = missed + 1 if successor is None else 0
                self.again = missed == MISSED or (drained.done() and successor is not None and successor.leaving)
            if stop.is_set():
                patience = self._settings.drain_seconds if self._settings.handover_seconds else 0
                await asyncio.wait([drained], timeout=patience)
        finally:
            drained.cancel()
            await asyncio.gather(drained, return_exceptions=True)
        if self.again:
            _log.warning("the successor is gone, or was told to end: beginning anew")

    async def _successor(self) -> succession.State | None:
        found = await succession.find(self._settings.socket("agent"))
        if found is None:
            return None
        try:
            return await found.state()
        except succession.LostError:
            return None
        finally:
            found.close()


async def _first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(one.wait()) for one in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
