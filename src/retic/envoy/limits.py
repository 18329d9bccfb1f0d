"""Ports, marks and bounds of the data plane, each with its reason; nothing else states one."""

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, socket_option_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import duration_pb2, wrappers_pb2

from retic.mesh import route

_Thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds
_LISTENING = socket_option_pb2.SocketOption.STATE_LISTENING

# Ports inside every pod's network namespace. Redirection and the refusal of endpoints use the same three, and a
# second set that agents put in their place while an Envoy is replaced (ADR 13).
OUTBOUND_PORT = 15001
OPAQUE_PORT = 15002
INBOUND_PORT = 15006

# Socket marks: what leaves the proxy for another pod, and what it sends to the pod's own application.
UPSTREAM_MARK = 0x539
APPLICATION_MARK = 0x53A

# Envoy's defaults stop a cluster at 1,024 connections, requests and waiting requests without a word, which a busy
# Service meets. These are met by faults only; a pod's own limit is its listeners' share, which the agent states
# (ADR 11). To the applications there is one cluster for all pods of a node, in which one pod's callers must not use
# up what others need: there only the memory counts (node.bootstrap).
SERVICE_CONNECTIONS = 50_000  # as many as an Envoy takes in at the most
SERVICE_REQUESTS = 50_000
SERVICE_WAITING = 10_000  # for a connection: 5 s of 2,000 requests a second to a server that does not answer
APPLICATION_BOUND = 100_000

# What is tried again without being asked for: requests whose method is idempotent (RFC 9110, section 9.2.2), once,
# and only while nothing of an answer has arrived. No more second attempts are under way at a time than a fifth of
# all requests that are, of the pods of one namespace on one node to one Service; though always ten, for a caller of
# few requests has no fifth, and a server that closes its idle connections fails as many as it had. Over a span of
# time Envoy 1.40 cannot count them: its `budget_interval` holds the retries of a moment against the requests of the
# span, and let 1,000 of 1,000 pass (ADR 29).
RETRY_METHODS = route.IDEMPOTENT
RETRIES = 1
RETRY_BUDGET_PERCENT = 20
RETRY_AT_A_TIME = 10
# How often the choice is made anew when it falls on an endpoint that was tried already: of two, once in 65,536 on the
# same all the time. With five it was one of a hundred.
RETRY_CHOICES = 15

# TCP has no requests: a connection that could not be made is tried once more, and nothing has been sent by then.
CONNECT_ATTEMPTS = 2

# When an endpoint is left out for a while: failures in a row, as this proxy has them, of whatever request or
# connection. A failure is a connection that cannot be made or ends before an answer, and 502, 503 or 504; an
# application's own 500 says nothing of the pod. At most half of a Service's endpoints at a time: when more fail, the
# rest would be given all of the load that brought the others down. One of one is more than half.
EJECT_FAILURES = 5
EJECT_SECONDS = 10  # times the number of times it has been left out
EJECT_MOST_SECONDS = 120
EJECT_LOOK_SECONDS = 2  # how often it is looked for those whose time is over
EJECT_MOST_PERCENT = 50
# Below this share of endpoints that are not left out, all get requests: not met by ours, which leave out half at the
# most, and met by the settings of others.
PANIC_PERCENT = 50

# When a peer is asked whether it is still there (TCP keep-alive), of connections without traffic, in seconds: a node
# that vanished without a word is noticed after 60 + 3 * 10. Less than the five minutes after which firewalls and
# address translation of clouds forget a connection.
PROBE_AFTER_SECONDS = 60
PROBE_EVERY_SECONDS = 10
PROBES = 3

# How long a connection may keep silent before it is taken for one where the server speaks first, in seconds.
# Ports known to be server-first never wait: the redirection sends them elsewhere.
SNIFF_SECONDS = 0.1

# How long an incoming connection may keep silent before it is taken for plaintext whose server speaks first, in
# seconds. The mesh's own TLS begins with the connection: a first segment that is lost twice still comes in time.
SILENT_SECONDS = 1.0

# How long a request may wait for a cluster that this proxy has not loaded yet, in seconds.
ON_DEMAND_SECONDS = 5

CONNECT_SECONDS = 5

# Places of a ring of hashes: at least (Istio's number), and at most: places are memory of a node's Envoy.
RING_PLACES = 1_024
RING_PLACES_AT_MOST = 65_536

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
# The same towards a server, which closes without asking. Of those in common use gunicorn waits shortest (2 s), then
# Node.js, uvicorn and Apache httpd (5 s); Puma and Tomcat have 20 s, nginx 75 s. A new connection to an application
# costs a tenth of a millisecond, for it does not leave the pod.
IDLE_SERVER_SECONDS = 1
# And where some endpoints are proxies and others servers, all in one cluster: a handshake of the mesh's TLS costs
# some milliseconds.
IDLE_MIXED_SECONDS = 4
READ_BUFFER_BYTES = 256 * 1024

# How long, in seconds, and how many bytes of them entries of the access log wait in Envoy before the agent gets them:
# who looks on sees a request within this time, and a burst of failures is a few messages.
REPORT_SECONDS = 0.25
REPORT_BYTES = 64 * 1024


def seconds(value: float) -> duration_pb2.Duration:
    """A Duration of `value` seconds, to the nanosecond."""
    whole = int(value)
    return duration_pb2.Duration(seconds=whole, nanos=round((value - whole) * 1e9))


def circuit_breakers(*, application: bool = False) -> circuit_breaker_pb2.CircuitBreakers:
    """The limits of a cluster (envoy.config.cluster.v3.CircuitBreakers): of a Service's, or of the applications'."""

    def most(number: int) -> wrappers_pb2.UInt32Value:
        return wrappers_pb2.UInt32Value(value=APPLICATION_BOUND if application else number)

    threshold = _Thresholds(
        max_connections=most(SERVICE_CONNECTIONS),
        max_pending_requests=most(SERVICE_WAITING),
        max_requests=most(SERVICE_REQUESTS),
        retry_budget=_Thresholds.RetryBudget(
            budget_percent=percent_pb2.Percent(value=RETRY_BUDGET_PERCENT),
            min_retry_concurrency=wrappers_pb2.UInt32Value(value=RETRY_AT_A_TIME),
        ),
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[threshold])


def ejection() -> outlier_detection_pb2.OutlierDetection:
    """When an endpoint of a Service is left out (envoy.config.cluster.v3.OutlierDetection)."""

    def number(value: int) -> wrappers_pb2.UInt32Value:
        return wrappers_pb2.UInt32Value(value=value)

    return outlier_detection_pb2.OutlierDetection(
        consecutive_gateway_failure=number(EJECT_FAILURES),
        enforcing_consecutive_gateway_failure=number(100),
        enforcing_consecutive_5xx=number(0),
        enforcing_success_rate=number(0),
        interval=seconds(EJECT_LOOK_SECONDS),
        base_ejection_time=seconds(EJECT_SECONDS),
        max_ejection_time=seconds(EJECT_MOST_SECONDS),
        max_ejection_percent=number(EJECT_MOST_PERCENT),
    )


def keep_alive() -> address_pb2.TcpKeepalive:
    """How a connection's peer is asked whether it is there (envoy.config.core.v3.TcpKeepalive)."""
    return address_pb2.TcpKeepalive(
        keepalive_time=wrappers_pb2.UInt32Value(value=PROBE_AFTER_SECONDS),
        keepalive_interval=wrappers_pb2.UInt32Value(value=PROBE_EVERY_SECONDS),
        keepalive_probes=wrappers_pb2.UInt32Value(value=PROBES),
    )


_SOL_SOCKET, _SO_KEEPALIVE, _IPPROTO_TCP = 1, 9, 6
_TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT = 4, 5, 6


def keep_alive_options() -> list[socket_option_pb2.SocketOption]:
    """The same for a listener: accepted connections inherit it from the listening socket (Linux, tcp(7))."""
    wanted = (
        (_SOL_SOCKET, _SO_KEEPALIVE, 1),
        (_IPPROTO_TCP, _TCP_KEEPIDLE, PROBE_AFTER_SECONDS),
        (_IPPROTO_TCP, _TCP_KEEPINTVL, PROBE_EVERY_SECONDS),
        (_IPPROTO_TCP, _TCP_KEEPCNT, PROBES),
    )
    return [
        socket_option_pb2.SocketOption(level=level, name=name, int_value=value, state=_LISTENING)
        for level, name, value in wanted
    ]
