"""Processes by pid without mistaking one for another: a pid file is believed only with the start time.

/proc may show the pids of another pid namespace than ours (a mesh mounts none of its own), so whatever is
read there goes through a pidfd, whose `Pid:` line is in the numbering of /proc.
"""

import asyncio
import contextlib
import os
import pathlib
import select
import signal


def start_time(pidfd: int) -> int:
    """When the process started, in clock ticks since boot. ProcessLookupError when it has ended."""
    for line in pathlib.Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            shown = int(line.split()[1])
            break
    else:
        raise ProcessLookupError("not a pidfd")
    if shown <= 0:
        raise ProcessLookupError("the process has ended")
    try:
        stat = pathlib.Path(f"/proc/{shown}/stat").read_text()
    except FileNotFoundError:
        raise ProcessLookupError("the process has ended") from None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    if fields[0] in "ZX":
        raise ProcessLookupError("the process has ended")
    return int(fields[19])


def open_if(pid: int, started: int) -> int | None:
    """A pidfd of the process of that pid that started then; None when there is no such."""
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None
    try:
        if start_time(pidfd) == started:
            return pidfd
    except OSError:
        pass
    os.close(pidfd)
    return None


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended."""
    looking = select.poll()
    looking.register(pidfd, select.POLLIN)
    return bool(looking.poll(0))


async def ended(pidfd: int) -> None:
    """Wait until the process has ended, be it our child or not."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pidfd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pidfd)


async def stop(pidfd: int, seconds: float) -> None:
    """Ask the process to end, and end it after that time."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await ended(pidfd)
            return
