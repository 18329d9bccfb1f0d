"""What a run measured: latencies, failures by kind, percentiles. It times nothing itself."""

import array
import collections
import math
from collections.abc import Iterable, Sequence

import msgspec

PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9)
MOST_DATED = 20  # failures of a process whose time is kept


class Failed(Exception):  # noqa: N818 (an outcome of a request, not a fault of the program)
    """A request that was not answered as it should be. `kind` is one word or `status NNN`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def kind_of(error: BaseException) -> str:
    """The kind under which an error of a connection is counted."""
    match error:
        case Failed():
            return error.kind
        case TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError():
            return "reset"
        case EOFError():
            return "closed"
        case OSError():
            return f"os {error.errno}"
    return type(error).__name__


class Record:
    """Counts and latencies (seconds) of one worker's process; several can be merged."""

    def __init__(self) -> None:
        self.latencies = array.array("d")
        self.failures: collections.Counter[str] = collections.Counter()
        self.dated: list[tuple[float, str]] = []
        """The first failures: when the request was due, in seconds since the epoch, and the kind."""
        self.queued = 0.0
        """The longest that a request waited until a worker was free for it, in seconds."""
        self.seconds = 0.0
        """How long it was measured; 0 when that is not known."""
        self.cpu: dict[int, float] = {}
        """Seconds of processor time by process, within the measured time."""

    def good(self, seconds: float) -> None:
        self.latencies.append(seconds)

    def bad(self, kind: str, when: float = 0.0) -> None:
        self.failures[kind] += 1
        if len(self.dated) < MOST_DATED:
            self.dated.append((round(when, 3), kind))

    def merge(self, others: Iterable["Record"]) -> None:
        for other in others:
            self.latencies.extend(other.latencies)
            self.failures.update(other.failures)
            self.dated = sorted([*self.dated, *other.dated])[:MOST_DATED]
            self.cpu.update(other.cpu)
            self.queued = max(self.queued, other.queued)
            self.seconds = max(self.seconds, other.seconds)


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result as printed. Times are milliseconds, rates are per second."""

    mode: str
    protocol: str
    target: str
    connections: int
    wanted_rate: float
    seconds: float
    answered: int
    failed: int
    rate: float
    failures: dict[str, int]
    mean_ms: float
    max_ms: float
    queued_ms: float
    """The longest that a request waited for a connection or stream to be free. Where this is much of `max_ms`, there
    were too few of them, and latencies and time-outs say little about the server."""
    percentiles_ms: dict[str, float]
    first_failures: list[tuple[float, str]] = []
    """When the request was due, in seconds since the epoch, and how it failed."""
    cpu_us_per_request: dict[str, float] = {}
    """Per process id given by --cpu, user and system time together."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values; 0 when there are none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def percentiles(latencies: Iterable[float]) -> dict[str, float]:
    """Percentiles in milliseconds by name: p50, p75, p90, p99, p99.9."""
    ordered = sorted(latencies)
    return {f"p{percent:g}": round(percentile(ordered, percent) * 1000, 4) for percent in PERCENTILES}
