"""What is asked and answered, as values; field names are those of the JSON that commands print."""

import msgspec

from retic import findings as report
from retic.explain.request import answer
from retic.telemetry import calls


class _Request(msgspec.Struct, frozen=True, tag_field="ask"):
    pass


class AskPs(_Request, frozen=True, tag="ps"):
    """Pods, services, gateways, processes and findings."""


class AskVersion(_Request, frozen=True, tag="version"):
    """The running mesh's and its Envoys' versions."""


class AskFindings(_Request, frozen=True, tag="findings"):
    """The findings as they are now."""


class AskFollow(_Request, frozen=True, tag="follow"):
    """The findings now and after each change: a stream."""


class AskWhy(_Request, frozen=True, tag="why"):
    """What an xDS resource was made from."""

    resource: str


class AskExplain(_Request, frozen=True, tag="explain"):
    """What becomes of a request."""

    asked: answer.Asked


class AskResponse(_Request, frozen=True, tag="response"):
    """What became of the request whose answer had this id."""

    id: str


class AskFailed(_Request, frozen=True, tag="failed"):
    """The newest requests that failed, so many; of a caller such as deploy/web and a namespace, "" for all."""

    last: int
    source: str = ""
    namespace: str = ""


class AskConverged(_Request, frozen=True, tag="converged"):
    """Wait, up to so many seconds, until every proxy has acknowledged its configuration."""

    seconds: float


class AskProxy(_Request, frozen=True, tag="proxy"):
    """What one Envoy has: `proxy` is a node's name or gateway/NS/NAME, `section` one of SECTIONS or ""."""

    proxy: str
    section: str = ""


class AskPolicies(_Request, frozen=True, tag="policies"):
    """Authorization policies, for whom each is, and what those that only count have counted."""


class AskNumbers(_Request, frozen=True, tag="numbers"):
    """What every Envoy has counted of requests and connections; `namespace` is one of the mesh's, or "": all."""

    namespace: str = ""


class End(msgspec.Struct, frozen=True):
    """One end of a call. `kind` is workload, pod, gateway or service; a workload's name is without its kind."""

    kind: str
    namespace: str
    name: str


class AskTap(_Request, frozen=True, tag="tap"):
    """Requests and connections as they end, until the asker leaves: a stream of `Tapped`."""

    source: End | None = None
    destination: End | None = None
    namespace: str = ""
    wanted: calls.Wanted = calls.Wanted()
    shown: calls.Shown = calls.Shown()


class Tapped(msgspec.Struct, frozen=True, omit_defaults=True):
    """`pods`: so many report now; else `call`. `missed`: so many requests were not looked at or not told since the
    one before, since they came too fast."""

    pods: int | None = None
    call: calls.Call | None = None
    missed: int = 0


class AskRoot(_Request, frozen=True, tag="root"):
    """Which root signs, and how far a rotation is."""


class AskRotate(_Request, frozen=True, tag="rotate"):
    """Replace the root by a new one; a rotation that is under way goes on."""


class TrustedRoot(msgspec.Struct, frozen=True):
    """A trust domain of another authority, and the file (an absolute path) of its roots."""

    trust_domain: str
    file: str


class Accepted(msgspec.Struct, frozen=True):
    """The trust domains that are accepted beside the mesh's own: those that its own root signs for, and others."""

    aliases: tuple[str, ...] = ()
    roots: tuple[TrustedRoot, ...] = ()


class AskAccepted(_Request, frozen=True, tag="accepted"):
    """Which trust domains are accepted; with `change`, these from now on."""

    change: Accepted | None = None


Request = (
    AskPolicies | AskPs | AskVersion | AskFindings | AskFollow | AskWhy | AskExplain | AskResponse | AskFailed
    | AskConverged | AskProxy | AskRoot | AskRotate | AskAccepted | AskNumbers | AskTap
)


class Numbers(msgspec.Struct, frozen=True):
    """One Envoy's, as its Prometheus page; `proxy` is the name that a user knows it by."""

    proxy: str
    text: str


SECTIONS = ("listeners", "routes", "clusters", "endpoints", "secrets", "stats")


class Pod(msgspec.Struct, frozen=True):
    """One pod. `ip` and `node` are "" while it has none.

    `status` is the word of kubectl's column of that name (Running, Completed, CrashLoopBackOff ...), `phase`
    the pod's own: Pending, Running, Succeeded, Failed.
    """

    namespace: str
    name: str
    node: str
    ip: str
    service_account: str
    ready: bool
    status: str = ""
    phase: str = ""
    restarts: int = 0


class Port(msgspec.Struct, frozen=True):
    """A port of a service."""

    name: str
    port: int
    protocol: str


class Service(msgspec.Struct, frozen=True):
    """One service. `address` is its virtual address, "None" when headless, its name when external."""

    namespace: str
    name: str
    type: str
    address: str
    ports: tuple[Port, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    """A gateway's port and the host's address (127.0.0.1:PORT) where it is reached."""

    port: int
    address: str


class Gateway(msgspec.Struct, frozen=True):
    """One gateway."""

    namespace: str
    name: str
    listeners: tuple[Listener, ...] = ()


class Process(msgspec.Struct, frozen=True):
    """One process, by its role in the mesh; `pid` is the host's."""

    role: str
    name: str
    pid: int


class Ps(msgspec.Struct, frozen=True):
    """Everything that `retic ps` shows."""

    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    processes: tuple[Process, ...] = ()
    findings: tuple[report.Finding, ...] = ()


class MeshPod(Pod, frozen=True, kw_only=True):
    """One pod on a cluster. `mesh`: how it stands with the mesh, one of `explain.belonging.State`, `why` more of it.

    `plaintext`: open connections that are older than its enrolment; None when that may not be read.
    """

    mesh: str
    why: str = ""
    plaintext: int | None = None


class MeshGateway(Gateway, frozen=True, kw_only=True):
    """One gateway on a cluster, where `listeners` have an entry for each address in its status.

    `live`: whether all of its proxies have it as it stands now, `progress` how far they are, or what is missing.
    """

    live: bool
    progress: str


class Node(msgspec.Struct, frozen=True):
    """What the agent of a node last said. `time` is RFC 3339; `plaintext` counts connections."""

    name: str
    retic: str
    envoy: str
    captured: int
    plaintext: int
    time: str


class ClusterPs(Ps, frozen=True, kw_only=True):
    """Everything that `retic ps` shows of a cluster.

    `reasons`: what events say of pods that are not in the mesh or not ready; `unseen`: rights that are missing for
    more, `unjudged`: objects without findings because of that.
    """

    nodes: tuple[Node, ...] = ()
    reasons: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True):
    """An AuthorizationPolicy: for how many pods and gateways it is, and what was counted of requests and connections
    since their proxies began; None where nothing is counted, or where that could not be read.

    `matched`: what an AUDIT or CUSTOM policy matched, or a DENY policy on trial; `would_allow` and `would_deny`: what
    an ALLOW policy on trial would have let pass or refused. `file` and `line` are "" and 0 where it is in no file.
    `unread`: the fields that cannot be read; where these are more than parts of rules, `closed`: it denies everything.
    """

    namespace: str
    name: str
    action: str
    dry_run: bool
    provider: str
    pods: int
    gateways: int
    matched: int | None = None
    would_allow: int | None = None
    would_deny: int | None = None
    file: str = ""
    line: int = 0
    closed: bool = False
    unread: tuple[str, ...] = ()


class Root(msgspec.Struct, frozen=True):
    """How far a rotation is. `signer` and `next` are fingerprints; `ends` is when the old root goes, RFC 3339.

    `missing` are the proxies' agents that have not confirmed the new root; `ordered`: it has yet to begin.
    """

    phase: str
    signer: str
    next: str = ""
    ends: str = ""
    missing: tuple[str, ...] = ()
    ordered: bool = False


class Version(msgspec.Struct, frozen=True):
    """The running control plane's version and its Envoys', each once."""

    retic: str
    envoy: str


class Converged(msgspec.Struct, frozen=True):
    """Whether every proxy has acknowledged its configuration; the reasons when not.

    `sent`: resources that the proxies were sent since they connected.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    sent: int = 0
