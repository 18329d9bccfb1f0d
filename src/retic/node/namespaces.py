"""Pods' network namespaces, held by a bind mount each, named by the pod's uid.

They come from the CNI plugin, which hands over a descriptor, or are found among the node's processes. A mount is
made from a descriptor that is open already, never from a path that may mean something else by then, and the node's
own namespace, which is the agent's too, is never held. The folder belongs to this agent's mount namespace alone.
"""

import ctypes
import fcntl
import os
import pathlib
from collections.abc import Iterable

import structlog

from retic.node import listed, processes

_MS_REMOUNT, _MS_BIND, _MS_PRIVATE, _MNT_DETACH, _NOFOLLOW = 0x20, 0x1000, 1 << 18, 2, 8
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x40000000  # ioctl_ns(2)
_libc = ctypes.CDLL(None, use_errno=True)
_log = structlog.get_logger("retic.node")


class NotANamespaceError(OSError):
    """What was given is no network namespace of a pod. The message says why."""


def allow_sysctls(folder: pathlib.Path = pathlib.Path("/proc/sys")) -> None:
    """Let this mount namespace write settings: containers see them read-only. OSError when that is forbidden.

    Which namespace's network settings are seen there depends on who looks, not on the mount.
    """
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        _mount("none", str(folder), _MS_REMOUNT | _MS_BIND)


class Namespaces:
    """`folder` holds the mounts; `proc` shows the node's processes."""

    def __init__(self, folder: pathlib.Path, proc: pathlib.Path = pathlib.Path("/proc")) -> None:
        self._folder = folder
        self._proc = proc
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_mount(folder):
            _mount("none", str(folder), 0, "tmpfs")
        _mount("none", str(folder), _MS_PRIVATE)  # what is mounted below must not spread to the node
        for left in folder.iterdir():
            if not _is_mount(left):
                left.unlink()

    def path(self, uid: str) -> pathlib.Path:
        """Where the pod's namespace is held, or would be. ValueError for what is no uid."""
        if not listed.usable_uid(uid):
            raise ValueError(f"{uid[:200]!r} is no uid")
        return self._folder / uid

    def held(self) -> frozenset[str]:
        """The uids of the pods whose namespaces are held."""
        return frozenset(one.name for one in self._folder.iterdir() if _is_mount(one))

    def is_held(self, uid: str) -> bool:
        """Whether the pod's namespace is held."""
        return _is_mount(self.path(uid))

    def same(self, uid: str, descriptor: int) -> bool:
        """Whether the namespace held for the pod is the one that the descriptor is open on."""
        return self.is_held(uid) and _identity(os.stat(self.path(uid))) == _identity(os.fstat(descriptor))

    def hold(self, uid: str, descriptor: int) -> pathlib.Path:
        """Hold the namespace that the descriptor is open on; its path. One held before is let go first.

        NotANamespaceError for anything but a network namespace, and for the node's own.
        """
        path = self.path(uid)
        if self.same(uid, descriptor):
            return path
        self._check(descriptor)
        self.drop(uid)
        path.touch(mode=0o600)
        _mount(f"/proc/self/fd/{descriptor}", str(path), _MS_BIND)
        return path

    def find(self, uids: Iterable[str]) -> dict[str, str]:
        """Hold the namespaces of pods that run, found among the node's processes; those found, each with the last
        part of its control group, in which the runtime puts the sandbox's id."""
        held: dict[str, str] = {}
        for uid, found in processes.oldest(uids, self._proc).items():
            try:
                self.hold(uid, found.descriptor)
                held[uid] = found.group
            except OSError as error:
                _log.warning("a pod's namespace is not held", uid=uid, reason=str(error))
            finally:
                os.close(found.descriptor)
        return held

    def alive(self, uid: str) -> bool:
        """Whether the pod has a process on this node."""
        return processes.alive(uid, self._proc)

    def drop(self, uid: str) -> None:
        """Let the pod's namespace go; nothing when none is held."""
        path = self.path(uid)
        while _is_mount(path):
            if _libc.umount2(os.fsencode(path), _MNT_DETACH | _NOFOLLOW) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        path.unlink(missing_ok=True)

    def _check(self, descriptor: int) -> None:
        try:
            kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
        except OSError:
            kind = -1
        if kind != _CLONE_NEWNET:
            raise NotANamespaceError("it is no network namespace")
        if _identity(os.fstat(descriptor)) == _identity(os.stat("/proc/self/ns/net")):
            raise NotANamespaceError("it is the node's own network namespace")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_mount(path: pathlib.Path) -> bool:
    try:
        return os.stat(path).st_dev != os.stat(path.parent).st_dev
    except FileNotFoundError:
        return False


def _mount(source: str, target: str, flags: int, kind: str = "none") -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {source}: {os.strerror(number)}", target)
