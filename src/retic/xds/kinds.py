"""The resource types that discovery knows, and the order in which a stream carries them.

What is named is sent before what names it, so that nothing on a proxy ever points at something that the
stream has not brought yet; removals go the other way round. Types that are not in the table come last.
"""

_PREFIX = "type.googleapis.com/envoy."

CLUSTER = _PREFIX + "config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
SECRET = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
ROUTES = _PREFIX + "config.route.v3.RouteConfiguration"
FILTER = _PREFIX + "config.core.v3.TypedExtensionConfig"
LISTENER = _PREFIX + "config.listener.v3.Listener"

ORDER = (CLUSTER, ENDPOINTS, SECRET, ROUTES, FILTER, LISTENER)
"""Additions and changes in this order, removals in reverse."""

WHOLE = frozenset({CLUSTER, LISTENER})
"""Types of which a SotW response lists everything there is (xDS protocol, "Resource removal"). They are also
the ones that Envoy takes one by one: a bad one among them does not keep the others from being applied."""

WILDCARD = "*"
"""The name that subscribes to all resources of a type (xDS protocol, "Wildcard subscriptions")."""


def rank(type_url: str) -> int:
    """Where additions of a type stand in the order."""
    return _RANKS.get(type_url, len(ORDER))


_RANKS = {type_url: position for position, type_url in enumerate(ORDER)}

LEAVES = frozenset({ENDPOINTS, SECRET})
"""Types whose resources name no other resource."""
