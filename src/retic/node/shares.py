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
# A pod's connections leave by one of two listeners, and may arrive on the same node: all that one pod can take is
# a half. What it can send to one other pod, a quarter, does not fill that pod's listener either.
LEAVING, ARRIVING = 8, 3
_ARRIVING = "inbound/"


def resource(listeners: Iterable[str], connections: int) -> discovery_pb2.Resource:
    """The bounds of the listeners named, in an Envoy that can hold so many connections."""
    layer = rtds_pb2.Runtime(name=NAME)
    names = sorted(listeners)
    for name in names:
        part = ARRIVING if name.startswith(_ARRIVING) else LEAVING
        layer.layer[f"envoy.resource_limits.listener.{name}.connection_limit"] = max(1, connections // part)
    version = hashlib.blake2b("\n".join([str(connections), *names]).encode(), digest_size=8).hexdigest()
    answer = discovery_pb2.Resource(name=NAME, version=version)
    answer.resource.Pack(layer)
    return answer
