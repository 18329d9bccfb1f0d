"""Each listener's share of the connections that its Envoy can hold, as a Runtime resource (RTDS).

All pods of a node share one Envoy and its descriptors: without a share, a pod that only opens connections
would take those of its neighbours. The agent alone knows how many descriptors there are, so the bound does
not come with the listener: Envoy reads it, by the listener's name, at every connection that it accepts.
"""

import hashlib
from collections.abc import Iterable

from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2

TYPE_URL = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
NAME = "connections"
# A connection that a pod opens is met at most twice, where it leaves and where it arrives, and it leaves by one of
# two listeners: what one pod can take is four shares, two thirds.
PARTS = 6


def share(connections: int) -> int:
    """How many connections one listener may hold of so many that Envoy can."""
    return max(1, connections // PARTS)


def resource(listeners: Iterable[str], most: int) -> discovery_pb2.Resource:
    """The bound of every listener named: `most` connections."""
    layer = rtds_pb2.Runtime(name=NAME)
    names = sorted(listeners)
    for name in names:
        layer.layer[f"envoy.resource_limits.listener.{name}.connection_limit"] = most
    version = hashlib.blake2b("\n".join([str(most), *names]).encode(), digest_size=8).hexdigest()
    answer = discovery_pb2.Resource(name=NAME, version=version)
    answer.resource.Pack(layer)
    return answer
