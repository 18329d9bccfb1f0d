"""The control plane's own numbers in Prometheus' text format."""

from collections.abc import Mapping

import msgspec


class Convergence(msgspec.Struct):
    """How long it took, in seconds, from a change that proxies had to hear of to the last proxy's answer."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float


class Own(msgspec.Struct):
    """Counters since the start, by name without `retic_` and `_total`, and gauges by name; `findings` by their code
    and severity."""

    counters: Mapping[str, int]
    gauges: Mapping[str, int]
    convergence: Convergence
    findings: Mapping[tuple[str, str], int]


_HELP = {
    "queries_run": "Query bodies run.",
    "queries_cut_off": "Queries run with an answer equal to the one before: nothing behind them moved.",
    "queries_changed": "Queries run with a first or a different answer.",
    "queries_failed": "Queries that raised.",
    "discovery_requests": "Requests of proxies, acknowledgements among them.",
    "discovery_messages": "Responses to proxies.",
    "discovery_bytes": "Bytes of responses.",
    "discovery_resources": "Resources in responses, removals among them.",
    "discovery_acks": "Responses that a proxy has acknowledged.",
    "discovery_nacks": "Responses that a proxy has rejected: each is a fault of Retic.",
    "discovery_refused_streams": "Streams ended because of what the client sent or was.",
    "discovery_streams": "Streams of proxies.",
    "rejected_resources": "Resources that a proxy has rejected, and goes on without.",
}


def text(own: Own) -> str:
    """All of it."""
    parts = []
    for suffix, kind, numbers in (("_total", "counter", own.counters), ("", "gauge", own.gauges)):
        for name, value in numbers.items():
            metric = f"retic_{name}{suffix}"
            parts.append(f"# HELP {metric} {_HELP[name]}\n# TYPE {metric} {kind}\n{metric} {value}\n")
    parts.append(_convergence(own.convergence))
    parts.append("# HELP retic_findings What is wrong, as retic analyze says it.\n# TYPE retic_findings gauge\n")
    for (code, severity), count in sorted(own.findings.items()):
        parts.append(f'retic_findings{{code="{code}",severity="{severity}"}} {count}\n')
    return "".join(parts)


def _convergence(found: Convergence) -> str:
    metric = "retic_convergence_seconds"
    lines = [
        f"# HELP {metric} From a change that proxies had to hear of to the last one's answer.\n",
        f"# TYPE {metric} histogram\n",
    ]
    total = 0
    for bound, count in zip((*found.bounds, "+Inf"), found.counts, strict=True):
        total += count
        lines.append(f'{metric}_bucket{{le="{bound}"}} {total}\n')
    lines += [f"{metric}_sum {found.sum:.6f}\n", f"{metric}_count {total}\n"]
    return "".join(lines)
