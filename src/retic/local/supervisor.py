"""The mesh's own processes, control plane and agents: start, restart, stop.

A process that ends is started again after a pause that doubles, from a tenth of a second to ten seconds, and
is forgotten once the process lived for a minute. Refuses to know what the processes do, and leaves what they
started in sessions of their own (an agent's Envoy) alone, so that a restarted agent finds it running.
"""

import asyncio
import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgspec
import structlog

from retic.local.sandbox import fabric

log = structlog.get_logger(__name__)

# Reads of a log pipe in one go, so that a chatty process cannot keep the loop from everything else.
_READS = 16


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running. `netns`: path of a network namespace, None for pid 1's own.

    `grace`: seconds between SIGTERM and SIGKILL when it is stopped.
    """

    role: str
    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "/"
    netns: str | None = None
    grace: float = 10.0


class Running(msgspec.Struct, frozen=True):
    """One of the mesh's processes. `pid` is the host's; None while it waits for its next start."""

    role: str
    name: str
    pid: int | None
    restarts: int


class Pauses(msgspec.Struct, frozen=True):
    """Seconds between an end and the next start; `healthy`: a life this long starts over with `first`."""

    first: float = 0.1
    most: float = 10.0
    healthy: float = 60.0

    def after(self, pause: float, lived: float) -> float:
        """The pause after a life of `lived` seconds that itself began after `pause` (0: the first)."""
        if pause == 0 or lived >= self.healthy:
            return self.first
        return min(pause * 2, self.most)


class Supervisor:
    """Keeps commands running, in pid 1's event loop. `logs`: folder of the files ROLE-NAME.log."""

    def __init__(
        self,
        fab: fabric.Fabric,
        logs: pathlib.Path,
        *,
        pauses: Pauses | None = None,
        log_bytes: int = 4 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fabric = fab
        self._logs = logs
        self._pauses = pauses or Pauses()
        self._log_bytes = log_bytes
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def add(self, command: Command) -> None:
        """Start and keep; returns when it was started. Raises ValueError for a second one of role and name,
        OSError when the first start fails (nothing is kept then)."""
        key = (command.role, command.name)
        if key in self._kept:
            raise ValueError(f"{command.role} {command.name} is kept already")
        kept = _Kept(self, command)
        self._kept[key] = kept
        try:
            await kept.begin()
        except BaseException:
            self._kept.pop(key, None)
            raise

    async def remove(self, role: str, name: str) -> None:
        """Stop one: SIGTERM, after its grace SIGKILL. Nothing happens when there is none."""
        kept = self._kept.pop((role, name), None)
        if kept is not None:
            await kept.end()

    async def close(self, order: Sequence[str] = ()) -> None:
        """Stop all: the roles in `order` one after the other, then the rest, each role at once."""
        roles = {role for role, _ in self._kept}
        for role in [*order, *sorted(roles - set(order))]:
            names = [name for kept, name in self._kept if kept == role]
            await asyncio.gather(*(self.remove(role, name) for name in names))

    def processes(self) -> list[Running]:
        """What is kept, in the order of `add`."""
        return [kept.running() for kept in self._kept.values()]

    def log_file(self, role: str, name: str) -> pathlib.Path:
        """Where a command's output goes; what no longer fitted is in the same name with `.1`."""
        return self._logs / (f"{role}.log" if role == name else f"{role}-{name}.log")


class _Kept:
    """One command: its process, its log, and the task that starts it again."""

    def __init__(self, owner: Supervisor, command: Command) -> None:
        self._owner = owner
        self._command = command
        self._process: fabric.Process | None = None
        self._restarts = 0
        self._log = _Log(owner.log_file(command.role, command.name), owner._log_bytes)
        self._keeping: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        try:
            await self._start()
        except BaseException:
            self._log.close()
            raise
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(self._command.grace):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        self._log.close()

    def running(self) -> Running:
        process = self._process
        pid = process.host_pid if process is not None and process.returncode is None else None
        return Running(self._command.role, self._command.name, pid, self._restarts)

    async def _keep(self) -> None:
        pause, begun = 0.0, self._owner._clock()
        words = {"role": self._command.role, "name": self._command.name}
        while True:
            if self._process is not None:
                code = await self._process.wait()
                pause = self._owner._pauses.after(pause, self._owner._clock() - begun)
                log.warning("a process of the mesh ended", code=code, again_in=pause, **words)
            await asyncio.sleep(pause)
            self._restarts += 1
            begun = self._owner._clock()
            try:
                await self._start()
            except fabric.LostError:
                return
            except OSError as error:
                self._process = None
                pause = self._owner._pauses.after(pause, 0.0)
                log.warning("a process of the mesh did not start", error=str(error), **words)

    async def _start(self) -> None:
        command = self._command
        self._process = await self._owner._fabric.spawn(
            None,
            command.argv,
            env=command.env,
            cwd=command.cwd,
            netns=command.netns,
            stdout=self._log.writing,
            stderr=self._log.writing,
            kill_group=False,
        )


class _Log:
    """A pipe to a file that is kept below a size: the older half is in FILE.1."""

    def __init__(self, path: pathlib.Path, most: int) -> None:
        self._path = path
        self._half = most // 2
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._file = _appending(path)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._copy)

    def close(self) -> None:
        """Write what is still in the pipe; what comes later is lost."""
        self._copy()
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        os.close(self.writing)
        self._file.close()

    def _copy(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_READS):
                data = os.read(self._reading, 65536)
                if self._file.tell() + len(data) > self._half:
                    self._rotate()
                self._file.write(data)
        self._file.flush()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(f"{self._path}.1")
        self._file = _appending(self._path)


def _appending(path: pathlib.Path) -> BinaryIO:
    """Readable by the owner only."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
