"""Starting a container's process in its pod: command, environment, folder, output.

The image is not looked at: what a container runs is its `command` and `args`. Output of both kinds goes into
the container's log through a pipe, so that the log can be bounded; a log that cannot keep up slows its writer.
"""

import asyncio
import contextlib
import os
import pathlib

import msgspec

from retic.local.kubelet import container as containers
from retic.local.kubelet import environment, host, logs, naming, variables
from retic.objects import pods as structs

_EXEC_OUTPUT = 10 * 1024


class Setting(msgspec.Struct, frozen=True):
    """What a container's processes are started with: all their variables, and their folder."""

    env: dict[str, str]
    cwd: str


class Starter:
    """Starts the containers and probes' commands of one pod."""

    def __init__(self, given: host.Host, pod: structs.Pod, sandbox: host.Sandbox, folder: pathlib.Path) -> None:
        """`folder`: the pod's, in which each container has one. `settings`: of containers that were started,
        as they were then: a ConfigMap that has changed since changes no variable."""
        self._host, self._pod, self._sandbox, self._folder = given, pod, sandbox, folder
        self._logs: dict[str, logs.Log] = {}
        self.settings: dict[str, Setting] = {}

    def log_path(self, name: str) -> pathlib.Path:
        """Where a container's log is."""
        return self._folder / name / "log"

    def variables(self, container: structs.Container) -> dict[str, str]:
        """The container's own variables. Raises environment.Missing."""
        services = self._host.services(self._pod.metadata.namespace)
        return environment.of(self._pod, container, self._host.look, services)

    def _directory(self, container: structs.Container) -> str:
        home = self._host.directory(self._pod)
        return str(home / container.working_dir) if container.working_dir else str(home)

    async def start(self, container: structs.Container) -> containers.Process:
        """Start the container. Raises OSError, or environment.Missing for what it refers to."""
        if not container.command:
            raise environment.Missing("the container has no command; local mode runs commands and pulls no image")
        known = self.variables(container)
        argv = [variables.expand(part, known) for part in (*container.command, *container.args)]
        setting = Setting({**environment.base(naming.kernel_name(self._pod)), **known}, self._directory(container))
        self.settings[container.name] = setting
        log = self._logs.get(container.name)
        if log is None:
            log = self._logs[container.name] = logs.Log(self._folder / container.name)
        log.start()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            process = await self._host.fabric.spawn(
                self._sandbox,
                argv,
                env=setting.env,
                cwd=setting.cwd,
                stdout=writing,
                stderr=writing,
            )
        except BaseException as error:
            os.close(reading)
            if isinstance(error, OSError):
                log.write(f"retic: {error.strerror or error}\n".encode())
            raise
        finally:
            os.close(writing)
        await follow(reading, log)
        return process

    async def execute(self, container: structs.Container, command: tuple[str, ...]) -> tuple[int, str]:
        """Run a probe's or hook's command; its exit code and the beginning of its output."""
        if not command:
            raise ValueError("the command is empty")
        reading, writing = os.pipe2(os.O_CLOEXEC)
        known = self.variables(container)
        try:
            process = await self._host.fabric.spawn(
                self._sandbox,
                command,
                env={**environment.base(naming.kernel_name(self._pod)), **known},
                cwd=self._directory(container),
                stdout=writing,
                stderr=writing,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        try:
            os.set_blocking(reading, False)
            code = await process.wait()
            with contextlib.suppress(BlockingIOError):
                return code, os.read(reading, _EXEC_OUTPUT).decode(errors="replace")
            return code, ""
        finally:
            process.kill()
            os.close(reading)

    def close(self) -> None:
        """Close the logs' files; the logs stay."""
        for log in self._logs.values():
            log.close()


class _Pipe(asyncio.Protocol):
    def __init__(self, log: logs.Log) -> None:
        self._log = log

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, OSError):  # the log is closed, or the disk full
            self._log.write(data)


async def follow(reading: int, log: logs.Log) -> None:
    """Write into `log` what comes through the pipe, until its last writer is gone."""
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: _Pipe(log), os.fdopen(reading, "rb", buffering=0))
