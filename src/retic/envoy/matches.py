"""A match of `mesh.route` as Envoy's RouteMatch."""

import re

import msgspec
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import filter_state_pb2, regex_pb2, string_pb2

from retic.envoy import riders
from retic.mesh import route

_MOST_PODS = 150  # uids of 36 letters, in an expression of 10,000 instructions
RouteMatch = route_components_pb2.RouteMatch


def regex(expression: str) -> regex_pb2.RegexMatcher:
    """An RE2 expression; Envoy matches it against the whole text."""
    return regex_pb2.RegexMatcher(regex=expression)


def of(match: route.Match) -> RouteMatch:
    """All conditions of a match."""
    answer = RouteMatch()
    _path(answer, match.path)
    if match.method:
        answer.headers.append(_header(route.Condition(":method", match.method)))
    answer.headers.extend(_header(c) for c in match.headers)
    answer.query_parameters.extend(_parameter(c) for c in match.query)
    if match.grpc:
        answer.grpc.SetInParent()
    if match.sources is not None:
        answer.filter_state.append(_pods(match.sources))
    return answer


def apart(match: route.Match) -> list[route.Match]:
    """The match as several where it is for more pods than one expression can name."""
    found = match.sources or ()
    if len(found) <= _MOST_PODS:
        return [match]
    parts = [found[i : i + _MOST_PODS] for i in range(0, len(found), _MOST_PODS)]
    return [msgspec.structs.replace(match, sources=part) for part in parts]


def _pods(uids: tuple[str, ...]) -> filter_state_pb2.FilterStateMatcher:
    """Which pod sends is known by the network namespace that its connection came in by."""
    answer = filter_state_pb2.FilterStateMatcher(key=riders.Rider.NAMESPACE.key)
    if len(uids) == 1:
        answer.string_match.suffix = f"/{uids[0]}"
    else:
        answer.string_match.safe_regex.CopyFrom(regex(f".*/({'|'.join(map(re.escape, uids))})" if uids else "-/-"))
    return answer


def _path(answer: RouteMatch, path: route.Path) -> None:
    match path.kind:
        case route.PathKind.EXACT:
            answer.path = path.value
        case route.PathKind.REGEX:
            answer.safe_regex.CopyFrom(regex(path.value))
        case route.PathKind.START:
            answer.prefix = path.value
        case route.PathKind.PREFIX:
            if path.value == "/":
                answer.prefix = "/"
            else:
                answer.path_separated_prefix = path.value
    if path.any_case:
        answer.case_sensitive.value = False


def _header(condition: route.Condition) -> route_components_pb2.HeaderMatcher:
    answer = route_components_pb2.HeaderMatcher(name=condition.name, invert_match=condition.negated)
    if condition.how is route.How.PRESENT:
        answer.present_match = True
    else:
        answer.string_match.CopyFrom(text(condition))
        # Without this a header that is not there would be neither.
        answer.treat_missing_header_as_empty = condition.negated
    return answer


def _parameter(condition: route.Condition) -> route_components_pb2.QueryParameterMatcher:
    if condition.how is route.How.PRESENT:
        return route_components_pb2.QueryParameterMatcher(name=condition.name, present_match=True)
    return route_components_pb2.QueryParameterMatcher(name=condition.name, string_match=text(condition))


def text(condition: route.Condition) -> string_pb2.StringMatcher:
    """How a condition compares a text; one that wants no value takes them all."""
    match condition.how:
        case route.How.EXACT:
            return string_pb2.StringMatcher(exact=condition.value)
        case route.How.PREFIX if condition.value:
            return string_pb2.StringMatcher(prefix=condition.value)
        case route.How.REGEX:
            return string_pb2.StringMatcher(safe_regex=regex(condition.value))
    return string_pb2.StringMatcher(safe_regex=regex(".*"))


def for_connect(entry: route_components_pb2.Route) -> route_components_pb2.Route:
    """The same entry for CONNECT requests (WebSockets over HTTP/2 among them), which match by nothing else."""
    answer = route_components_pb2.Route()
    answer.CopyFrom(entry)
    headers = list(answer.match.headers)
    answer.match.Clear()
    answer.match.connect_matcher.SetInParent()
    answer.match.headers.extend(headers)
    return answer


def prefix_expression(prefix: str) -> str:
    """An expression for a path's beginning up to and with the prefix, and one slash behind it if any."""
    return "^" + re.escape(prefix.rstrip("/")) + "/?"
