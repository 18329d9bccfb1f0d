"""Run a command inside a pod from the host's side, on the caller's own terminal.

The calling process itself moves into the pod's namespaces and stays there: for the last act of a command
line without threads. Refuses to relay bytes: the command inherits the terminal, so keys, window size and
colours need nothing.
"""

import errno
import os
import pathlib
import signal
import threading
from collections.abc import Mapping, Sequence

from retic.local.sandbox import kernel, launch

_JOINED = kernel.New.NS | kernel.New.NET | kernel.New.UTS | kernel.New.PID
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def enter(
    host_pid: int,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> int:
    """Run `argv` in the namespaces of the pod's holder `host_pid`; return its exit code (128 + signal).

    `env`: the command's whole environment (None: this process's). `cwd`: None means this process's folder
    where the pod sees one, else /. 126 or 127: it could not be run, with a line on standard error. Raises
    ProcessLookupError when the pod is gone, PermissionError when it is somebody else's.
    """
    if threading.active_count() > 1:
        raise RuntimeError("only a process without threads can enter a pod")
    folder = cwd or _folder()
    _join(host_pid)
    pid = os.fork()
    if pid == 0:
        _run(argv, env, folder, required=cwd is not None)
    for number in _TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    for number in _FORWARDED:
        signal.signal(number, lambda got, _: os.kill(pid, got))
    return _wait(pid)


def _join(host_pid: int) -> None:
    pidfd = os.pidfd_open(host_pid)
    try:
        spaces = _JOINED
        if not _same_user_namespace(host_pid):
            spaces |= kernel.New.USER
        kernel.setns(pidfd, spaces)
    finally:
        os.close(pidfd)


def _same_user_namespace(host_pid: int) -> bool:
    mine, other = (os.stat(f"/proc/{who}/ns/user") for who in ("self", host_pid))
    return (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino)


def _folder() -> str:
    try:
        return str(pathlib.Path.cwd())
    except FileNotFoundError:
        return "/"


def _run(argv: Sequence[str], env: Mapping[str, str] | None, folder: str, *, required: bool) -> None:
    """In the child: never returns."""
    code = 126
    try:
        launch.reset_signals()
        try:
            os.chdir(folder)
        except OSError:
            if required:
                raise
            os.chdir("/")
        launch.execute(argv, os.environ if env is None else env)
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else 126
        os.write(2, f"cannot run {argv[0]} in {folder}: {error.strerror}\n".encode())
    finally:
        os._exit(code)


def _wait(pid: int) -> int:
    """Wait for the end; stop and go on together with the command, as a shell's job control expects."""
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
            continue
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code
