"""Processor time of given processes, from /proc/PID/stat: user and system, all threads, no children."""

import os
import pathlib
from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK")


def seconds(pid: int) -> float:
    """Processor time so far (proc(5), fields 14 and 15; steps of 1/SC_CLK_TCK, mostly 10 ms).

    Raises ProcessLookupError when there is no such process.
    """
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {pid}") from None
    # The name in field 2 may hold spaces and parentheses; the last one ends it.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Meter:
    """Time used since the meter was made; 0 for a process that has ended since, whose time is lost."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._begin = {pid: seconds(pid) for pid in pids}

    def used(self) -> dict[int, float]:
        """Seconds by process."""
        spent: dict[int, float] = {}
        for pid, begin in self._begin.items():
            try:
                spent[pid] = seconds(pid) - begin
            except ProcessLookupError:
                spent[pid] = 0.0
        return spent
