"""Making a mesh's own user, network, mount and pid namespaces, with pid 1 in them.

Works alike for root (without a user namespace) and for others (with one, in which they are root). Refuses to
run in a process with threads.
"""

import errno
import os
import pathlib
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from retic.local.sandbox import channel, kernel

_NEW = kernel.New.NET | kernel.New.NS | kernel.New.PID


class _Ids(NamedTuple):
    user: int
    group: int


class NotAllowedError(Exception):
    """The machine does not let this user make namespaces; the message says what would."""


def begin(
    argv: Sequence[str], environment: Mapping[str, str], log: pathlib.Path, variable: str
) -> tuple[socket.socket, int]:
    """Start `argv` (a path first) as pid 1 of new namespaces; our end of its broker socket, and its pid.

    The other end is inherited, its number in the environment's `variable`; its output goes
    to `log`. pid 1 gets SIGKILL when this process ends. Raises NotAllowedError, OSError.
    """
    ours, theirs = channel.pair()
    report, failed = os.pipe()
    rootless = _OUTSIDE.user != 0
    try:
        pid = kernel.clone(_NEW | kernel.New.USER if rootless else _NEW)
    except OSError as error:
        raise NotAllowedError(refusal(error, rootless=rootless)) from error
    if pid == 0:
        ours.close()
        environment = {**environment, variable: str(theirs.fileno())}
        _become(argv, environment, log, theirs, failed)
    theirs.close()
    os.close(failed)
    with open(report, encoding="utf-8") as file:
        problem = file.read()
    if not problem:
        return ours, pid
    ours.close()
    os.waitpid(pid, 0)
    number, _, step = problem.partition(" ")
    failure = OSError(int(number), f"cannot {step}: {os.strerror(int(number))}")
    if failure.errno in (errno.EPERM, errno.EACCES):
        raise NotAllowedError(refusal(failure, rootless=rootless))
    raise failure


def refusal(error: OSError, *, rootless: bool, sysctls: pathlib.Path = pathlib.Path("/proc/sys")) -> str:
    """What to tell a user whose namespaces were refused: the setting that refuses, and the way round."""
    if not rootless:
        return (
            f"this machine does not let root make namespaces ({error.strerror}): in a container, it needs "
            "CAP_SYS_ADMIN (docker run --privileged)"
        )
    blocked = (
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    )
    for name, value, cure in blocked:
        path = sysctls / name
        if path.exists() and path.read_text().strip() == value:
            return (
                f"this machine does not let ordinary users make namespaces ({name.replace('/', '.')} is "
                f"{value}): sudo sysctl -w {cure}, or run the command as root"
            )
    return (
        f"this machine does not let ordinary users make namespaces ({error.strerror}): run the command as "
        "root; in a container, its seccomp profile may be what forbids it"
    )


def _become(
    argv: Sequence[str], environment: Mapping[str, str], log: pathlib.Path, sock: socket.socket, failed: int
) -> NoReturn:
    """In the new pid 1: never returns."""
    step = "start"
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if _hung_up(sock):
            os._exit(1)
        step = "map the user into its namespace"
        if _OUTSIDE.user != 0:
            _map_user()
        step = "leave the host's mounts"
        kernel.mount(None, "/", None, kernel.Mount.REC | kernel.Mount.PRIVATE)
        step = "open the log"
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.setsid()
        os.set_inheritable(sock.fileno(), True)
        step = f"run {argv[0]}"
        os.execve(argv[0], list(argv), environment)
    except OSError as error:
        os.write(failed, f"{error.errno} {step}".encode())
    finally:
        os._exit(1)


def _hung_up(sock: socket.socket) -> bool:
    """Whether the parent died before we asked to die with it."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def _map_user() -> None:
    """Be root in the new user namespace, and own there what the user owns outside."""
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/uid_map").write_text(f"0 {_OUTSIDE.user} 1")
    pathlib.Path("/proc/self/gid_map").write_text(f"0 {_OUTSIDE.group} 1")


# In a new user namespace without a map, getuid() answers 65534: ask before.
_OUTSIDE = _Ids(os.geteuid(), os.getegid())
