"""The table of docs/defaults.md: what the mesh does by itself, with the numbers that the code has.

`tools/archdoc.py` writes it between the marks of the page. The reasons stand at the constants, in
`retic.envoy.limits` and `retic.node.bootstrap`; here is what a user asks for.
"""

from retic.envoy import limits
from retic.node import bootstrap, shares

_Rows = list[tuple[str, str, str]]


def table() -> str:
    """All of them, grouped."""
    groups = {
        "Retries": _retries(), "Endpoints that fail": _ejection(),
        "Limits of a Service, per node and namespace of callers": _bounds(), "Times": _times(),
        "A proxy's memory": _memory(),
    }  # fmt: skip
    out = ["| | value | |", "|---|---|---|"]
    for title, rows in groups.items():
        out.append(f"| **{title}** | | |")
        out += [f"| {what} | {value} | {why} |" for what, value, why in rows]
    return "\n".join(out)


def _retries() -> _Rows:
    methods = ", ".join(limits.RETRY_METHODS)
    return [
        ("what is sent again", methods, "idempotent methods (RFC 9110, 9.2.2); nothing of an answer has arrived"),
        ("when", "no connection, refused stream, connection that ends", "never for a status that an application gives"),
        ("how often", f"{limits.RETRIES} time", "at another endpoint, if there is one"),
        (
            "budget", f"{limits.RETRY_BUDGET_PERCENT} % of the requests under way, always {limits.RETRY_AT_A_TIME}",
            "retries at a time, from the pods of a namespace on a node to a Service",
        ),
        ("largest body", f"{limits.READ_BUFFER_BYTES >> 10} KiB", "a larger one has been streamed away"),
        ("TCP", f"{limits.CONNECT_ATTEMPTS} attempts to connect", "nothing has been sent by then"),
    ]


def _ejection() -> _Rows:
    return [
        (
            "left out after", f"{limits.EJECT_FAILURES} failures in a row",
            "connections that fail, 502, 503, 504; an application's 500 is its answer",
        ),
        (
            "for how long", f"{limits.EJECT_SECONDS} s, each time longer, {limits.EJECT_MOST_SECONDS} s at the most",
            f"looked at every {limits.EJECT_LOOK_SECONDS} s",
        ),
        ("how many at a time", f"{limits.EJECT_MOST_PERCENT} % at the most", "so the only endpoint never is"),
        ("all are used again when", f"under {limits.PANIC_PERCENT} % are left", "a DestinationRule may leave out more"),
    ]


def _bounds() -> _Rows:
    return [
        ("connections", f"{limits.SERVICE_CONNECTIONS:,}", "what goes beyond is answered 503 at once"),
        ("requests under way", f"{limits.SERVICE_REQUESTS:,}", ""),
        ("requests that wait for a connection", f"{limits.SERVICE_WAITING:,}", ""),
    ]


def _times() -> _Rows:
    probes = f"{limits.PROBE_AFTER_SECONDS} s, then {limits.PROBES} times every {limits.PROBE_EVERY_SECONDS} s"
    return [
        ("connecting", f"{limits.CONNECT_SECONDS} s", ""),
        ("a request", "no limit", "a stream or a long poll may stay silent"),
        (
            "idle: proxy to application", f"{limits.IDLE_SERVER_SECONDS} s",
            "gunicorn closes after 2 s, Node.js after 5 s",
        ),
        ("idle: proxy to proxy", f"{limits.IDLE_SECONDS} s", f"the receiving one waits {limits.IDLE_PEER_SECONDS} s"),
        (
            "idle: to pods that may be outside the mesh", f"{limits.IDLE_MIXED_SECONDS} s",
            "Node.js, uvicorn and Apache httpd close after 5 s",
        ),
        (
            "idle: to servers that are never in the mesh", f"{limits.IDLE_SERVER_SECONDS} s",
            "of its networks, where HTTP is looked into",
        ),
        ("TCP keep-alive", f"after {probes}", "both sides of every proxy"),
    ]


_ACTIONS = {
    "shrink_heap": "free memory goes back to the system",
    "disable_http_keepalive": "connections end with their request",
    "stop_accepting_requests": "new requests are answered 503",
    "stop_accepting_connections": "new connections wait",
}


def _memory() -> _Rows:
    rows = [(f"{share:.0%} of the heap", _ACTIONS[name], "") for name, share in bootstrap.HEAP_ACTIONS.items()]
    a_pod = f"1/{shares.LEAVING} leaving by each of two listeners, 1/{shares.ARRIVING} arriving"
    return [*rows, ("a pod's share of connections", a_pod, "further ones are closed at once")]
