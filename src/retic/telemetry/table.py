"""Who calls whom, how often, with what success and how fast: from two readings of each proxy, some time apart.

A request is counted once. The called pod's proxy knows both ends, so it counts, and the caller's only what did not
arrive there. Of connections (TCP) it is the other way round: only the caller's proxy knows the Service.
"""

import math
from collections.abc import Iterable, Iterator

import msgspec

from retic.telemetry import exposition, readings
from retic.telemetry.readings import Histogram, Labels, Reading
from retic.telemetry.words import Reporter, Stat

# Answers of gRPC that mean a fault of the server (grpc/status.proto): UNKNOWN, DEADLINE_EXCEEDED, INTERNAL,
# UNAVAILABLE, DATA_LOSS.
_GRPC_FAULTS = frozenset({"2", "4", "13", "14", "15"})
# Flags of requests that may have reached the other proxy, which then counted them itself.
_ARRIVED = frozenset({"UC", "UR", "UT", "DC", "DR", "LR", "SI", "DT", "UMSDR", "UPE"})


class Row(msgspec.Struct):
    """Workloads and Services are namespace/name, "" where not known. Rates are a second, `success` the share (0 to 1)
    that was answered below 500 and not refused; of connections, that ended without fault. `refused_by` is the policy
    that refused most. Quantiles are in milliseconds, None of what has no duration."""

    source: str
    destination: str
    service: str
    protocol: str
    rps: float
    success: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    identity: str
    refused_rps: float
    refused_by: str


class _Sum:
    def __init__(self) -> None:
        self.all = self.good = 0
        self.refused: dict[str, int] = {}
        self.identities: set[str] = set()
        self.durations: Histogram | None = None

    def add(self, labels: Labels, much: int) -> None:
        by = readings.refused_by(labels)
        self.all += much
        self.good += much if by is None and _good(labels) else 0
        if by is not None:
            self.refused[by] = self.refused.get(by, 0) + much
        if labels.source_principal:
            self.identities.add(labels.source_principal)


Key = tuple[str, str, str, str]


def rows(before: Iterable[Reading], after: Iterable[Reading], seconds: float) -> list[Row]:
    """The busiest first. `before` and `after` are of the same proxies in the same order."""
    sums: dict[Key, _Sum] = {}
    counted, timed = difference(before, after)
    reached = {
        (labels.source, destination, labels.service)
        for (_, labels), _ in counted
        if labels.reporter == Reporter.DESTINATION and labels.protocol != "tcp"
        for destination in (labels.destination, "")
    }
    for (_, labels), much in counted:
        if _counts(labels, reached):
            sums.setdefault(_key(labels), _Sum()).add(labels, much)
    for labels, histogram in timed:
        found = sums.get(_key(labels)) if _counts(labels, reached) else None
        if found is not None and "DC" not in labels.flags.split(","):
            found.durations = exposition.add(found.durations, histogram)
    made = [_row(key, each, seconds) for key, each in sums.items()]
    return sorted(made, key=lambda row: (-row.rps, row.source, row.destination, row.service))


def difference(
    before: Iterable[Reading], after: Iterable[Reading]
) -> tuple[list[tuple[tuple[Stat, Labels], int]], list[tuple[Labels, Histogram]]]:
    """By how much requests, connections and durations have grown. A count that is less than before began anew."""
    counted: list[tuple[tuple[Stat, Labels], int]] = []
    timed: list[tuple[Labels, Histogram]] = []
    for old, new in zip(before, after, strict=True):
        for stat in (Stat.REQUESTS, Stat.CONNECTIONS):
            past = old.counters.get(stat, {})
            for labels, value in new.counters.get(stat, {}).items():
                earlier = past.get(labels, 0)
                if grown := value - earlier if value >= earlier else value:
                    counted.append(((stat, labels), grown))
        durations = old.histograms.get(Stat.DURATION, {})
        for labels, histogram in new.histograms.get(Stat.DURATION, {}).items():
            timed.append((labels, _since(durations.get(labels), histogram)))
    return counted, timed


def _since(old: Histogram | None, new: Histogram) -> Histogram:
    if old is None or old.count > new.count or len(old.counts) != len(new.counts):
        return new
    return Histogram(new.bounds, [a - b for a, b in zip(new.counts, old.counts, strict=True)], new.sum - old.sum)


def _counts(labels: Labels, reached: set[tuple[str, str, str]]) -> bool:
    if labels.protocol == "tcp":
        unseen = not labels.source_principal or readings.refused_by(labels) is not None
        return labels.reporter == Reporter.SOURCE or unseen
    if labels.reporter == Reporter.DESTINATION or (labels.source, labels.destination, labels.service) not in reached:
        return True
    flags = {flag for flag in labels.flags.split(",") if flag}
    own = labels.details not in ("", "via_upstream")
    return own and not flags & _ARRIVED


def _good(labels: Labels) -> bool:
    if labels.protocol == "tcp":
        return not labels.flags
    code = int(labels.code) if labels.code.isdecimal() else 0
    return 0 < code < 500 and labels.grpc not in _GRPC_FAULTS


def _key(labels: Labels) -> Key:
    return (labels.source, labels.destination, labels.service, labels.protocol)


def _row(key: Key, found: _Sum, seconds: float) -> Row:
    source, destination, service, protocol = key
    refused = sum(found.refused.values())
    by = max(sorted(found.refused), key=lambda each: found.refused[each]) if found.refused else ""
    p50, p95, p99 = (quantile(found.durations, share) for share in (0.5, 0.95, 0.99))
    return Row(
        source=source, destination=destination, service=service, protocol=protocol,
        rps=round(found.all / seconds, 3), success=round(found.good / found.all, 4),
        p50_ms=p50, p95_ms=p95, p99_ms=p99,
        identity=", ".join(sorted(found.identities)),
        refused_rps=round(refused / seconds, 3), refused_by=by,
    )  # fmt: skip


def quantile(histogram: Histogram | None, share: float) -> float | None:
    """In milliseconds, linear within a bucket as Prometheus has it; None without values."""
    if histogram is None or not histogram.count:
        return None
    rank, below, low = share * histogram.count, 0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
        if count >= rank and count > below:
            high = low if math.isinf(bound) else bound
            return round((low + (high - low) * (rank - below) / (count - below)) / 1000, 3)
        below, low = count, bound
    return None


def of_namespace(found: Iterable[Row], namespace: str) -> Iterator[Row]:
    """Those of which one end is in the namespace."""
    prefix = f"{namespace}/"
    return (row for row in found if any(each.startswith(prefix) for each in (row.source, row.destination, row.service)))
