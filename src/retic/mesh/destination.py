"""What a DestinationRule asks of connections, as Envoy-neutral values. None leaves a thing to the mesh.

Times are seconds, counts are of what is under way at once from one proxy, whichever pod it is for.
"""

import enum

import msgspec

from retic import findings
from retic.mesh import service


class Algorithm(enum.Enum):
    """How a pod is chosen."""

    ROUND_ROBIN = "round robin"
    LEAST_REQUEST = "least request"
    RANDOM = "random"
    RING_HASH = "ring hash"
    MAGLEV = "Maglev"


class By(enum.Enum):
    """What requests are told apart by, where the same one goes to the same pod."""

    HEADER = "header"
    COOKIE = "cookie"
    SOURCE = "source address"
    QUERY = "query parameter"


class Hash(msgspec.Struct, frozen=True):
    """`ttl` of a cookie that the proxy makes where a request has none; None: it makes none; 0: for a session."""

    by: By
    name: str = ""
    path: str = ""
    ttl: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.by.value} {self.name}" if self.name else self.by.value


class WarmUp(msgspec.Struct, frozen=True):
    """A new pod's share grows for so long, from `least` in a hundred of it; `aggression` 1 is a straight line."""

    seconds: float
    least: float = 10.0
    aggression: float = 1.0


class Locality(msgspec.Struct, frozen=True, order=True):
    """A region and a zone of it; "" for what is not known, and in a pattern for any."""

    region: str = ""
    zone: str = ""

    def covers(self, other: "Locality") -> bool:
        """Whether another locality is meant by this pattern."""
        return self.region in ("", other.region) and self.zone in ("", other.zone)

    def __str__(self) -> str:
        return f"{self.region or '*'}/{self.zone or '*'}"


class Share(msgspec.Struct, frozen=True):
    """Of the calls from a locality, so many in a hundred to others. Those that are not named get none."""

    caller: Locality
    to: tuple[tuple[Locality, int], ...]


class Localities(msgspec.Struct, frozen=True):
    """Who calls where. Without any of it: the caller's own zone as long as it has endpoints, then all others.

    `failover`: pairs of regions, which is next for which. `labels`: pairs of a label and its value, "" for the
    caller's own; endpoints that have the first ones go before those that do not.
    """

    is_preferred: bool = True
    shares: tuple[Share, ...] = ()
    by_region: bool = False
    failover: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Balancer(msgspec.Struct, frozen=True):
    """`size`: places of the ring at least, or of Maglev's table; 0: the usual number."""

    algorithm: Algorithm = Algorithm.LEAST_REQUEST
    hash: Hash | None = None
    size: int = 0
    warm_up: WarmUp | None = None
    localities: Localities | None = None


class Keepalive(msgspec.Struct, frozen=True):
    """Whole seconds, and how many unanswered probes end a connection."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


class Pool(msgspec.Struct, frozen=True):
    """Bounds. `idle` of a connection without requests; `per_connection` 0: any number of requests."""

    connections: int | None = None
    connect: float | None = None
    keepalive: Keepalive | None = None
    longest: float | None = None
    pending: int | None = None
    requests: int | None = None
    retries: int | None = None
    per_connection: int | None = None
    idle: float | None = None
    streams: int | None = None
    is_client_protocol: bool = False


class Outliers(msgspec.Struct, frozen=True):
    """When an endpoint is left out: after so many failures in a row, 0 for never.

    `local`: connections that fail are counted apart from answers, so many in a row. `most`: in a hundred of the
    endpoints; `panic`: with fewer in a hundred left, all of them are called again.
    """

    errors: int | None = None
    gateway_errors: int | None = None
    is_split: bool = False
    local: int | None = None
    interval: float | None = None
    base: float | None = None
    most: int | None = None
    panic: int | None = None


class Policy(msgspec.Struct, frozen=True):
    """What holds for one port of a Service, or of a subset. `is_encrypted`: never in plaintext, whoever is there."""

    balancer: Balancer | None = None
    pool: Pool | None = None
    outliers: Outliers | None = None
    is_encrypted: bool | None = None

    def overridden(self, by: "Policy") -> "Policy":
        """With what another one says in place of this one's, part by part, each part whole."""
        return Policy(
            self.balancer if by.balancer is None else by.balancer,
            self.pool if by.pool is None else by.pool,
            self.outliers if by.outliers is None else by.outliers,
            self.is_encrypted if by.is_encrypted is None else by.is_encrypted,
        )


class Levels(msgspec.Struct, frozen=True):
    """A policy, and those of single ports, which replace it wholly there (PortTrafficPolicy)."""

    whole: Policy = Policy()
    ports: tuple[tuple[int, Policy], ...] = ()

    def at(self, port: int) -> Policy | None:
        """What is said of that port alone, None when nothing is."""
        return next((policy for number, policy in self.ports if number == port), None)


class Subset(msgspec.Struct, frozen=True):
    """Pods with all of these labels."""

    name: str
    labels: tuple[tuple[str, str], ...]
    levels: Levels = Levels()


class Rule(msgspec.Struct, frozen=True):
    """A DestinationRule. `host` as it is written; `levels` None when it has no policy for the host as a whole.

    `exported`: namespaces, "." for its own, "*" for all, () for all. `is_selective`: for some callers' pods only.
    """

    origin: findings.Ref
    host: str
    levels: Levels | None
    subsets: tuple[Subset, ...]
    exported: tuple[str, ...]
    is_selective: bool
    age: str

    @property
    def is_pattern(self) -> bool:
        """Whether it is for several hosts."""
        return self.host.startswith("*")

    def visible(self, client: str) -> bool:
        """Whether callers of a namespace go by it, if nothing of their own goes before."""
        own = "." in self.exported and client == self.origin.namespace
        return not self.exported or "*" in self.exported or own or client in self.exported


class Group(msgspec.Struct, frozen=True):
    """Endpoints of one zone that are alike: priority 0 is called first; `weight` is the group's share within it."""

    zone: str
    priority: int
    weight: int
    endpoints: tuple[service.Endpoint, ...]
