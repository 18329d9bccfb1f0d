"""Whether a request meets a rule's match, and if not, by which of its conditions."""

import re2

from retic.explain.request import message
from retic.mesh import route


def full(expression: str, text: str) -> bool:
    """Whether RE2 matches all of the text. False for an expression that RE2 does not accept."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.fullmatch(expression, text, options) is not None
    except re2.error:
        return False


def missed(match: route.Match, request: message.Message) -> str:
    """The first condition that does not hold, in words; "" when all do."""
    if not _path(match.path, request.path):
        return f"its path is not {words(route.Match(match.path))}"
    if match.method is not None and request.method != match.method:
        return f"its method is not {match.method}"
    for condition in match.headers:
        if not _holds(condition, request.header(condition.name)):
            return f"it has no {_condition('header', condition)}"
    for condition in match.query:
        if not _holds(condition, request.query(condition.name)):
            return f"it has no {_condition('query parameter', condition)}"
    if match.grpc and not request.is_grpc:
        return "it is not gRPC by its content-type"
    return ""


def _path(wanted: route.Path, path: str) -> bool:
    match wanted.kind:
        case route.PathKind.EXACT:
            return path == wanted.value
        case route.PathKind.REGEX:
            return full(wanted.value, path)
        case route.PathKind.PREFIX:
            return wanted.value in ("/", path) or path.startswith(f"{wanted.value}/")


def _holds(condition: route.Condition, value: str | None) -> bool:
    if value is None:
        return False
    return full(condition.value, value) if condition.regex else value == condition.value


def words(match: route.Match) -> str:
    """The match as people read it."""
    said = {route.PathKind.EXACT: "exactly", route.PathKind.PREFIX: "under", route.PathKind.REGEX: "like"}
    parts = [f"{said[match.path.kind]} {match.path.value}"]
    if match.method is not None:
        parts.append(match.method)
    parts += [_condition("header", each) for each in match.headers]
    parts += [_condition("query parameter", each) for each in match.query]
    if match.grpc:
        parts.append("gRPC")
    return ", ".join(parts)


def _condition(what: str, condition: route.Condition) -> str:
    return f"{what} {condition.name} {'like' if condition.regex else '='} {condition.value}"
