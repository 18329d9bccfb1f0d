"""A request or connection as it is shown to people: redacted, bounded, with both ends; and which of them are wanted.

What is wanted is decided on what is shown, never on what is hidden: a filter tells nothing of a redacted value.
"""

import datetime
import re
from collections.abc import Callable, Collection, Mapping

import msgspec

from retic.telemetry import entries, redaction

LONGEST = 2048  # characters of a path or a header's value
_NONE: Mapping[str, str] = {}


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """`source` and `destination` are workloads, `service` the called Service, as namespace/name ("" when not known).

    `time` is RFC 3339, when it began, `ms` how long it took; `proxy` which proxy says so (`entries.Entry.side`).
    `flags` and `details` are Envoy's. `caller` and `server` are identities proven by mTLS.
    """

    time: str
    source: str
    destination: str
    service: str
    protocol: str
    ms: float
    proxy: str
    method: str = ""
    authority: str = ""
    path: str = ""
    code: int = 0
    flags: tuple[str, ...] = ()
    details: str = ""
    received: int = 0
    sent: int = 0
    remote: str = ""
    upstream: str = ""
    caller: str = ""
    server: str = ""
    id: str = ""
    trace_id: str = ""
    request_headers: Mapping[str, str] = _NONE
    response_headers: Mapping[str, str] = _NONE


class Shown(msgspec.Struct, frozen=True):
    """What else is shown: headers of the request by name, and further names of secrets, all in lower case. Of answers
    those that are reported at all (words.REPORTED_RESPONSE_HEADERS) are shown if they are among them."""

    headers: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()


def call(entry: entries.Entry, shown: Shown, workload_at: Callable[[str], str] = lambda _: "") -> Call:
    """As `shown` says. `workload_at` tells whose an address is."""
    remote = entry.remote.rpartition(":")[0]
    return Call(
        time=_time(entry.time),
        source=entry.workload if entry.source else entry.peer or workload_at(remote),
        destination=workload_at(entry.upstream.rpartition(":")[0]) if entry.source else entry.workload,
        service=entry.service,
        protocol=entry.protocol,
        ms=round(entry.ms, 3),
        proxy=entry.side,
        method=entry.method,
        authority=redaction.authority(entry.authority)[:LONGEST],
        path=redaction.path(entry.path, shown.secret)[:LONGEST],
        code=entry.code,
        flags=entry.flags,
        details=entry.details,
        received=entry.received,
        sent=entry.sent,
        remote=entry.remote,
        upstream=entry.upstream if entry.source else "",
        caller=entry.caller,
        server=entry.server,
        id=entry.id[:LONGEST],
        trace_id=entry.trace.partition("-")[0],
        request_headers=_headers(entry.request_headers, shown),
        response_headers=_headers(entry.response_headers, shown),
    )


def _headers(found: Mapping[str, str], shown: Shown) -> Mapping[str, str]:
    return {
        name: redaction.value(name, text, shown.secret)[:LONGEST]
        for name, text in found.items()
        if name in shown.headers
    }


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


class Wanted(msgspec.Struct, frozen=True):
    """Which calls. Empty fields want everything; a pattern's * is for any letters. `path` is compared without the
    query unless it has a ? of its own. `statuses` are codes (404) and classes (5xx). `headers` are of the request,
    names in lower case, and must be among those shown."""

    method: str = ""
    path: str = ""
    statuses: tuple[str, ...] = ()
    headers: Mapping[str, str] = _NONE
    protocol: str = ""


_PROTOCOLS = {"http", "tcp", "http1", "http2"}


def protocols() -> Collection[str]:
    """The words that `Wanted.protocol` takes."""
    return sorted(_PROTOCOLS)


def matcher(wanted: Wanted) -> Callable[[Call], bool]:
    """The filter, made once."""
    path = _pattern(wanted.path) if wanted.path else None
    headers = {name: _pattern(text) for name, text in wanted.headers.items()}
    with_query = "?" in wanted.path

    def holds(one: Call) -> bool:
        target = one.path if with_query else one.path.partition("?")[0]
        return (
            (not wanted.method or one.method == wanted.method.upper())
            and (path is None or (bool(one.method) and path.fullmatch(target) is not None))
            and (not wanted.statuses or any(_status(each, one.code) for each in wanted.statuses))
            and all(
                name in one.request_headers and pattern.fullmatch(one.request_headers[name])
                for name, pattern in headers.items()
            )
            and (not wanted.protocol or _protocol(wanted.protocol, one.protocol))
        )

    return holds


def _status(wanted: str, code: int) -> bool:
    return str(code) == wanted or (wanted.endswith("xx") and code // 100 == int(wanted[0]))


def _protocol(wanted: str, found: str) -> bool:
    match wanted:
        case "http":
            return found.startswith("HTTP")
        case "http1":
            return found.startswith("HTTP/1")
        case "http2":
            return found == "HTTP/2"
        case _:
            return found == "TCP"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", text))), re.DOTALL)
