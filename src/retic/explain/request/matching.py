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
    for what, conditions, value_of in (
        ("header", match.headers, request.header), ("query parameter", match.query, request.query),
    ):  # fmt: skip
        for condition in conditions:
            if not holds(condition, value_of(condition.name)):
                return f"it has {'a' if condition.negated else 'no'} {_compared(what, condition)}"
    if match.grpc and not request.is_grpc:
        return "it is not gRPC by its content-type"
    if match.sources is not None and request.source not in match.sources:
        return "its sender has not the labels"
    return ""


def _path(wanted: route.Path, path: str) -> bool:
    value = wanted.value
    if wanted.any_case:
        value, path = value.lower(), path.lower()
    match wanted.kind:
        case route.PathKind.EXACT:
            return path == value
        case route.PathKind.REGEX:
            return full(wanted.value, path)
        case route.PathKind.START:
            return path.startswith(value)
        case route.PathKind.PREFIX:
            return value in ("/", path) or path.startswith(f"{value}/")


def holds(condition: route.Condition, value: str | None) -> bool:
    """Whether a text is one that the condition takes; None is one that is not there."""
    if condition.how is route.How.PRESENT:
        return (value is not None) is not condition.negated
    if value is None and not condition.negated:
        return False
    return _compares(condition, value or "") is not condition.negated


def _compares(condition: route.Condition, value: str) -> bool:
    match condition.how:
        case route.How.PREFIX:
            return value.startswith(condition.value)
        case route.How.REGEX:
            return full(condition.value, value)
        case _:
            return value == condition.value


def words(match: route.Match) -> str:
    """The match as people read it."""
    said = {
        route.PathKind.EXACT: "exactly", route.PathKind.PREFIX: "under", route.PathKind.REGEX: "like",
        route.PathKind.START: "beginning with",
    }  # fmt: skip
    parts = [f"{said[match.path.kind]} {match.path.value}{' in any case' if match.path.any_case else ''}"]
    if match.method is not None:
        parts.append(match.method)
    parts += [_condition("header", each) for each in match.headers]
    parts += [_condition("query parameter", each) for each in match.query]
    if match.grpc:
        parts.append("gRPC")
    if match.sources is not None:
        parts.append(f"of {len(match.sources)} pods with its labels")
    return ", ".join(parts)


def _condition(what: str, condition: route.Condition) -> str:
    return f"{'no ' if condition.negated else ''}{_compared(what, condition)}"


_WORDS = {route.How.EXACT: "=", route.How.PREFIX: "beginning with", route.How.REGEX: "like"}


def _compared(what: str, condition: route.Condition) -> str:
    if condition.how is route.How.PRESENT:
        return f"{what} {condition.name}"
    return f"{what} {condition.name} {_WORDS[condition.how]} {condition.value}"
