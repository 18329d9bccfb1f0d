"""Several HTTP filters in one slot, run one after the other: Envoy's composite filter with a chain.

So a listener has one slot for all that policy asks for, and never changes (envoy.extensions.filters.http.composite.v3,
ExecuteFilterAction.filter_chain).
"""

from collections.abc import Sequence

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.composite.v3 import composite_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from xds.type.matcher.v3 import matcher_pb2

from retic.envoy import packing

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
SEVERAL = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
TYPES = (RBAC, SEVERAL)
"""What a slot of HTTP filters may be filled with."""

Filter = extension_pb2.TypedExtensionConfig


def filled(name: str, filters: Sequence[Filter]) -> Filter:
    """The configuration of the slot of that name; without filters it lets everything pass."""
    if not filters:
        return packing.typed(name, rbac_pb2.RBAC())
    if len(filters) == 1 and filters[0].typed_config.type_url == RBAC:
        return Filter(name=name, typed_config=filters[0].typed_config)
    action = composite_pb2.ExecuteFilterAction(
        filter_chain=composite_pb2.FilterChainConfiguration(typed_config=filters)
    )
    always = matcher_pb2.Matcher.OnMatch(action=packing.typed_xds("run", action))
    return packing.typed(
        name,
        extension_matcher_pb2.ExtensionWithMatcher(
            extension_config=packing.typed("composite", composite_pb2.Composite()),
            xds_matcher=matcher_pb2.Matcher(on_no_match=always),
        ),
    )
