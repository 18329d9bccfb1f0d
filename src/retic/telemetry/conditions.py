"""Expressions of CEL over the attributes of a request, as Envoy names them; for access logs.

What a request has not is not there, so `has(request.useragent)` can be asked. An expression that fails does not hold.
"""

import datetime
import functools
import importlib
from collections.abc import Callable
from typing import Any

from retic.telemetry import entries

# Two packages have a folder `cel`, and either may have written its __init__: the module itself is what is meant.
_cel: Any = importlib.import_module("cel.cel")
Condition = Callable[[entries.Entry], bool]


@functools.lru_cache(maxsize=1024)
def compiled(expression: str) -> Condition:
    """The condition of an expression; "" always holds. ValueError for one that is none."""
    if not expression:
        return lambda _: True
    program = _cel.compile(expression)

    read = [name for name in _MADE if name in program.variables()]

    def holds(entry: entries.Entry) -> bool:
        try:
            return program.execute({name: _MADE[name](entry) for name in read}) is True
        except (KeyError, ValueError, TypeError, RuntimeError, ArithmeticError):
            return False

    return holds


Made = dict[str, Any]


def attributes(entry: entries.Entry) -> dict[str, Made]:
    """Envoy's attributes of a request or connection, as far as its entry has them."""
    return {name: make(entry) for name, make in _MADE.items()}


def _there(made: Made) -> Made:
    return {key: value for key, value in made.items() if value not in ("", None)}


def _connection(entry: entries.Entry) -> Made:
    return _there({
        "mtls": bool(entry.caller), "uri_san_peer_certificate": entry.caller,
        "termination_details": "" if entry.http else entry.details,
    })  # fmt: skip


def _upstream(entry: entries.Entry) -> Made:
    return _there({
        **_address(entry.upstream), "transport_failure_reason": entry.transport_failure,
        "request_attempt_count": entry.attempts, "uri_san_peer_certificate": entry.server,
    })  # fmt: skip


def _response(entry: entries.Entry) -> Made:
    if not entry.http:
        return {}
    return _there({
        "code": entry.code, "code_details": entry.details, "headers": entry.response_headers, "size": entry.sent,
    })  # fmt: skip


def _request(entry: entries.Entry) -> Made:
    if not entry.http:
        return {}
    path, _, query = entry.path.partition("?")
    named = {
        ":authority": entry.authority, ":path": entry.path, ":method": entry.method, "user-agent": entry.user_agent,
        "x-request-id": entry.request_id,
    }  # fmt: skip
    return _there({
        "path": entry.path, "url_path": path, "query": query, "host": entry.authority, "method": entry.method,
        "scheme": entry.scheme, "useragent": entry.user_agent, "id": entry.request_id, "protocol": entry.protocol,
        "size": entry.received, "headers": {**{k: v for k, v in named.items() if v}, **entry.request_headers},
        "time": datetime.datetime.fromtimestamp(entry.time, datetime.UTC),
        "duration": datetime.timedelta(milliseconds=entry.ms),
    })  # fmt: skip


def _address(text: str) -> Made:
    port = text.rpartition(":")[2]
    return _there({"address": text, "port": int(port) if port.isdecimal() else None})


_MADE: dict[str, Callable[[entries.Entry], Made]] = {
    "connection": _connection,
    "upstream": _upstream,
    "source": lambda entry: _address(entry.remote),
    "destination": lambda entry: _address(entry.local),
    "xds": lambda entry: _there({"cluster_name": entry.cluster, "route_name": entry.route}),
    "request": _request,
    "response": _response,
}
"""What makes the attributes of each variable; only those that an expression reads are made."""
