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

    def holds(entry: entries.Entry) -> bool:
        try:
            return program.execute(attributes(entry)) is True
        except (KeyError, ValueError, TypeError, RuntimeError, ArithmeticError):
            return False

    return holds


def attributes(entry: entries.Entry) -> dict[str, dict[str, Any]]:
    """Envoy's attributes of a request or connection, as far as its entry has them."""
    peer = entry.server if entry.source else entry.caller
    host, _, port = entry.upstream.rpartition(":")
    found: dict[str, dict[str, Any]] = {
        "connection": {
            "mtls": bool(entry.caller), "uri_san_peer_certificate": entry.caller,
            "termination_details": "" if entry.http else entry.details,
        },
        "upstream": {
            "address": entry.upstream, "port": int(port) if host and port.isdecimal() else None,
            "transport_failure_reason": entry.transport_failure, "request_attempt_count": entry.attempts,
            "uri_san_peer_certificate": peer if entry.source else "",
        },
        "source": _address(entry.remote),
        "destination": _address(entry.local),
        "xds": {"cluster_name": entry.cluster, "route_name": entry.route},
        "request": _request(entry) if entry.http else {},
        "response": {
            "code": entry.code, "code_details": entry.details, "headers": entry.response_headers, "size": entry.sent,
        } if entry.http else {},
    }  # fmt: skip
    return {
        name: {key: value for key, value in each.items() if value not in ("", None)} for name, each in found.items()
    }


def _request(entry: entries.Entry) -> dict[str, Any]:
    path, _, query = entry.path.partition("?")
    named = {
        ":authority": entry.authority, ":path": entry.path, ":method": entry.method, "user-agent": entry.user_agent,
        "x-request-id": entry.request_id,
    }  # fmt: skip
    return {
        "path": entry.path, "url_path": path, "query": query, "host": entry.authority, "method": entry.method,
        "scheme": entry.scheme, "useragent": entry.user_agent, "id": entry.request_id, "protocol": entry.protocol,
        "size": entry.received, "headers": {**{k: v for k, v in named.items() if v}, **entry.request_headers},
        "time": datetime.datetime.fromtimestamp(entry.time, datetime.UTC),
        "duration": datetime.timedelta(milliseconds=entry.ms),
    }  # fmt: skip


def _address(text: str) -> dict[str, Any]:
    port = text.rpartition(":")[2]
    return {"address": text, "port": int(port) if port.isdecimal() else None}
