"""The folder in which a mesh keeps what it needs while it lives, and who holds it.

The folder is locked for as long as its mesh runs: the lock is on the folder itself, so that it leaves no file
behind and ends with its holder however that dies. Refuses folders that somebody else owns or may write to.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from retic.local.sandbox import kernel

MODULE = ("-P", "-m")
"""How to run a module of ours: -P, or a `json.py` in the user's folder would be taken for Python's."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
# Unix socket paths end at 107 bytes, and the longest below the folder is agents/AGENT/admin.sock.
_LONGEST = 60
LONGEST_AGENT = 28
"""Bytes that the name of an agent, and so of its folder, may have."""


class StateError(Exception):
    """The state folder cannot be used; the message says why and what to do."""


class InUseError(StateError):
    """A mesh of this name is running."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """cluster.json: what a mesh was started with. All paths are absolute.

    `entry`: the module that runs as the first process of the mesh's namespaces. `grace`: seconds that an end
    may take before everything is killed. `lifetime`: seconds that workloads' certificates hold.
    `trust_domain`: the first part of every SPIFFE id. `control`: what else control.json says, for the control plane.
    `metrics_port`: where Prometheus reads, on the host's 127.0.0.1; a free port when that one is taken.
    `environment`: what the mesh's processes are given on top of the caller's environment.
    """

    name: str
    nodes: tuple[str, ...]
    manifests: tuple[str, ...]
    state: str
    python: str = sys.executable
    entry: str = "retic.local.cluster"
    grace: float = 40.0
    lifetime: float = 86400.0
    environment: dict[str, str] = {}
    trust_domain: str = "cluster.local"
    control: dict[str, Any] = {}
    metrics_port: int = 15012


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """outer.json: the processes of a mesh as the host shows them; a pid counts with its start time only."""

    outer_pid: int
    outer_start: int
    cluster_pid: int
    cluster_start: int

    def outer_alive(self) -> bool:
        return kernel.start_time(self.outer_pid) == self.outer_start

    def cluster_alive(self) -> bool:
        """Whether the first process of the mesh's namespaces lives. False makes the folder stale."""
        return kernel.start_time(self.cluster_pid) == self.cluster_start


def folder(name: str, environment: Mapping[str, str] | None = None, uid: int | None = None) -> pathlib.Path:
    """Where the mesh `name` of this user has its state; nothing is made. Raises StateError for a bad name."""
    if not _NAME.fullmatch(name):
        raise StateError(
            f"{name!r} cannot name a mesh: use up to 32 lower-case letters, digits and '-', "
            "beginning and ending with a letter or digit"
        )
    environment = os.environ if environment is None else environment
    uid = os.getuid() if uid is None else uid
    if uid == 0:
        base = pathlib.Path("/run/retic")
    elif environment.get("XDG_RUNTIME_DIR"):
        base = pathlib.Path(environment["XDG_RUNTIME_DIR"], "retic")
    else:
        base = pathlib.Path(environment.get("TMPDIR") or "/tmp", f"retic-{uid}")
    path = base / name
    if len(os.fsencode(path)) > _LONGEST:
        raise StateError(
            f"the state folder {path} has a path of more than {_LONGEST} bytes, too long for unix "
            "sockets in it: set XDG_RUNTIME_DIR (or TMPDIR) to a shorter path, or choose a shorter --name"
        )
    return path


def meshes() -> list[str]:
    """Names of the meshes of this user that have a state folder, running or not."""
    base = folder("x").parent
    try:
        return sorted(entry.name for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


class Lock:
    """A locked state folder. Close it to let go; the kernel does so when the process dies."""

    def __init__(self, path: pathlib.Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def claim(path: pathlib.Path) -> Lock:
    """Make (mode 0700) and lock the folder, empty. What an ended mesh left in it is removed.

    Raises InUseError when a mesh runs there, StateError when the folder is not safe to use.
    """
    while True:
        _make_private(path.parent)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            path.mkdir(mode=0o700)
        try:
            lock = _lock(path)
        except FileNotFoundError:
            continue
        _empty(path)
        return lock


def lock_existing(path: pathlib.Path) -> Lock | None:
    """Lock a folder that exists, for removing it; None when there is none. Raises InUseError, StateError."""
    try:
        return _lock(path)
    except FileNotFoundError:
        return None


def remove(lock: Lock) -> None:
    """Remove the locked folder, and the folder of all meshes when it was the last; let go of the lock."""
    _empty(lock.path)
    with contextlib.suppress(FileNotFoundError):
        lock.path.rmdir()
    with contextlib.suppress(OSError):
        lock.path.parent.rmdir()
    lock.close()


def running(path: pathlib.Path) -> Running | None:
    """The recorded processes of the mesh, alive or not; None when nothing (readable) is recorded."""
    try:
        check_owner(path)
        return msgspec.json.decode((path / "outer.json").read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(path: pathlib.Path, value: msgspec.Struct) -> None:
    """Write `value` as JSON, readable by the owner only, whole or not at all."""
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(value))
    new.rename(path)


def read_config(path: pathlib.Path) -> Config:
    """cluster.json at `path`."""
    return msgspec.json.decode(path.read_bytes(), type=Config)


def check_owner(path: pathlib.Path) -> None:
    """Raise StateError unless `path` is a folder of this user that nobody else may write to."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise StateError(f"{path} is not a folder: remove it")
    if status.st_uid != os.getuid():
        raise StateError(
            f"{path} belongs to user {status.st_uid}: remove it, or set XDG_RUNTIME_DIR elsewhere"
        )
    if status.st_mode & 0o022:
        raise StateError(f"others may write to {path}: chmod 700 {path}")


def _make_private(path: pathlib.Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise StateError(f"cannot make {path}: {error.strerror}") from error
    with contextlib.suppress(FileNotFoundError):
        check_owner(path)


def _lock(path: pathlib.Path) -> Lock:
    check_owner(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine, there = os.fstat(descriptor), path.lstat()
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise InUseError(f"a mesh named {path.name} is running: retic down --name {path.name}") from error
        raise
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        # Its holder removed it while we waited to open it.
        os.close(descriptor)
        raise FileNotFoundError(str(path))
    return Lock(path, descriptor)


def _empty(path: pathlib.Path) -> None:
    """Remove what is in the folder, never following a link out of it; leaked mounts below it first."""
    for mounted in _mounts_below(path):
        kernel.detach(mounted)
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, onerror=_unlock_and_retry)
        else:
            os.unlink(entry.path)


def _unlock_and_retry(_call: Callable[..., Any], name: str, _error: Any) -> None:
    """A pod may have taken its own rights away: without root, they must be given back first."""
    for path in (os.path.dirname(name), name):
        if not os.path.islink(path) and os.path.isdir(path):
            os.chmod(path, 0o700)
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name)
    elif os.path.lexists(name):
        os.unlink(name)


def _mounts_below(path: pathlib.Path) -> Iterator[str]:
    prefix = f"{path.resolve()}/"
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    yield from sorted((point for point in points if point.startswith(prefix)), reverse=True)
