"""A caller has one name: connections whose certificate has several are closed before anything is decided.

Envoy compares a principal with every URI of a certificate, and with its DNS names too: a certificate with two
identities would be whichever of them a policy lets in. X509-SVID (section 2) allows one, and leaves refusing the
rest to whoever validates; Envoy's validators look at the first.
"""

from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.matching.common_inputs.ssl.v3 import ssl_inputs_pb2
from google.protobuf.message import Message
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from retic.envoy import packing

# The input gives all URIs joined by commas, and a SPIFFE id has none.
_ONE = "spiffe://[^,]+"
_PATH = "/"  # which no DNS name has, and every identity and any part of one that a policy names
_Predicate = matcher_pb2.Matcher.MatcherList.Predicate


def only() -> listener_components_pb2.Filter:
    """The filter that closes connections of callers with several names, behind mTLS only."""
    allowed = packing.typed_xds("one", rbac_pb2.Action(name="one", action=rbac_pb2.RBAC.ALLOW))
    config = network_rbac_pb2.RBAC(stat_prefix="one-name.")
    config.matcher.matcher_list.matchers.add(
        predicate=_all(
            _is("uri_san", ssl_inputs_pb2.UriSanInput(), _whole(_ONE)),
            _Predicate(
                not_matcher=_is(
                    "dns_san", ssl_inputs_pb2.DnsSanInput(), string_pb2.StringMatcher(contains=_PATH)
                )
            ),
        ),
        on_match=matcher_pb2.Matcher.OnMatch(action=allowed),
    )
    return listener_components_pb2.Filter(name="retic.one-name", typed_config=packing.pack(config))


def _all(*predicates: _Predicate) -> _Predicate:
    return _Predicate(and_matcher=_Predicate.PredicateList(predicate=predicates))


def _is(name: str, value: Message, text: string_pb2.StringMatcher) -> _Predicate:
    single = _Predicate.SinglePredicate(
        input=packing.typed_xds(f"envoy.matching.inputs.{name}", value), value_match=text
    )
    return _Predicate(single_predicate=single)


def _whole(expression: str) -> string_pb2.StringMatcher:
    found = regex_pb2.RegexMatcher(regex=expression)
    found.google_re2.SetInParent()  # xDS's own message wants the engine named
    return string_pb2.StringMatcher(safe_regex=found)
