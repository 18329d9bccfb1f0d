"""The two sets of ports that an Envoy may have inside a pod, so that the next one can open its own beside it.

The control plane knows the first set only. Which set an Envoy has is its agent's business: the relay rewrites
the port of the listeners that it passes on, and nothing else of them. Both sets are the proxy's everywhere.
"""

import msgspec
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2


class Ports(msgspec.Struct, frozen=True):
    """Where one Envoy listens in a pod: outgoing connections, those nobody looks into, incoming ones."""

    outbound: int
    opaque: int
    inbound: int

    @property
    def all(self) -> frozenset[int]:
        """The three of them."""
        return frozenset({self.outbound, self.opaque, self.inbound})


FIRST = Ports(15001, 15002, 15006)
SECOND = Ports(15101, 15102, 15106)
EVERY = FIRST.all | SECOND.all


def other(ports: Ports) -> Ports:
    """The other set."""
    return SECOND if ports == FIRST else FIRST


def moved(resource: bytes, ports: Ports) -> bytes:
    """A serialized discovery Resource of a listener, its port that of `ports`; others stay as they are."""
    if ports == FIRST:
        return resource
    wrapped = discovery_pb2.Resource.FromString(resource)
    listener = listener_pb2.Listener.FromString(wrapped.resource.value)
    address = listener.address.socket_address
    there = dict(zip(msgspec.structs.astuple(FIRST), msgspec.structs.astuple(ports), strict=True))
    if not address.network_namespace_filepath or address.port_value not in there:
        return resource
    address.port_value = there[address.port_value]
    wrapped.resource.value = listener.SerializeToString(deterministic=True)
    return wrapped.SerializeToString()
