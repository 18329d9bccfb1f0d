"""The host's side of a running mesh: start it, keep it, end it.

    caller ── outer (host's namespaces: broker, parent of all) ── pid 1 of the mesh's own namespaces

`start` runs this module as a process without threads, which makes the namespaces and stays as the mesh's
parent. Each process dies with its parent (PR_SET_PDEATHSIG), and pid 1 takes all others with it, so a
`kill -9` anywhere on the way leaves only the state folder, and `down` removes that. Refuses to touch anything
of the host: nothing is made there but the state folder and the sockets that the broker is asked for.
"""

import asyncio
import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
from typing import BinaryIO, NoReturn

import msgspec

from retic.local import broker, state
from retic.local.sandbox import kernel, namespaces

_STARTING = 10.0
_DESCRIPTORS = 1 << 20


class StartError(Exception):
    """The mesh did not start; the message says why and what to do."""


class _Report(msgspec.Struct, frozen=True):
    """What the outer process tells `start`."""

    error: str = ""
    in_use: bool = False
    running: state.Running | None = None


class Mesh:
    """A mesh that was started: its recorded processes, and the way to end it."""

    def __init__(self, name: str, running: state.Running, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.running = running
        self._process = process

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the mesh's end: 0 when it ended cleanly. Raises TimeoutError after `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the mesh {self.name} still runs after {seconds} s") from None

    def stop(self) -> None:
        """Ask for a clean end; asked a second time, it ends at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)


def start(config: state.Config, *, detach: bool) -> Mesh:
    """Start a mesh and return once its pid 1 runs (not: once it is ready).

    Without `detach` the mesh ends, cleanly, when the calling thread does: call from the main one. Raises
    state.InUseError when the name is in use, state.StateError for its folder, StartError for the rest.
    """
    if sys.platform != "linux":
        raise StartError(
            "local mode needs Linux: network namespaces are what pods are made of. "
            "On this system, run it in a Linux virtual machine or container"
        )
    reading, writing = os.pipe()
    argv = [
        config.python,
        *state.MODULE,
        "retic.local.outer",
        str(writing),
        "0" if detach else str(os.getpid()),
    ]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[writing], start_new_session=True)
    os.close(writing)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(msgspec.json.encode(config))
    with open(reading, "rb") as file:
        text = file.read()
    report = msgspec.json.decode(text, type=_Report) if text else _Report(error="the outer process ended")
    if report.running is None:
        process.wait()
        raise state.InUseError(report.error) if report.in_use else StartError(report.error)
    return Mesh(config.name, report.running, process)


def down(name: str, *, grace: float = 45.0) -> bool:
    """End the mesh `name` of this user and remove what is left of it; False when there was nothing.

    Asks first; after `grace` seconds, or when there is nobody to ask, kills. Works after `kill -9` of
    everything. Raises state.StateError for a folder that is not this user's.
    """
    path = state.folder(name)
    running = _recorded(path)
    if running is not None:
        if not _end(running.outer_pid, running.outer_start, signal.SIGTERM, grace):
            _end(running.outer_pid, running.outer_start, signal.SIGKILL, _STARTING)
        # Dies with the outer process; the signal is for a kernel that would not think so.
        _end(running.cluster_pid, running.cluster_start, signal.SIGKILL, _STARTING)
    lock = state.lock_existing(path)
    if lock is None:
        return running is not None
    state.remove(lock)
    return True


def _recorded(path: pathlib.Path) -> state.Running | None:
    """The mesh's processes; when it is just starting, wait until they are recorded."""
    end = asyncio.new_event_loop()
    try:
        return end.run_until_complete(_until_recorded(path))
    finally:
        end.close()


async def _until_recorded(path: pathlib.Path) -> state.Running | None:
    async with asyncio.timeout(_STARTING):
        while True:
            running = state.running(path)
            if running is not None:
                return running
            try:
                lock = state.lock_existing(path)
            except state.InUseError:
                await asyncio.sleep(0.05)
                continue
            if lock is not None:
                lock.close()
            return None


def _end(pid: int, begun: int, number: signal.Signals, seconds: float) -> bool:
    """Signal one certain process and wait for its end, at most `seconds`; whether it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if kernel.start_time(pid) != begun:
            return True
        signal.pidfd_send_signal(pidfd, number)
        return kernel.wait_ended(pidfd, seconds)
    except ProcessLookupError:
        return True
    finally:
        os.close(pidfd)


class _Outer:
    """The outer process after pid 1 was made."""

    def __init__(self, lock: state.Lock, config: state.Config, pid: int) -> None:
        self._lock = lock
        self._config = config
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._asked = 0
        self._ended = asyncio.Event()

    async def run(self, sock: socket.socket) -> int:
        """Serve until pid 1 ends; 0 after a clean end, and then the state folder is gone."""
        loop = asyncio.get_running_loop()
        server = broker.Server(sock)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        loop.add_reader(self._pidfd, self._gone)
        await self._ended.wait()
        server.close()
        code = self._exit_code()
        if code == 0 or self._asked:
            state.remove(self._lock)
            return 0
        print(f"the mesh's first process ended with {code}", file=sys.stderr, flush=True)
        return 1

    def _exit_code(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._ended.set()

    def _stop(self) -> None:
        self._asked += 1
        if self._asked > 1 or not kernel.catches(self._pid, signal.SIGTERM):
            # Before it listens for SIGTERM nothing runs that would need a clean end.
            return self._signal(signal.SIGKILL)
        self._signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._config.grace, self._signal, signal.SIGKILL)
        return None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)


def main() -> NoReturn:
    """`python -m retic.local.outer REPORT_FD PARENT_PID`, with the config on standard input."""
    report = os.fdopen(int(sys.argv[1]), "wb")
    os.set_inheritable(report.fileno(), False)
    _follow(int(sys.argv[2]))
    kernel.set_name("retic-outer")
    _allow_descriptors()
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=state.Config)
    try:
        lock = state.claim(pathlib.Path(config.state))
    except state.StateError as error:
        _say(report, _Report(error=str(error), in_use=isinstance(error, state.InUseError)))
        sys.exit(1)
    try:
        ours, pid = _begin(config)
        running = _record(lock.path, pid)
    except (StartError, OSError) as error:
        state.remove(lock)
        _say(report, _Report(error=str(error)))
        sys.exit(1)
    _say(report, _Report(running=running))
    sys.exit(asyncio.run(_run(lock, config, pid, ours)))


async def _run(lock: state.Lock, config: state.Config, pid: int, ours: socket.socket) -> int:
    return await _Outer(lock, config, pid).run(ours)


def _follow(parent: int) -> None:
    """End, cleanly, with the process `parent`; 0: with nobody."""
    if parent:
        kernel.die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)


def _allow_descriptors() -> None:
    """A relayed connection takes two descriptors and a proxied one about four: 1,024 are soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _DESCRIPTORS)), hard))


def _begin(config: state.Config) -> tuple[socket.socket, int]:
    folder = pathlib.Path(config.state)
    (folder / "logs").mkdir(mode=0o700)
    state.write(folder / "cluster.json", config)
    for target, name in ((0, os.devnull), (1, folder / "logs" / "outer.log")):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.dup2(1, 2)
    argv = [config.python, *state.MODULE, config.entry, "--config", str(folder / "cluster.json")]
    environment = {**os.environ, **config.environment}
    try:
        return namespaces.begin(argv, environment, folder / "logs" / "cluster.log", broker.VARIABLE)
    except namespaces.NotAllowedError as error:
        raise StartError(str(error)) from error


def _record(folder: pathlib.Path, pid: int) -> state.Running:
    running = state.Running(
        outer_pid=os.getpid(),
        outer_start=kernel.start_time(os.getpid()) or 0,
        cluster_pid=pid,
        cluster_start=kernel.start_time(pid) or 0,
    )
    state.write(folder / "outer.json", running)
    return running


def _say(report: BinaryIO, value: _Report) -> None:
    report.write(msgspec.json.encode(value))
    report.close()


if __name__ == "__main__":
    main()
