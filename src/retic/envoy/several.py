"""Several HTTP filters in one slot, run one after the other: Envoy's composite filter with a chain.

So a listener has one slot for all that policy asks for, and never changes (envoy.extensions.filters.http.composite.v3,
ExecuteFilterAction.filter_chain). A filter that waits for an answer may only be the last of them: when it goes on,
Envoy 1.40 passes over those behind it in the chain, and what they would have refused comes through
(tests/e2e/test_external_authorization.py).
"""

from collections.abc import Mapping, Sequence

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.composite.v3 import composite_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from google.protobuf.message import Message
from xds.type.matcher.v3 import matcher_pb2, string_pb2

from retic.envoy import packing

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
SEVERAL = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
TYPES = (RBAC, SEVERAL)
"""What a slot of HTTP filters may be filled with."""

Filter = extension_pb2.TypedExtensionConfig
_Predicate = matcher_pb2.Matcher.MatcherList.Predicate


def filled(name: str, filters: Sequence[Filter]) -> Filter:
    """The configuration of the slot of that name; without filters it lets everything pass."""
    if not filters:
        return packing.typed(name, rbac_pb2.RBAC())
    if len(filters) == 1 and filters[0].typed_config.type_url == RBAC:
        return Filter(name=name, typed_config=filters[0].typed_config)
    return _composite(name, matcher_pb2.Matcher(on_no_match=_run(filters)))


def by_port(name: str, chains: Mapping[int, Sequence[Filter]], otherwise: Sequence[Filter]) -> Filter:
    """One filter, to be one of several, that runs the chain of the port that the request was sent to."""
    port = packing.typed_xds("port", network_inputs_pb2.DestinationPortInput())
    tree = matcher_pb2.Matcher.MatcherTree(input=port)
    for number, filters in chains.items():
        tree.exact_match_map.map[str(number)].CopyFrom(_run(filters))
    made = matcher_pb2.Matcher(matcher_tree=tree)
    if otherwise:
        made.on_no_match.CopyFrom(_run(otherwise))
    return _composite(name, made)


def by_beginning(name: str, value: Message, chains: Mapping[str, Filter], otherwise: Filter) -> Filter:
    """One filter, to be one of several, that runs the filter of the longest text that `value` begins with."""
    found = longest(value, {text: [each] for text, each in chains.items()}, [otherwise])
    return _composite(name, found)


def choosing(name: str, matcher: matcher_pb2.Matcher) -> Filter:
    """The configuration of the slot of that name that runs what the matcher says."""
    return _composite(name, matcher)


def longest(
    value: Message, chains: Mapping[str, Sequence[Filter]], otherwise: Sequence[Filter]
) -> matcher_pb2.Matcher:
    """The chain of the longest text that `value` begins with."""
    tree = matcher_pb2.Matcher.MatcherTree(input=packing.typed_xds("value", value))
    for text, each in chains.items():
        tree.prefix_match_map.map[text].CopyFrom(_run(each))
    return matcher_pb2.Matcher(matcher_tree=tree, on_no_match=_run(otherwise))


def whatever(filters: Sequence[Filter]) -> matcher_pb2.Matcher:
    """The chain, of every request."""
    return matcher_pb2.Matcher(on_no_match=_run(filters))


def unless(
    value: Message, beginnings: Sequence[str], filters: Sequence[Filter], otherwise: matcher_pb2.Matcher
) -> matcher_pb2.Matcher:
    """The chain where `value` begins with one of the texts, else what the other matcher says."""
    found = [_begins(value, text) for text in beginnings]
    any_of = _Predicate(or_matcher=_Predicate.PredicateList(predicate=found)) if len(found) > 1 else found[0]
    made = matcher_pb2.Matcher(on_no_match=matcher_pb2.Matcher.OnMatch(matcher=otherwise))
    made.matcher_list.matchers.add(predicate=any_of, on_match=_run(filters))
    return made


def _begins(value: Message, text: str) -> _Predicate:
    one = _Predicate.SinglePredicate(
        input=packing.typed_xds("value", value), value_match=string_pb2.StringMatcher(prefix=text)
    )
    return _Predicate(single_predicate=one)


def always(filters: Sequence[Filter]) -> matcher_pb2.Matcher:
    """What a route configuration says instead of a filter's own choice: these filters."""
    return matcher_pb2.Matcher(on_no_match=_run(filters))


def nothing(name: str) -> Filter:
    """A filter that runs none, until a route configuration says which (`always`)."""
    skip = matcher_pb2.Matcher.OnMatch(action=packing.typed_xds("skip", skip_action_pb2.SkipFilter()))
    return _composite(name, matcher_pb2.Matcher(on_no_match=skip))


def _run(filters: Sequence[Filter]) -> matcher_pb2.Matcher.OnMatch:
    if len(filters) == 1:
        action = composite_pb2.ExecuteFilterAction(typed_config=filters[0])
    else:
        chain = composite_pb2.FilterChainConfiguration(typed_config=filters)
        action = composite_pb2.ExecuteFilterAction(filter_chain=chain)
    return matcher_pb2.Matcher.OnMatch(action=packing.typed_xds("run", action))


def _composite(name: str, matcher: matcher_pb2.Matcher) -> Filter:
    return packing.typed(
        name,
        extension_matcher_pb2.ExtensionWithMatcher(
            extension_config=packing.typed("composite", composite_pb2.Composite()), xds_matcher=matcher
        ),
    )
