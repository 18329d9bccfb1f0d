"""Numbers of proxies in Prometheus' text format, under the names and labels that Istio's dashboards read.

Each proxy's series are told apart by `node`, never added up: the counters of one that restarts begin anew, and of a sum
Prometheus could not see that. At most `MOST_SERIES` series of a proxy are told; what is beyond is added to series whose
workloads and Service are `other`, and counted.
"""

from collections.abc import Iterable, Iterator, Mapping

from retic.telemetry import readings
from retic.telemetry.readings import Histogram, Labels, Reading
from retic.telemetry.words import Reporter, Stat

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 20_000
"""Of one proxy: a histogram counts as one. Some 10 MB of text, mostly buckets."""
UNKNOWN, OTHER = "unknown", "other"
_DOCUMENTED = {
    "istio_requests_total": "Requests.",
    "istio_request_duration_milliseconds": "Time from a request's first byte to its answer's last.",
    "istio_request_bytes": "Sizes of requests' bodies.",
    "istio_response_bytes": "Sizes of answers' bodies.",
    "istio_tcp_connections_opened_total": "Connections, counted when they end.",
    "istio_tcp_connections_closed_total": "Connections that have ended.",
    "istio_tcp_received_bytes_total": "Bytes of connections that have ended, from the caller.",
    "istio_tcp_sent_bytes_total": "Bytes of connections that have ended, to the caller.",
    "retic_refused_total": "Requests and connections that the proxy refused, and by which policy.",
    "retic_series_folded_total": "Updates of series that Envoy did not begin: too many of one listener.",
    "retic_series_over": "Series that are told as `other`: too many of one proxy.",
}
_HISTOGRAMS = {
    Stat.DURATION: ("istio_request_duration_milliseconds", 1000.0),
    Stat.REQUEST_BYTES: ("istio_request_bytes", 1.0),
    Stat.RESPONSE_BYTES: ("istio_response_bytes", 1.0),
}
_COUNTERS = {
    Stat.REQUESTS: ("istio_requests_total",),
    Stat.CONNECTIONS: ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"),
    Stat.RECEIVED: ("istio_tcp_received_bytes_total",),
    Stat.SENT: ("istio_tcp_sent_bytes_total",),
}
Pairs = tuple[tuple[str, str], ...]


def text(proxies: Mapping[str, Reading], cluster_domain: str = "cluster.local") -> str:
    """All that these proxies have counted, by their names."""
    found: dict[str, list[str]] = {}
    for name, reading in proxies.items():
        for metric, line in _series(name, reading, cluster_domain):
            found.setdefault(metric, []).append(line)
    parts = []
    for metric, lines in found.items():
        if metric in _DOCUMENTED:
            kind = "gauge" if metric.endswith("_over") else "counter" if metric.endswith("_total") else "histogram"
            parts.append(f"# HELP {metric} {_DOCUMENTED[metric]}\n# TYPE {metric} {kind}\n")
        else:
            parts.append(f"# TYPE {metric} untyped\n")
        parts.extend(lines)
    return "".join(parts)


def _series(node: str, reading: Reading, domain: str) -> Iterator[tuple[str, str]]:
    budget = _Budget(MOST_SERIES)
    for stat, names in _COUNTERS.items():
        sums: dict[Pairs, int] = {}
        for labels, value in reading.counters.get(stat, {}).items():
            pairs = _pairs(budget.within(stat, labels), domain, codes=stat is Stat.REQUESTS)
            sums[pairs] = sums.get(pairs, 0) + value
        for metric in names:
            yield from ((metric, _line(metric, (*pairs, ("node", node)), value)) for pairs, value in sums.items())
    for stat, (metric, scale) in _HISTOGRAMS.items():
        merged: dict[Pairs, Histogram] = {}
        for labels, histogram in reading.histograms.get(stat, {}).items():
            if stat is Stat.DURATION and "DC" in labels.flags.split(","):
                continue  # given up by the client: there was no end of the answer
            pairs = _pairs(budget.within(stat, labels), domain, codes=False)
            merged[pairs] = add(merged.get(pairs), histogram)
        for pairs, histogram in merged.items():
            for line in _buckets(metric, (*pairs, ("node", node)), histogram, scale):
                yield metric, line
    yield from _refused(node, reading, domain)
    for name, number in reading.server.items():
        metric = f"envoy_{name}"
        yield metric, _line(metric, (("node", node),), number)
    own = (("node", node),)
    yield "retic_series_folded_total", _line("retic_series_folded_total", own, reading.folded)
    yield "retic_series_over", _line("retic_series_over", own, budget.over)


class _Budget:
    def __init__(self, most: int) -> None:
        self._left = most
        self.over = 0

    def within(self, stat: Stat, labels: Labels) -> Labels:
        if self._left > 0:
            self._left -= 1
            return labels
        self.over += 1
        return Labels(labels.reporter, OTHER, peer=OTHER, service=OTHER, protocol=labels.protocol)


def add(one: Histogram | None, other: Histogram) -> Histogram:
    """Both together; their bounds are the same, since one bootstrap says them."""
    if one is None:
        return Histogram(list(other.bounds), list(other.counts), other.sum)
    if len(one.counts) == len(other.counts):
        one.counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
        one.sum += other.sum
    return one


def _refused(node: str, reading: Reading, domain: str) -> Iterator[tuple[str, str]]:
    sums: dict[Pairs, int] = {}
    for stat in (Stat.REQUESTS, Stat.CONNECTIONS):
        for labels, value in reading.counters.get(stat, {}).items():
            by = readings.refused_by(labels)
            if by is not None:
                pairs = (*_pairs(labels, domain, codes=False), ("refused_by", by))
                sums[pairs] = sums.get(pairs, 0) + value
    for pairs, value in sums.items():
        yield "retic_refused_total", _line("retic_refused_total", (*pairs, ("node", node)), value)


def _pairs(labels: Labels, domain: str, *, codes: bool) -> Pairs:
    source_space, source = _split(labels.source)
    space, destination = _split(labels.destination)
    service_space, service = _split(labels.service)
    host = f"{service}.{service_space}.svc.{domain}" if labels.service else UNKNOWN
    pairs = [
        ("reporter", labels.reporter),
        ("source_workload", source),
        ("source_workload_namespace", source_space),
        ("source_principal", labels.source_principal or UNKNOWN),
        ("source_app", source),
        ("destination_workload", destination),
        ("destination_workload_namespace", space),
        ("destination_principal", labels.destination_principal or UNKNOWN),
        ("destination_app", destination),
        ("destination_service", host),
        ("destination_service_name", service),
        ("destination_service_namespace", service_space),
        ("request_protocol", labels.protocol or UNKNOWN),
        ("response_flags", labels.flags or "-"),
        ("connection_security_policy", _security(labels)),
    ]
    if codes:
        pairs += [
            ("response_code", labels.code or "0"),
            ("grpc_response_status", labels.grpc),
            ("request_method_class", labels.method),
        ]
    return tuple(pairs)


def _security(labels: Labels) -> str:
    """The source knows it of no connection that failed."""
    if labels.peer_principal:
        return "mutual_tls"
    return UNKNOWN if labels.reporter == Reporter.SOURCE else "none"


def _split(name: str) -> tuple[str, str]:
    space, _, own = name.partition("/")
    return (space or UNKNOWN, own or space or UNKNOWN) if name else (UNKNOWN, UNKNOWN)


def _buckets(metric: str, pairs: Pairs, histogram: Histogram, scale: float) -> Iterator[str]:
    for bound, count in zip(histogram.bounds, histogram.counts, strict=True):
        le = "+Inf" if bound == float("inf") else f"{bound / scale:g}"
        yield _line(f"{metric}_bucket", (*pairs, ("le", le)), count)
    yield _line(f"{metric}_sum", pairs, histogram.sum / scale)
    yield _line(f"{metric}_count", pairs, histogram.count)


def _line(metric: str, pairs: Iterable[tuple[str, str]], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(said)}"' for key, said in pairs)
    return f"{metric}{{{shown}}} {value:.15g}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
