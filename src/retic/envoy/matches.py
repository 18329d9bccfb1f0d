"""A match of `mesh.route` as Envoy's RouteMatch."""

import re

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from retic.mesh import route

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
    answer.query_parameters.extend(
        route_components_pb2.QueryParameterMatcher(name=c.name, string_match=_string(c)) for c in match.query
    )
    if match.grpc:
        answer.grpc.SetInParent()
    return answer


def _path(answer: RouteMatch, path: route.Path) -> None:
    match path.kind:
        case route.PathKind.EXACT:
            answer.path = path.value
        case route.PathKind.REGEX:
            answer.safe_regex.CopyFrom(regex(path.value))
        case route.PathKind.PREFIX:
            if path.value == "/":
                answer.prefix = "/"
            else:
                answer.path_separated_prefix = path.value


def _header(condition: route.Condition) -> route_components_pb2.HeaderMatcher:
    return route_components_pb2.HeaderMatcher(name=condition.name, string_match=_string(condition))


def _string(condition: route.Condition) -> string_pb2.StringMatcher:
    if condition.regex:
        return string_pb2.StringMatcher(safe_regex=regex(condition.value))
    return string_pb2.StringMatcher(exact=condition.value)


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
