"""Fork, enter a pod's namespaces, execute: the spawner's innermost step.

Refuses to run in a process with threads. What fails before the command runs is raised in the spawner, with
the errno of the step that failed.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence

from retic.local.sandbox import kernel, messages

_JOINED = kernel.New.NS | kernel.New.NET | kernel.New.UTS
_ABOVE = 500


def start(
    command: messages.Spawn, descriptors: Mapping[int, int], own_pids: int, holder: int | None = None
) -> int:
    """Start the command and return its pid, which the caller must wait for.

    `descriptors`: the child's descriptor numbers and what each is here. `own_pids`: this process's own pid
    namespace. `holder`: pidfd of the pod's holder. Raises OSError.
    """
    report, failed = os.pipe()
    try:
        pid = _fork(own_pids, holder)
        if pid == 0:
            _become(command, descriptors, holder, failed)
        os.close(failed)
        failed = -1
        problem = _read_all(report)
        if problem:
            os.waitpid(pid, 0)
            number, _, words = problem.partition(" ")
            raise OSError(int(number), words)
        return pid
    finally:
        os.close(report)
        if failed >= 0:
            os.close(failed)


def reset_signals() -> None:
    """Undo what Python and the spawner set, as a new command expects it."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _fork(own_pids: int, holder: int | None) -> int:
    if holder is None:
        return os.fork()
    try:
        kernel.setns(holder, kernel.New.PID)
    except ProcessLookupError as error:
        raise ProcessLookupError(errno.ESRCH, "the pod is gone") from error
    try:
        pid = os.fork()
    except OSError as error:
        kernel.setns(own_pids, kernel.New.PID)
        if error.errno == errno.ENOMEM:
            raise ProcessLookupError(errno.ESRCH, "the pod is gone") from error
        raise
    if pid:
        kernel.setns(own_pids, kernel.New.PID)
    return pid


def _become(command: messages.Spawn, descriptors: Mapping[int, int], holder: int | None, failed: int) -> None:
    """In the child: never returns."""
    step = "start"
    try:
        reset_signals()
        os.setsid()
        step = "enter the pod"
        if holder is not None:
            kernel.setns(holder, _JOINED)
        elif command.netns is not None:
            kernel.setns(os.open(command.netns, os.O_RDONLY), kernel.New.NET)
        failed = fcntl.fcntl(failed, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
        _arrange(descriptors)
        step = f"enter the folder {command.cwd}"
        os.chdir(command.cwd)
        step = f"run {command.argv[0]}"
        execute(command.argv, command.env)
    except OSError as error:
        os.write(failed, f"{error.errno} cannot {step}: {error.strerror}".encode())
    finally:
        os._exit(127)


def execute(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """As execvpe(3), and as shells see it: a command that no folder of PATH has is not found, whether or not one of
    the folders may be looked into. Raises OSError."""
    try:
        os.execvpe(argv[0], list(argv), env)
    except PermissionError:
        places = os.get_exec_path(env)
        if os.sep in argv[0] or any(os.path.exists(os.path.join(place, argv[0])) for place in places):
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


def _arrange(descriptors: Mapping[int, int]) -> None:
    """Put each descriptor at its number; via high numbers, since old and new numbers may overlap."""
    high = {at: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for at, fd in descriptors.items()}
    for at, fd in high.items():
        os.dup2(fd, at)


def _read_all(fd: int) -> str:
    parts: Sequence[bytes] = list(iter(lambda: os.read(fd, 4096), b""))
    return b"".join(parts).decode()
