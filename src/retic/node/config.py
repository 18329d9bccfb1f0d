"""What an agent is told at its start: one JSON file, read once."""

import enum
import pathlib

import msgspec

from retic.identity import spiffe
from retic.node import redirect

MAX_SOCKET_PATH = 107  # bytes, sun_path of Linux


class Role(enum.StrEnum):
    """A node's agent enrols pods; a gateway's has none, and one identity of its own."""

    NODE = "node"
    GATEWAY = "gateway"


class Enrolment(enum.StrEnum):
    """Who says which pods there are: the laptop's cluster at the agent's socket, or the control plane's list."""

    LOCAL = "local"
    CLUSTER = "cluster"


class Cni(msgspec.Struct, frozen=True):
    """The node's folders for network plugins, as the agent sees them, and our own plugin's file.

    `socket` is the path of the agent's socket on the host.
    """

    conf: pathlib.Path
    bin: pathlib.Path
    plugin: pathlib.Path
    socket: pathlib.Path
    exclude: tuple[str, ...] = ("kube-system", "retic-system")


class Config(msgspec.Struct, frozen=True):
    """agent.json. `control` is host:port of discovery and Sign; `enrol` of Enroll, by default the next port.

    `logs` is by default the folder `logs` two above `folder`. `heap_bytes` bounds Envoy's heap.
    `identities` are SPIFFE ids to hold whatever the pods: a gateway's.

    An Envoy that was replaced has `drain_seconds` for its connections to end; then they are cut. On SIGTERM a
    node's agent goes on for up to `handover_seconds`, for its successor to take over. An Envoy that holds more
    than `reclaim_share` of `heap_bytes` is replaced; 0: never.

    With `enrolment` cluster, `netns_dir` is this agent's to mount pods' namespaces in, `cni_socket` is where the CNI
    plugin asks (by default `cni.sock` in `folder`), `ready_file` is there while the agent is in charge, and `cni` says
    where the plugin is installed; without it nothing is. `pod` is the uid of the agent's own pod, to which its
    certificate is bound.

    Access logs are written to `access_log`, by default to the standard output.

    What has been counted is served by HTTPS at `metrics_port` of all addresses; 0: nowhere. Names of Services end with
    `cluster_domain` there.

    What Envoy has counted of somebody is forgotten when it has not grown for `forget_seconds`, a multiple of 5.
    """

    id: str
    role: Role
    control: str
    trust_domain: str
    root_file: pathlib.Path
    token_file: pathlib.Path
    folder: pathlib.Path
    zone: str = ""
    netns_dir: str = ""
    envoy: str = ""
    concurrency: int = 1
    pod_networks: tuple[str, ...] = ("10.244.0.0/16",)
    service_network: str = "10.96.0.0/16"
    dns: str = "10.96.0.10"
    enrol: str = ""
    logs: pathlib.Path | None = None
    heap_bytes: int = 2 << 30
    identities: tuple[str, ...] = ()
    drain_seconds: float = 600.0
    handover_seconds: float = 0.0
    reclaim_share: float = 0.8
    enrolment: Enrolment = Enrolment.LOCAL
    cni_socket: pathlib.Path | None = None
    ready_file: pathlib.Path | None = None
    cni: Cni | None = None
    pod: str = ""
    forget_seconds: int = 600
    access_log: pathlib.Path | None = None
    metrics_port: int = 0
    cluster_domain: str = "cluster.local"

    @property
    def identity(self) -> spiffe.Client:
        """The agent's own SPIFFE id."""
        return spiffe.client(self.trust_domain, self.id)

    @property
    def enrol_address(self) -> str:
        """Where Enroll is served."""
        if self.enrol:
            return self.enrol
        host, _, port = self.control.rpartition(":")
        return f"{host}:{int(port) + 1}"

    @property
    def log_folder(self) -> pathlib.Path:
        """Where Envoy's log file is."""
        return self.logs or self.folder.parent.parent / "logs"

    @property
    def redirection(self) -> redirect.Config:
        """What the rules inside pods are made from."""
        return redirect.Config(mesh_networks=(*self.pod_networks, self.service_network), dns=self.dns)

    @property
    def netns_folder(self) -> pathlib.Path:
        """Where this agent mounts pods' namespaces on a cluster."""
        return pathlib.Path(self.netns_dir)

    def socket(self, name: str) -> pathlib.Path:
        """The path of one of the agent's sockets. ValueError when Linux could not take it."""
        return fitting(self.folder / f"{name}.sock")


def fitting(path: pathlib.Path) -> pathlib.Path:
    """The path of a socket. ValueError when Linux could not take it."""
    if len(str(path).encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"{path} is longer than {MAX_SOCKET_PATH} bytes: choose a shorter state folder")
    return path


def decode_path(wanted: type, value: object) -> pathlib.Path:
    """msgspec's hook for the paths in a Config."""
    if wanted is not pathlib.Path or not isinstance(value, str):
        raise ValueError(f"a path is a string, not {value!r}")
    return pathlib.Path(value)


def load(file: pathlib.Path) -> Config:
    """The configuration in the file. ValueError (of msgspec or SPIFFE) naming what is wrong with it."""
    config = msgspec.json.decode(file.read_bytes(), type=Config, dec_hook=decode_path)
    check(config)
    return config


def check(config: Config) -> None:
    """ValueError (also of SPIFFE) naming what is wrong with it."""
    if config.concurrency < 1:
        raise ValueError("concurrency must be at least 1")
    if min(config.drain_seconds, config.handover_seconds) < 0 or not 0 <= config.reclaim_share < 1:
        raise ValueError("drain_seconds and handover_seconds are 0 or more, reclaim_share from 0 to below 1")
    if not 0 <= config.metrics_port < 1 << 16:
        raise ValueError(f"metrics_port is from 0 to 65535, not {config.metrics_port}")
    if config.forget_seconds < 5 or config.forget_seconds % 5:
        raise ValueError("forget_seconds is a multiple of 5, and 5 or more")
    if not config.folder.is_absolute():
        raise ValueError(f"folder must be an absolute path, not {config.folder}")
    if config.enrolment is Enrolment.CLUSTER and not config.netns_folder.is_absolute():
        raise ValueError(f"netns_dir must be an absolute path, not {config.netns_dir!r}")
    _ = config.identity, config.enrol_address, [spiffe.parse(one) for one in config.identities]


def envoy_log(agent: str) -> str:
    """The name of an Envoy's log file, by its agent's folder."""
    return f"envoy-{agent}.log"


def access_log(agent: str) -> str:
    """The name of an agent's access log on a machine, by its agent's folder."""
    return f"access-{agent}.log"
