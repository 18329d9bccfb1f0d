"""A fabric without namespaces: pods are names, and their commands are processes of this machine.

Fulfils `retic.local.kubelet.host.Fabric`, so that a kubelet can be tested without privileges: every pod has
the address 127.0.0.1. Refuses to isolate anything.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Sandbox(msgspec.Struct, frozen=True):
    """A pod that is only a name. `netns_path` None: probes go out from where we are."""

    uid: str
    host_pid: int = 0
    netns_path: Any = None


class Process:
    """A command of this machine."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._started = started
        self.pid = self.host_pid = started.pid

    @property
    def returncode(self) -> int | None:
        return self._started.returncode

    async def wait(self) -> int:
        code = await self._started.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return code

    def kill(self) -> None:
        if self._started.returncode is None:
            self._started.kill()


class Fabric:
    """Remembers what was asked: `made` and `removed` pods by uid, `spawned` argument lists, `volumes`, and
    what else a pod was `asked` to have."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.removed: list[str] = []
        self.spawned: list[tuple[str, ...]] = []
        self.volumes: dict[str, tuple[Any, ...]] = {}
        self.asked: dict[str, dict[str, Any]] = {}
        self._running: dict[str, list[Process]] = {}

    async def add_pod(self, uid: str, *, volumes: Sequence[Any] = (), **more: Any) -> Sandbox:
        self.made.append(uid)
        self.asked[uid] = more
        self.volumes[uid] = tuple(volumes)
        self._running[uid] = []
        return Sandbox(uid)

    async def remove_pod(self, uid: str) -> None:
        self.removed.append(uid)
        for process in self._running.pop(uid, []):
            process.kill()
            await process.wait()

    async def spawn(
        self, sandbox: Any, argv: Sequence[str], *, env: Mapping[str, str], cwd: str = "/",
        stdin: int | None = None, stdout: int | None = None, stderr: int | None = None,
    ) -> Process:  # fmt: skip
        null = subprocess.DEVNULL
        made = Process(await asyncio.create_subprocess_exec(
            *argv, env=dict(env), cwd=cwd, start_new_session=True, stdin=null if stdin is None else stdin,
            stdout=null if stdout is None else stdout, stderr=null if stderr is None else stderr,
        ))  # fmt: skip
        self.spawned.append(tuple(argv))
        self._running[sandbox.uid].append(made)
        return made
