"""Processes that outlive the command that started them, ended later by their id and start time, never by name.

Each is recorded as `FOLDER/NAME.json`; a process whose start time differs from the record is somebody else's.
"""

import ctypes
import os
import pathlib
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from tools.cluster import steps

_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Record(msgspec.Struct, frozen=True):
    """Who was started: `began` is the start time in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    began: int


def start(
    folder: pathlib.Path, name: str, command: Sequence[str], *,
    logs: pathlib.Path, environment: Mapping[str, str] | None = None, tied: bool = False,
) -> Record:  # fmt: skip
    """Start `command`, its output to LOGS/NAME.log. `tied`: it dies with the thread that called this."""
    folder.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={**os.environ, **(environment or {})}, preexec_fn=_die_with_parent if tied else None,  # noqa: PLW1509
        )  # fmt: skip
    process.returncode = 0  # it is ended by its record; without this, the object warns when it is collected
    began = _began(process.pid)
    if began is None:
        raise steps.FailedError(f"{name} ended at once; its log is {logs / name}.log")
    record = Record(process.pid, began)
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(record))
    return record


def alive(folder: pathlib.Path, name: str) -> bool:
    """Whether the process recorded as `name` still runs."""
    record = _read(folder / f"{name}.json")
    return record is not None and _began(record.pid) == record.began and not _reaped(record.pid)


def pid(folder: pathlib.Path, name: str) -> int:
    """Its id. Raises FailedError where it has ended."""
    record = _read(folder / f"{name}.json")
    if record is None or not alive(folder, name):
        raise steps.FailedError(f"{name} has ended")
    return record.pid


def command(folder: pathlib.Path, name: str) -> list[str]:
    """The words that it was started with. Raises FailedError where it has ended."""
    return pathlib.Path(f"/proc/{pid(folder, name)}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def end(folder: pathlib.Path, name: str, *, patience: float = 10.0) -> None:
    """End it: SIGTERM, after `patience` seconds SIGKILL; wait until it is gone. Does nothing where it is gone."""
    path = folder / f"{name}.json"
    record = _read(path)
    if record is not None and _began(record.pid) == record.began:
        _end(record, patience)
    path.unlink(missing_ok=True)


def names(folder: pathlib.Path) -> list[str]:
    """All that are recorded there."""
    return sorted(path.stem for path in folder.glob("*.json")) if folder.exists() else []


def until(condition: Callable[[], bool], what: str, *, seconds: float, pause: float = 0.05) -> None:
    """Ask until `condition` holds; another process cannot tell us. Raises FailedError that says `what` did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise steps.FailedError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def _end(record: Record, patience: float) -> None:
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if _began(record.pid) != record.began:  # the id was taken over between the look and the open
            return
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 30.0)):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], seconds)[0]:
                break
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
        _reaped(record.pid)


def _reaped(pid: int) -> bool:
    """Collect a child of ours that has ended; of others' children the kernel knows nothing."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _began(pid: int) -> int | None:
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _read(path: pathlib.Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def _die_with_parent() -> None:
    _libc.prctl(_SET_PDEATHSIG, int(signal.SIGKILL))
