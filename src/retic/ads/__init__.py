"""The discovery service: which client has what, ACK, NACK, convergence, over gRPC.

    server = ads.Server(graph, resource, names, scope, on_event)
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers(server.handlers())

It sees neither Kubernetes objects nor Envoy's messages: resources are bytes with a version, found by names.
A stream keeps names, versions and nonces, never bytes. See `server.Server`.
"""

from retic.ads.convergence import BOUNDS, Convergence
from retic.ads.counters import Counters
from retic.ads.event import Cleared, Connected, Disconnected, Event, Nack
from retic.ads.peer import Identify, UnidentifiedError, by_certificate
from retic.ads.server import SERVICE, Server
from retic.ads.stream import Progress

__all__ = [
    "BOUNDS",
    "SERVICE",
    "Cleared",
    "Connected",
    "Convergence",
    "Counters",
    "Disconnected",
    "Event",
    "Identify",
    "Nack",
    "Progress",
    "Server",
    "UnidentifiedError",
    "by_certificate",
]
