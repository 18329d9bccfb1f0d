"""How a cluster chooses an endpoint: one load balancing policy of Envoy's for each algorithm of `mesh.destination`.

What requests are told apart by stands in the cluster, not in routes (ConsistentHashingLbConfig.hash_policy): so it
holds for whatever leads there, on demand and without a virtual host, weighted with others, and for TCP.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.load_balancing_policies.common.v3 import common_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.maglev.v3 import maglev_pb2
from envoy.extensions.load_balancing_policies.random.v3 import random_pb2
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from retic.envoy import limits, packing
from retic.mesh import destination

HashPolicy = route_components_pb2.RouteAction.HashPolicy
Algorithm = destination.Algorithm

_WHOLE = 100.0


def apply(cluster: cluster_pb2.Cluster, balancer: destination.Balancer | None) -> None:
    """Say how the cluster's endpoints are chosen; None: by least request."""
    said = balancer or destination.Balancer()
    name, message = _POLICIES[said.algorithm](said)
    policy = cluster.load_balancing_policy.policies.add()
    policy.typed_extension_config.CopyFrom(_typed(name, message))


def _typed(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    return packing.typed(name, message)


Made = tuple[str, Message]
_Led = least_request_pb2.LeastRequest | round_robin_pb2.RoundRobin | random_pb2.Random


def _least_request(said: destination.Balancer) -> Made:
    return "least_request", _led(least_request_pb2.LeastRequest(), said)


def _round_robin(said: destination.Balancer) -> Made:
    return "round_robin", _led(round_robin_pb2.RoundRobin(), said)


def _random(said: destination.Balancer) -> Made:
    return "random", _led(random_pb2.Random(), said)


def _led(message: _Led, said: destination.Balancer) -> Message:
    if said.warm_up is not None and not isinstance(message, random_pb2.Random):
        message.slow_start_config.CopyFrom(_warm_up(said.warm_up))
    if _weighted(said):
        message.locality_lb_config.locality_weighted_lb_config.SetInParent()
    return message


def _ring_hash(said: destination.Balancer) -> Made:
    size = said.size or limits.RING_PLACES
    message = ring_hash_pb2.RingHash(
        minimum_ring_size=wrappers_pb2.UInt64Value(value=size),
        maximum_ring_size=wrappers_pb2.UInt64Value(value=max(size, limits.RING_PLACES_AT_MOST)),
    )
    return "ring_hash", _hashing(message, said)


def _maglev(said: destination.Balancer) -> Made:
    message = maglev_pb2.Maglev()
    if said.size:
        message.table_size.value = said.size
    return "maglev", _hashing(message, said)


def _hashing(message: ring_hash_pb2.RingHash | maglev_pb2.Maglev, said: destination.Balancer) -> Message:
    message.consistent_hashing_lb_config.hash_policy.extend(_hashed(said))
    if _weighted(said):
        message.locality_weighted_lb_config.SetInParent()
    return message


_POLICIES = {
    Algorithm.LEAST_REQUEST: _least_request,
    Algorithm.ROUND_ROBIN: _round_robin,
    Algorithm.RANDOM: _random,
    Algorithm.RING_HASH: _ring_hash,
    Algorithm.MAGLEV: _maglev,
}


def _weighted(said: destination.Balancer) -> bool:
    """Whether localities have shares; elsewhere priorities alone tell them apart."""
    return said.localities is not None and bool(said.localities.shares)


def _warm_up(said: destination.WarmUp) -> common_pb2.SlowStartConfig:
    # The key is one that no runtime has: the value is the configuration's.
    aggression = base_pb2.RuntimeDouble(default_value=said.aggression, runtime_key="retic.none")
    return common_pb2.SlowStartConfig(
        slow_start_window=limits.seconds(said.seconds),
        aggression=aggression,
        min_weight_percent=percent_pb2.Percent(value=min(said.least, _WHOLE)),
    )


def _hashed(said: destination.Balancer) -> list[HashPolicy]:
    if said.hash is None:
        return []
    policy = HashPolicy()
    match said.hash.by:
        case destination.By.HEADER:
            policy.header.header_name = said.hash.name
        case destination.By.QUERY:
            policy.query_parameter.name = said.hash.name
        case destination.By.SOURCE:
            policy.connection_properties.source_ip = True
        case destination.By.COOKIE:
            policy.cookie.CopyFrom(_cookie(said.hash))
    return [policy]


def _cookie(said: destination.Hash) -> HashPolicy.Cookie:
    cookie = HashPolicy.Cookie(name=said.name, path=said.path)
    if said.ttl is not None:
        cookie.ttl.CopyFrom(limits.seconds(said.ttl))
    for name, value in said.attributes:
        cookie.attributes.add(name=name, value=value)
    return cookie
