"""Which requests a limit counts: entries of a descriptor that are made where the conditions hold, and not otherwise.

A request for which one of a descriptor's entries is not made is not counted (envoy.config.route.v3.RateLimit.Action).
Where a limit compares paths, a path with two readings counts as one that matches: nobody is to escape by writing
`//login` (docs/adr/0025-paths-with-two-readings-are-refused.md has the rules).
"""

import json
import re
from collections.abc import Iterable, Sequence

import msgspec
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.rate_limit_descriptors.expr.v3 import expr_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from retic.envoy import packing, rules
from retic.mesh import limit, plain_paths, route

Action = route_components_pb2.RateLimit.Action

ADDRESS = "filter_state['retic.address']"
"""The connection's own address in expressions (`rate_limits` puts it there)."""
_NEVER = "request.headers['']"  # an expression without a value makes no entry


class Term(msgspec.Struct, frozen=True):
    """One condition on a header. A `regex` matches the whole value."""

    name: str
    text: str
    regex: bool = False
    negated: bool = False


Terms = tuple[Term, ...]


class Exempt(msgspec.Struct, frozen=True):
    """What is never counted: what one of `sources` (addresses) does, of `what` (port, method, request target)."""

    sources: tuple[str, ...] = ()
    what: tuple[tuple[int, str, str], ...] = ()


def expression(key: str, text: str) -> Action:
    """An entry whose value is that of an expression (CEL)."""
    made = expr_pb2.Descriptor(descriptor_key=key, text=text)
    return Action(extension=packing.typed("envoy.rate_limit_descriptors.expr", made))


def said(key: str, value: str) -> Action:
    """An entry that is always the same."""
    return Action(generic_key=Action.GenericKey(descriptor_key=key, descriptor_value=value))


def descriptors(of: limit.Limit, exempt: Exempt) -> list[list[Action]]:
    """The beginnings of the limit's descriptors: of a request that counts exactly one is made, of others none. All have
    the same entries, so that they stand for one bucket."""
    found = _where(of, exempt)
    first = [expression(limit.MATCH, f"{found} ? '{limit.MATCH}' : {_NEVER}")] if found else []
    ways = alternatives(of)
    return [[*first, *_only(ways, number)] for number in range(len(ways))] or [first]


def keys(of: limit.Limit, exempt: Exempt) -> list[str]:
    """The keys of these entries, in their order."""
    return [limit.MATCH] * (bool(_where(of, exempt)) + len(alternatives(of)))


def _where(of: limit.Limit, exempt: Exempt) -> str:
    """An expression for ports, routes, and what is exempt; "" when it always holds."""
    terms = []
    if of.ports:
        terms.append(_any(f"destination.port == {port}" for port in of.ports))
    if of.followed:
        terms.append(_any(f"xds.route_name == {_text(rules.named(each))}" for each in of.followed))
    if exempt.sources and exempt.what:
        who = _any(f"{ADDRESS} == {_text(each)}" for each in exempt.sources)
        what = _any(
            f"(destination.port == {port} && request.method == {_text(method)} && request.path == {_text(target)})"
            for port, method, target in exempt.what
        )
        terms.append(f"!({who} && {what})")
    return " && ".join(terms)


def _any(terms: Iterable[str]) -> str:
    return f"({' || '.join(terms)})"


def _text(value: str) -> str:
    return json.dumps(value)


def alternatives(of: limit.Limit) -> tuple[Terms, ...]:
    """A request counts when all terms of one of these hold; () when it always does."""
    texts = [match.path.value for match in of.matches if match.path != route.Path()]
    unreadable = Term(":path", _whole(plain_paths.readable(texts)), regex=True, negated=True)
    found: dict[Terms, None] = {}
    for match in of.matches:
        others = _others(match)
        found[(*_path(match.path), *others)] = None
        if match.path != route.Path():
            found[(unreadable, *others)] = None
    return tuple(found)


def _path(path: route.Path) -> Terms:
    if path == route.Path():
        return ()
    if path.kind is route.PathKind.PREFIX:
        return (Term(":path", f"{re.escape(path.value)}(?:[/?].*)?", regex=True),)
    text = path.value if path.kind is route.PathKind.REGEX else re.escape(path.value)
    return (Term(":path", _whole(text), regex=True),)


def _whole(expression: str) -> str:
    """The same of a path with its query."""
    return rf"(?:{expression})(?:\?.*)?"


def _others(match: route.Match) -> Terms:
    method = (Term(":method", match.method),) if match.method else ()
    return (*method, *(Term(each.name, each.value, each.how is route.How.REGEX) for each in match.headers))


def _only(ways: Sequence[Terms], number: int) -> list[Action]:
    """Entries for a request that takes this way and none before it."""
    before = [_match(way, holds=False) for way in ways[:number]]
    behind = [said(limit.MATCH, limit.MATCH) for _ in ways[number + 1 :]]
    return [*before, _match(ways[number], holds=True), *behind]


def _match(way: Terms, *, holds: bool) -> Action:
    made = Action.HeaderValueMatch(descriptor_key=limit.MATCH, descriptor_value=limit.MATCH, headers=map(_header, way))
    made.expect_match.value = holds
    return Action(header_value_match=made)


def _header(term: Term) -> route_components_pb2.HeaderMatcher:
    if term.regex:
        found = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=term.text))
    else:
        found = string_pb2.StringMatcher(exact=term.text)
    return route_components_pb2.HeaderMatcher(name=term.name, string_match=found, invert_match=term.negated)
