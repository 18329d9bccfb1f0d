"""Ports, marks and bounds of the data plane, each with its reason; nothing else states one."""

from envoy.config.cluster.v3 import circuit_breaker_pb2
from google.protobuf import duration_pb2, wrappers_pb2

# Ports inside every pod's network namespace. Redirection and the refusal of endpoints use the same three, and a
# second set that agents put in their place while an Envoy is replaced (ADR 13).
OUTBOUND_PORT = 15001
OPAQUE_PORT = 15002
INBOUND_PORT = 15006

# Socket marks: what leaves the proxy for another pod, and what it sends to the pod's own application.
UPSTREAM_MARK = 0x539
APPLICATION_MARK = 0x53A

# Envoy's defaults stop a cluster at 1,024 connections and requests without a word. These are high enough to
# be met by faults only; a pod's own limit is its listeners' share, which the agent states (ADR 11).
_CLUSTER_BOUND = 100_000

# How long a connection may keep silent before it is taken for one where the server speaks first, in seconds.
# Ports known to be server-first never wait: the redirection sends them elsewhere.
SNIFF_SECONDS = 0.1

# How long an incoming connection may keep silent before it is taken for plaintext whose server speaks first, in
# seconds. The mesh's own TLS begins with the connection: a first segment that is lost twice still comes in time.
SILENT_SECONDS = 1.0

# How long a request may wait for a cluster that this proxy has not loaded yet, in seconds.
ON_DEMAND_SECONDS = 5

CONNECT_SECONDS = 5

# How long a pod's connection that this proxy ends waits for the pod to close its side too, in seconds. Envoy
# waits 1 s on each of the two proxies of a path, and a WebSocket client waits with it at every close. The
# pause lets the last answer be read before a reset could overtake it; inside a cluster this is ample.
CLOSE_SECONDS = 0.1

# How long a connection without requests is kept for the next one, in seconds. Connections are a pod's own: those
# of a pod that has ended keep its network namespace until then. The receiving proxy waits longer, so that the
# sender, which knows whether a request is about to leave, is always the one who closes; it does not wait for
# good, since a sender may vanish.
IDLE_SECONDS = 60
IDLE_PEER_SECONDS = 300
READ_BUFFER_BYTES = 256 * 1024

# How long, in seconds, and how many bytes of them entries of the access log wait in Envoy before the agent gets them:
# who looks on sees a request within this time, and a burst of failures is a few messages.
REPORT_SECONDS = 0.25
REPORT_BYTES = 64 * 1024


def seconds(value: float) -> duration_pb2.Duration:
    """A Duration of `value` seconds, to the nanosecond."""
    whole = int(value)
    return duration_pb2.Duration(seconds=whole, nanos=round((value - whole) * 1e9))


def circuit_breakers() -> circuit_breaker_pb2.CircuitBreakers:
    """The limits of every cluster (envoy.config.cluster.v3.CircuitBreakers)."""
    bound = wrappers_pb2.UInt32Value(value=_CLUSTER_BOUND)
    threshold = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=bound, max_pending_requests=bound, max_requests=bound, max_retries=bound
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold])
