"""The words that proxies' configuration and the readers of what proxies say share: names of stats, the order of the
labels in their one tag, keys of filter state, the switch of a pod's access log.

Envoy keeps each label of each metric of each listener as a piece of configuration and formats it anew for each metric
of each request. So all labels of a stat are one tag, packed in the order that stands here, with what is the same for
the whole listener written into it as text.
"""

import enum
import re

PREFIX = "retic"
"""What all stats begin with."""
TAG = "l"
CODE_HEADER, ID_HEADER = "x-retic-code", "x-retic-id"
"""What a proxy's own answer carries. No application's answer leaves its pod with them."""
SEPARATOR = " "
"""What no value has: names, identities, flags and details are without spaces."""
READ, WRITE, OTHER = "read", "write", "other"
"""The classes of methods: GET, HEAD, OPTIONS and TRACE; POST, PUT, PATCH and DELETE; all others."""
ABSENT = "-"
"""What Envoy writes for a value that is not there."""


class Stat(enum.StrEnum):
    """The stats, without their prefix. Durations are in microseconds, sizes in bytes."""

    REQUESTS = "requests"
    DURATION = "duration"
    REQUEST_BYTES = "request_bytes"
    RESPONSE_BYTES = "response_bytes"
    CONNECTIONS = "connections"
    RECEIVED = "received"
    SENT = "sent"


_MICROSECONDS = tuple(
    round(each * 1000)
    for each in (0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 75, 100, 150, 250, 500, 1e3, 2500, 5e3, 1e4, 3e4, 6e4, 3e5)
)
_BYTES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30)
BUCKETS = {Stat.DURATION: _MICROSECONDS, Stat.REQUEST_BYTES: _BYTES, Stat.RESPONSE_BYTES: _BYTES}
"""The upper bounds of histograms' buckets."""


class Reporter(enum.StrEnum):
    """Whose proxy counted."""

    SOURCE = "source"
    DESTINATION = "destination"


class Field(enum.IntEnum):
    """The places of a packed tag. Only REQUESTS has all; CONNECTIONS ends with DETAILS, other counters of connections
    with FLAGS; histograms have GRPC, which tells gRPC from other requests, behind FLAGS.

    WORKLOAD and PRINCIPAL are the reporting pod's, `PEER_PRINCIPAL` the other side's. LINK is the other side's
    workload, `LINK_SEPARATOR` and the called Service; at the destination what the caller's proxy said in `PEER_HEADER`.
    Workloads and Services are `namespace/name`. DETAILS are Envoy's response code details, or why a connection was
    ended. METHOD is the method's first letter: it tells its class, and a client that invents methods makes no series of
    each.
    """

    REPORTER = 0
    WORKLOAD = 1
    PRINCIPAL = 2
    PEER_PRINCIPAL = 3
    LINK = 4
    PROTOCOL = 5
    FLAGS = 6
    CODE = 7
    DETAILS = 8
    METHOD = 9
    GRPC = 10


LINK_SEPARATOR = ";"

PEER_HEADER = "retic-peer"
"""What a proxy tells the next one about who calls and which Service was called; no application sees or sets it."""

WORKLOAD_STATE = "retic.workload"
POD_STATE = "retic.pod"
PEER_STATE = "retic.peer"
"""Filter state: the pod's own workload and uid (of its connections), and of a request that arrives by mTLS the
fields from PEER_PRINCIPAL to PROTOCOL."""
HEADERS_STATE = "retic.headers"
"""Filter state of a request: the headers that somebody wants to see, each as name, : and value, with LINE between."""
LINE = "\n"
"""What no header's value has."""
LONGEST_HEADER = 1024  # letters of a header's value

TRACE_METADATA, TRACE_KEY = "retic.trace", "span"
"""Dynamic metadata of a request that is traced: its trace's id, its span's, and that of the span's parent ("" for
none), in hexadecimal with - between them."""

METADATA = "retic"
SERVICE_KEY, WORKLOAD_KEY = "service", "workload"
"""Where a cluster's metadata says which Service it is, and an endpoint's which workload; as namespace/name."""


REPORTED_RESPONSE_HEADERS = ("content-type", "grpc-status", "location", "retry-after", "server", "x-version")
"""The headers of an answer that a proxy reports: a listener never changes, so they are the same for all and for ever.
None of them may be a credential."""
MOST_HEADERS = 32
"""So many request headers of a namespace's calls are reported, beside what every entry has; which, may change."""


class Tag(enum.StrEnum):
    """Custom tags of access log entries: the called Service, as in `Field.LINK` of the source, the identity (SPIFFE ID)
    that the server's certificate had, and the protocol, which connections of requests have too."""

    SERVICE = "service"
    SERVER = "server"
    PROTOCOL = "protocol"
    ID = "id"


UNREADABLE, NO_PROBE = "unreadable ", " (no probe)"
"""In the names of rules that Envoy notes: how that one begins which refuses what has two readings, before what it is
(path, host, method); how a rule's ends for those that are not exempt as probes."""

NOWHERE = "255.255.255.255:1"
"""Where refused connections are passed on to: no TCP connection can be made to it, which the kernel says without
sending anything."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether it could be the id of an answer (Envoy's %UNIQUE_ID%)."""
    return _ID.fullmatch(text) is not None


SWITCHES = "retic.report."


def switch(pod_uid: str) -> str:
    """The runtime key by which every request of a pod is reported, not only the failed ones: percent, 0 to 100."""
    return SWITCHES + pod_uid
