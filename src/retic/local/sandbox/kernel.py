"""The system calls that Python 3.11 lacks: clone, setns, unshare, mount, pivot_root, prctl.

Refuses to decide anything: each function is one call, and an error is an OSError with the call's name.
Functions that change the calling process (setns, unshare) are for single-threaded processes only.
"""

import ctypes
import enum
import os
import pathlib
import select
import signal
import sys

_libc = ctypes.CDLL(None, use_errno=True)
# PyDLL keeps the interpreter's lock: a child made by clone() must find it held, as after os.fork().
_libc_locked = ctypes.PyDLL(None, use_errno=True)

_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120, "s390x": 120}
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}


class New(enum.IntFlag):
    """Kinds of namespaces (CLONE_NEW* of sched.h)."""

    NONE = 0
    NS = 0x00020000
    UTS = 0x04000000
    USER = 0x10000000
    PID = 0x20000000
    NET = 0x40000000


class Mount(enum.IntFlag):
    """Flags of mount(2)."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    PRIVATE = 1 << 18
    RELATIME = 1 << 21


_DETACH = 2
_SET_PDEATHSIG = 1
_SET_NAME = 15
_SET_SUBREAPER = 36


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def clone(new: New) -> int:
    """Fork with the child in new namespaces; 0 in the child, its pid in the parent.

    The child must soon call an exec or os._exit: no hook of os.fork() runs in it.
    """
    number = _SYS_CLONE[os.uname().machine]
    sys.stdout.flush()
    return _check(_libc_locked.syscall(number, int(new) | int(signal.SIGCHLD), 0, 0, 0, 0), "clone")


def unshare(new: New) -> None:
    """Move this process into new namespaces (for PID: its future children)."""
    _check(_libc.unshare(int(new)), "unshare")


def setns(descriptor: int, new: New) -> None:
    """Join namespaces: of a namespace's descriptor, or of a process by its pidfd (Linux 5.8)."""
    _check(_libc.setns(descriptor, int(new)), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: Mount, data: str | None = None) -> None:
    """mount(2)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    _check(_libc.mount(texts[0], texts[1], texts[2], int(flags), texts[3]), f"mount on {target}")


def detach(target: str) -> None:
    """Unmount lazily, with everything below."""
    _check(_libc.umount2(os.fsencode(target), _DETACH), f"unmount {target}")


def pivot_root(root: str, old: str) -> None:
    """pivot_root(2)."""
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, os.fsencode(root), os.fsencode(old)), f"pivot_root to {root}")


def set_hostname(name: str) -> None:
    """Set the host name of this process's UTS namespace."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def die_with_parent(number: signal.Signals) -> None:
    """Have `number` sent to this process when the thread that made it ends."""
    _check(_libc.prctl(_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl")


def set_name(name: str) -> None:
    """Set what `ps` shows as this process's command name, at most 15 bytes."""
    _check(_libc.prctl(_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl")


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children."""
    _check(_libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0), "prctl")


def host_pid(pidfd: int) -> int:
    """The pid, as /proc shows it, of the process behind `pidfd`; -1 when it is gone."""
    text = pathlib.Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    for line in text.splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise OSError(f"no Pid line in /proc/self/fdinfo/{pidfd}")


def start_time(pid: int) -> int | None:
    """When the process with this pid (as /proc shows it) began, in clock ticks after boot; None if there is
    none or it is a zombie. A pid with its start time names one process for as long as the machine runs.
    """
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process (pid as /proc shows it) has a function for this signal."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line.split()[1] for line in text.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def wait_ended(pidfd: int, seconds: float) -> bool:
    """Wait until the process ended, at most `seconds`; whether it did. Needs not be its parent."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
