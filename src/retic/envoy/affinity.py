"""Services that want each caller's address led to an endpoint of its own (sessionAffinity: ClientIP).

Nothing is remembered: the endpoint follows from the address, by a ring (consistent hashing), on every proxy alike and
for as long as the endpoints stay the same. When one comes or goes, about as many callers move as it has a share.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2

from retic.envoy import packing


def by_address(cluster: cluster_pb2.Cluster) -> None:
    """Give the cluster this balancing in place of its own."""
    ring = ring_hash_pb2.RingHash(hash_function=ring_hash_pb2.RingHash.XX_HASH)
    ring.consistent_hashing_lb_config.hash_policy.add().connection_properties.source_ip = True
    cluster.ClearField("load_balancing_policy")
    policy = cluster.load_balancing_policy.policies.add()
    policy.typed_extension_config.CopyFrom(packing.typed("ring_hash", ring))
