"""Expressions of access logs, in CEL over Envoy's attributes: whether one can be used, and which headers it reads.

The agent evaluates them for each request, so what could take long is refused: macros that go through lists. An
expression says nothing about what it reads but the names of its variables: whether each attribute exists is found out
by evaluating it where all are there.
"""

import importlib
import re
from typing import Any

# Two packages have a folder `cel`, and either may have written its __init__: the module itself is what is meant.
_cel: Any = importlib.import_module("cel.cel")


def _value(expression: str) -> Any:
    return _cel.compile(expression).execute({})


ATTRIBUTES: dict[str, dict[str, Any]] = {
    "request": {
        "path": "/a?b=c", "url_path": "/a", "host": "a", "method": "GET", "scheme": "http", "headers": {},
        "useragent": "a", "id": "a", "protocol": "HTTP/1.1", "query": "b=c", "size": 1,
        "time": _value("timestamp('2020-01-01T00:00:00Z')"), "duration": _value("duration('1s')"),
    },
    "response": {"code": 200, "code_details": "via_upstream", "headers": {}, "size": 1},
    "connection": {
        "mtls": True, "uri_san_peer_certificate": "spiffe://a/ns/b/sa/c", "termination_details": "a",
    },
    "upstream": {
        "address": "10.0.0.1:80", "port": 80, "transport_failure_reason": "a", "request_attempt_count": 1,
        "uri_san_peer_certificate": "spiffe://a/ns/b/sa/c",
    },
    "source": {"address": "10.0.0.1:40000", "port": 40000},
    "destination": {"address": "10.0.0.1:80", "port": 80},
    "xds": {"cluster_name": "a", "route_name": "a"},
}  # fmt: skip
"""Those that there are, with an example of each; texts and numbers, not all are there for every request."""

_LONG = ("map", "filter", "all", "exists", "exists_one", "existsOne")
_MACRO = re.compile(rf"\.\s*({'|'.join(_LONG)})\s*\(")
_HEADER = re.compile(
    r"""(request|response)\s*\.\s*headers\s*\[\s*(['"])([^'"\\]+)\2\s*\]"""
    r"""|(['"])([^'"\\]+)\4\s+in\s+(request|response)\s*\.\s*headers"""
)
_REFUSED = "use comparisons, startsWith, contains, matches, in, &&, || and !"


def headers(expression: str) -> frozenset[str]:
    """The request headers that it reads, in lower case."""
    found = (match.group(3) if match.group(1) == "request" else match.group(5) for match in _HEADER.finditer(expression)
             if "request" in (match.group(1), match.group(6)))  # fmt: skip
    return frozenset(name.lower() for name in found)


def problem(expression: str) -> tuple[str, str] | None:
    """What is wrong with it, and what to write instead; None when it can be used."""
    if macro := _MACRO.search(expression):
        return f"{macro.group(1)} is not carried out: it could take long", _REFUSED
    try:
        program = _cel.compile(expression)
    except ValueError as error:
        return f"it is no expression of CEL: {_short(error)}", "write one such as response.code >= 500"
    unknown = sorted(set(program.variables()) - set(ATTRIBUTES))
    if unknown:
        return f"there is no attribute {unknown[0]}", f"use those of {', '.join(ATTRIBUTES)}"
    return _tried(expression, program)


def _tried(expression: str, program: Any) -> tuple[str, str] | None:
    named = {match.group(3) or match.group(5): "1" for match in _HEADER.finditer(expression)}
    there = {name: dict(values) for name, values in ATTRIBUTES.items()}
    for side in ("request", "response"):
        there[side]["headers"] = named
    try:
        value = program.execute(there)
    except KeyError as error:
        return f"there is no attribute {error.args[0]}", _have(str(error.args[0]), expression)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        return f"it cannot be evaluated: {_short(error)}", _REFUSED
    if not isinstance(value, bool):
        return f"it is {type(value).__name__}, and no condition", "compare it with something"
    return None


def _have(missing: str, expression: str) -> str:
    for name, values in ATTRIBUTES.items():
        if f"{name}.{missing}" in expression:
            return f"of {name} there are {', '.join(values)}"
    return "use the attributes that docs/access-logs.md names"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
