"""One container of a pod: started, watched by its probes, restarted with back-off, ended with grace.

Knows its own state only; what it means for the pod is `retic.local.kubelet.status`'s and `pod`'s to say.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from retic.identity import clock
from retic.local.kubelet import backoff, environment, prober, probing
from retic.local.workloads import times
from retic.objects import pods as structs

log = structlog.get_logger(__name__)
replace = msgspec.structs.replace
State = structs.ContainerState
_HOOK_SECONDS = 300.0


class Process(Protocol):
    """A started command."""

    pid: int

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...


class World(Protocol):
    """What a container needs of its pod. `start` raises OSError or `environment.Missing`."""

    async def start(self, container: structs.Container) -> Process: ...

    def target(self, container: structs.Container) -> probing.Target: ...

    def changed(self) -> None: ...


class Runner:
    """Runs one container. `status` is what kubelet would report of it."""

    def __init__(
        self, container: structs.Container, world: World, *, restart: str, time: clock.Clock, grace: float,
        waits: str = "ContainerCreating",
    ) -> None:  # fmt: skip
        """`restart`: Always, OnFailure or Never. `grace`: seconds between SIGTERM and SIGKILL. `waits`: the
        reason in the status until it is started for the first time."""
        self.container = container
        self.status = structs.ContainerStatus(
            name=container.name,
            image=container.image,
            started=False,
            state=State(waiting=structs.StateWaiting(reason=waits)),
        )
        self.over = asyncio.Event()
        self.up = asyncio.Event()
        self._world, self._restart, self._time, self._grace = world, restart, time, grace
        self._process: Process | None = None
        self._stopping = False
        self._asked: tuple[str, prober.Prober] | None = None
        self._blamed: str | None = None
        self._backoff = backoff.Backoff()
        self._task: asyncio.Task[None] | None = None
        self._retry = asyncio.Event()

    @property
    def succeeded(self) -> bool:
        """Whether the container has ended with 0."""
        ended = self.status.state.terminated
        return ended is not None and ended.exit_code == 0

    @property
    def unready(self) -> str:
        """Why the container runs and is not ready, "" when that is not so: what the last probe brought."""
        if self.status.state.running is None or self.status.ready:
            return ""
        if self._asked is None:
            return "the postStart hook runs"
        which, asked = self._asked
        if asked.answer is None:
            return f"the {which} probe has not been tried yet"
        if asked.answer.ok:
            return f"the {which} probe succeeds, not often enough yet"
        return f"{which} probe: {asked.answer.message}"

    @property
    def host_pid(self) -> int:
        """The pid, as the host shows it, of what runs now; 0 when nothing does."""
        running = self._process is not None and self._process.returncode is None
        return getattr(self._process, "host_pid", 0) if running else 0

    def begin(self) -> None:
        """Start running; `up` is set once the container has started (its startup probe included)."""
        self._task = asyncio.create_task(self._live(), name=f"container {self.container.name}")
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("a container's task failed", container=self.container.name, exc_info=task.exception())
        self.over.set()
        self._world.changed()

    def retry(self) -> None:
        """An object changed: a container that waits for one looks again."""
        self._retry.set()

    async def stop(self, grace: float) -> None:
        """End the container for good: preStop, SIGTERM, after `grace` seconds in all SIGKILL."""
        self._stopping = True
        if self._task is None:
            self.over.set()
            return
        if self._process is None:
            self._task.cancel()
        else:
            await self._end(self._process, grace)
        await self.over.wait()

    def _set(self, **fields: Any) -> None:
        new = replace(self.status, **fields)
        if new != self.status:
            self.status = new
            self._world.changed()

    def _stamp(self) -> str:
        return times.stamp(self._time.now().timestamp())

    async def _live(self) -> None:
        while not self._stopping:
            process = await self._start()
            if process is None:
                continue
            began = self._time.now().timestamp()
            if isinstance(process, structs.StateTerminated):
                ended = process
            else:
                ended = await self._run(process)
            self._process = None
            self._set(state=State(terminated=ended), ready=False, started=False)
            if self._stopping or not self._again(ended):
                return
            self._backoff = self._backoff.after(self._time.now().timestamp() - began)
            await self._wait_to_restart(ended)

    def _again(self, ended: structs.StateTerminated) -> bool:
        return self._restart == "Always" or (self._restart == "OnFailure" and ended.exit_code != 0)

    async def _wait_to_restart(self, ended: structs.StateTerminated) -> None:
        wait = self._backoff.wait
        self._backoff = self._backoff.longer()
        if wait:
            waiting = structs.StateWaiting(
                reason="CrashLoopBackOff",
                message=f"back-off {wait:g}s restarting failed container={self.container.name}",
            )
            self._set(state=State(waiting=waiting), last_state=State(terminated=ended))
            await self._time.sleep(wait)
        self._set(restart_count=self.status.restart_count + 1, last_state=State(terminated=ended))

    async def _start(self) -> Process | structs.StateTerminated | None:
        """The started process; how the start failed; or None after waiting for what is missing."""
        self._retry.clear()
        try:
            process = await self._world.start(self.container)
        except environment.Missing as error:
            waiting = structs.StateWaiting(reason="CreateContainerConfigError", message=str(error))
            self._set(state=State(waiting=waiting))
            await self._retry.wait()
            return None
        except OSError as error:
            return structs.StateTerminated(
                exit_code=128,
                reason="StartError",
                message=error.strerror or str(error),
                started_at=self._stamp(),
                finished_at=self._stamp(),
            )
        self._process = process
        return process

    async def _run(self, process: Process) -> structs.StateTerminated:
        began = self._stamp()
        self._asked = self._blamed = None
        plain = self.container.startup_probe is None
        self._set(
            state=State(running=structs.StateRunning(started_at=began)),
            started=False,
            ready=False,
            container_id=f"retic://{process.pid}-{self.status.restart_count}",
        )
        watchers: list[asyncio.Task[None]] = []
        try:
            hook = self.container.lifecycle.post_start if self.container.lifecycle else None
            if hook is not None and not await self._hook(hook, process):
                self._blamed = "the postStart hook failed"
                await self._end(process, self._grace)
            elif plain:
                self._started(watchers, process)
            else:
                assert self.container.startup_probe is not None
                self._asked = "startup", self._watch(
                    watchers, self.container.startup_probe, self._on_startup(watchers, process)
                )
            code = await process.wait()
        finally:
            for task in watchers:
                task.cancel()
        number = -code if code < 0 else None
        reason = "Completed" if code == 0 else "Error"
        return structs.StateTerminated(
            exit_code=128 + number if number else code,
            signal=number,
            reason=reason,
            message=self._blamed,
            started_at=began,
            finished_at=self._stamp(),
        )

    async def _hook(self, hook: structs.LifecycleAction, process: Process) -> bool:
        if hook.sleep is not None:
            await self._time.sleep(hook.sleep.seconds)
            return True
        trial = asyncio.create_task(probing.attempt(self._world.target(self.container), hook, _HOOK_SECONDS))
        gone = asyncio.create_task(process.wait())
        await asyncio.wait({trial, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if trial.done():
            return trial.result().ok
        trial.cancel()
        return True

    def _watch(
        self, watchers: list[asyncio.Task[None]], probe: structs.Probe, tell: prober.Tell, *, begin: bool = False
    ) -> prober.Prober:
        made = prober.Prober(self._world.target(self.container), probe, begin=begin, time=self._time, tell=tell)
        watchers.append(asyncio.create_task(made.watch()))
        return made

    def _on_startup(self, watchers: list[asyncio.Task[None]], process: Process) -> Callable[[bool, str], None]:
        def tell(ok: bool, message: str) -> None:
            if ok:
                watchers.pop(0).cancel()
                self._started(watchers, process)
            else:
                self._unhealthy(process, "startup", message)

        return tell

    def _started(self, watchers: list[asyncio.Task[None]], process: Process) -> None:
        readiness, liveness = self.container.readiness_probe, self.container.liveness_probe
        self._set(started=True, ready=readiness is None)
        self.up.set()
        if readiness is not None:
            self._asked = "readiness", self._watch(watchers, readiness, lambda ok, _: self._set(ready=ok))
        if liveness is not None:
            self._watch(
                watchers,
                liveness,
                lambda ok, why: None if ok else self._unhealthy(process, "liveness", why),
                begin=True,
            )

    def _unhealthy(self, process: Process, which: str, message: str) -> None:
        log.warning(
            "a probe failed, the container is restarted", container=self.container.name, probe=which, message=message
        )
        self._blamed = f"{which} probe: {message}"
        _background(self._end(process, self._grace))

    async def _end(self, process: Process, grace: float) -> None:
        """preStop and SIGTERM, then SIGKILL when `grace` seconds have passed since the call."""
        hook = self.container.lifecycle.pre_stop if self.container.lifecycle else None
        name = (self.container.lifecycle.stop_signal if self.container.lifecycle else None) or "SIGTERM"
        number = getattr(signal, name, signal.SIGTERM)
        killer = asyncio.create_task(self._kill_after(process, grace))
        try:
            if hook is not None:
                await self._hook(hook, process)
            _signal(process, number)
            await process.wait()
        finally:
            killer.cancel()

    async def _kill_after(self, process: Process, grace: float) -> None:
        await self._time.sleep(grace)
        _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    """To the container's whole process group: what a shell started hears it too."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


_tasks: set[asyncio.Task[Any]] = set()


def _background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
