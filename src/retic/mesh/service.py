"""Services, workloads and endpoints as Envoy-neutral values."""

import enum

import msgspec


class Protocol(enum.Enum):
    """What a port's traffic is. AUTO is found out from the first bytes; OPAQUE is never looked at."""

    AUTO = "auto"
    HTTP1 = "http1"
    HTTP2 = "http2"
    OPAQUE = "opaque"


class Port(msgspec.Struct, frozen=True):
    """A Service's port."""

    number: int
    name: str
    protocol: Protocol


class Service(msgspec.Struct, frozen=True):
    """A Service that has a virtual address ("" when it is headless)."""

    namespace: str
    name: str
    address: str
    ports: tuple[Port, ...]


class State(enum.IntEnum):
    """Whether an endpoint gets requests: READY ones do; SERVING ones (they end) when nobody is ready."""

    READY = 0
    SERVING = 1
    AWAY = 2


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """Where a Service's port can be reached.

    `account` and `namespace` are those of the pod there, "" where no pod has the address. `secured` says that it
    takes the mesh's TLS, any other is reached in plaintext. `node` is "" where none is known. `workload` is what the
    pod belongs to, as namespace/name.
    """

    address: str
    port: int
    zone: str
    account: str
    namespace: str
    secured: bool
    state: State = State.READY
    node: str = ""
    workload: str = ""


class Reach(enum.Enum):
    """Whose endpoints a caller is led to: of its zone first; of its node first, then its zone; or of its node only."""

    ZONE_FIRST = "zone first"
    NODE_FIRST = "node first"
    NODE_ONLY = "node only"


class Balancing(msgspec.Struct, frozen=True):
    """How a Service wants its callers led: `sticky`, each address to an endpoint of its own."""

    reach: Reach = Reach.ZONE_FIRST
    sticky: bool = False


def within(endpoints: tuple[Endpoint, ...], reach: Reach, node: str) -> tuple[Endpoint, ...]:
    """The endpoints that callers of the node may get, whatever their state."""
    return tuple(e for e in endpoints if reach is not Reach.NODE_ONLY or e.node == node)


def usable(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints that get requests now (discovery/v1, EndpointConditions)."""
    best = min((e.state for e in endpoints), default=State.AWAY)
    return tuple(e for e in endpoints if e.state is best) if best is not State.AWAY else ()


class Account(msgspec.Struct, frozen=True, order=True):
    """A service account: what a SPIFFE ID is made of."""

    namespace: str
    name: str


class Role(enum.Enum):
    """What a pod is to the mesh: meant for it, left out of it, a gateway, or a stranger (host network)."""

    WORKLOAD = "workload"
    OUTSIDE = "outside"
    GATEWAY = "gateway"
    STRANGER = "stranger"


class Workload(msgspec.Struct, frozen=True):
    """A pod as the mesh sees it. `captured`: its node's proxy takes the connections that are made to it. `workload`
    is the name of what it is a pod of (`owners`)."""

    uid: str
    namespace: str
    name: str
    node: str
    address: str
    account: str
    role: Role
    captured: bool = True
    workload: str = ""

    @property
    def belongs_to(self) -> str:
        """`workload` with its namespace, as proxies tell of it."""
        return f"{self.namespace}/{self.workload}"

    @property
    def secured(self) -> bool:
        """Whether others reach the pod by the mesh's TLS: as long as it is captured, leaving or not."""
        return self.captured and self.role in (Role.WORKLOAD, Role.OUTSIDE)

    @property
    def served(self) -> bool:
        """Whether its node's proxy has listeners for the pod: it is meant for the mesh, or not released yet."""
        return self.role is Role.WORKLOAD or self.secured
