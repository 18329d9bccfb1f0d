"""What rides along from a pod's connection to the upstream connection, as one table.

Envoy keys its connection pools by shared filter state only where the state's object is hashable. One that is
not lets two pods share an upstream connection: one of them then appears as the other, and hangs when that one
ends. Seen with `envoy.string` and, for pods of one service account, with `envoy.network.network_namespace`
(tests/e2e/test_identity.py); the local address selector takes the namespace's path from any object.
"""

import enum

from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2

from retic.envoy import packing
from retic.telemetry import words

# Factories whose objects hash into the pool's key.
HASHABLE = frozenset({"envoy.hashable_string"})


class Rider(enum.Enum):
    """One value of filter state: its key, the factory that makes it, and whether it goes upstream."""

    NAMESPACE = ("envoy.network.upstream_bind_override.network_namespace", "envoy.hashable_string", True)
    IDENTITY = ("envoy.tls.certificate_mappers.on_demand_secret", "envoy.hashable_string", True)
    # Part of the pool's key by Envoy's own doing (TransportSocketOptions); only TCP sets it.
    PROTOCOL = ("envoy.network.application_protocols", "envoy.network.application_protocols", True)
    # The port that was called: a pod's address is one cluster for all ports, and some of them may take plaintext only.
    PORT = ("retic.port", "envoy.hashable_string", True)
    # Whose connection it is, for what is counted and reported of it (`logs`).
    WORKLOAD = (words.WORKLOAD_STATE, "envoy.string", False)
    POD = (words.POD_STATE, "envoy.string", False)
    # Read by the TCP proxy itself, never by a pool.
    CLUSTER = ("envoy.tcp_proxy.cluster", "envoy.tcp_proxy.cluster", False)

    def __init__(self, key: str, factory: str, upstream: bool) -> None:
        self.key = key
        self.factory = factory
        self.upstream = upstream


def remember(values: dict[Rider, str]) -> listener_components_pb2.Filter:
    """The network filter that sets these values on every new connection.

    Each value is a format string of Envoy's access log language.
    """
    config = set_filter_state_pb2.Config(on_new_connection=[value(r, text) for r, text in values.items()])
    return listener_components_pb2.Filter(name="retic.riders", typed_config=packing.pack(config))


def value(rider: Rider, text: str) -> value_pb2.FilterStateValue:
    """What sets the rider to the format string `text`, of a connection or of a request."""
    source = value_pb2.FilterStateValue.SharedWithUpstream
    line = substitution_format_string_pb2.SubstitutionFormatString()
    line.text_format_source.inline_string = text
    return value_pb2.FilterStateValue(
        object_key=rider.key,
        factory_key=rider.factory,
        format_string=line,
        shared_with_upstream=source.ONCE if rider.upstream else source.NONE,
    )
