"""The discovery protocol's state for one stream, delta and state-of-the-world, for both ends.

State machines: synchronous, without I/O, clock or bytes of resources. `delta` and `sotw` are the server's
end, `subscriber` the client's; `kinds` has the type URLs and the order among them. What a resource means is
not known here.
"""

from retic.xds.encoded import Bytes, Client, Encoded, encode
from retic.xds.kinds import CLUSTER, ENDPOINTS, FILTER, LISTENER, ROUTES, SECRET, WILDCARD
from retic.xds.ledger import GONE, Refusal, Refused, UnavailableError
from retic.xds.request import MalformedError, Node, Received, TooManyError

__all__ = [
    "CLUSTER",
    "ENDPOINTS",
    "FILTER",
    "GONE",
    "LISTENER",
    "ROUTES",
    "SECRET",
    "WILDCARD",
    "Bytes",
    "Client",
    "Encoded",
    "MalformedError",
    "Node",
    "Received",
    "Refusal",
    "Refused",
    "TooManyError",
    "UnavailableError",
    "encode",
]
