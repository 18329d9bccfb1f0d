"""What can be set at an installation: `--set`, `-f values.yaml` and the chart's values, one struct for all.

The descriptions are the documentation: docs/reference/values.md, the chart's values.yaml and its schema are
made from them. Refuses what it does not know, with the nearest name.
"""

import enum
from importlib import metadata
from typing import Annotated, Any

import msgspec

from retic.install import names

VERSION = metadata.version("retic")
IMAGE = f"retic.dev/retic:{VERSION}"

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_DOMAIN = r"^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$"
_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_FOLDER = r"^/[^\s:]*$"

Quantity = Annotated[str, msgspec.Meta(pattern=_QUANTITY)]
Domain = Annotated[str, msgspec.Meta(pattern=_DOMAIN, max_length=255)]
Namespace = Annotated[str, msgspec.Meta(pattern=_LABEL, max_length=63)]


def _says(text: str, **bounds: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **bounds)


class Mode(enum.StrEnum):
    """What pods of the mesh accept."""

    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class LogLevel(enum.StrEnum):
    """The least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PullPolicy(enum.StrEnum):
    """When a node pulls the image (Container.imagePullPolicy)."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A group of values."""


class Amounts(_Part, frozen=True, omit_defaults=True):
    """Amounts of a container's resources, as Kubernetes writes them; one left out is not stated."""

    cpu: Annotated[Quantity | None, _says("Processors: 0.5 or 500m.")] = None
    memory: Annotated[Quantity | None, _says("Bytes: 128Mi, 1Gi.")] = None


class Resources(_Part, frozen=True):
    """What a container asks for, and what it may not exceed."""

    requests: Annotated[Amounts, _says("What the scheduler sets aside for it.")] = Amounts()
    limits: Annotated[Amounts, _says("What it may not exceed.")] = Amounts()


class SecretName(_Part, frozen=True):
    """The name of a Secret."""

    name: Annotated[str, _says("The Secret's name, in the namespace retic-system.")]


class TrustedRoot(_Part, frozen=True):
    """The authority of another trust domain."""

    trust_domain: Annotated[str, _says("The trust domain that it signs for.", pattern=_DOMAIN, max_length=255)]
    roots: Annotated[str, _says("Its root certificates, PEM.", pattern=r"^\s*-----BEGIN CERTIFICATE-----\s")]


class Controller(_Part, frozen=True):
    """The control plane: the Deployment retic-controller."""

    replicas: Annotated[
        int, _says("How many. One leads and writes statuses; all serve discovery.", ge=1, le=20)
    ] = 2
    resources: Annotated[Resources, _says("Of each replica.")] = Resources(
        requests=Amounts(cpu="100m", memory="192Mi"), limits=Amounts(memory="2Gi")
    )


class Node(_Part, frozen=True):
    """The node agent with its Envoy: the DaemonSet retic-node."""

    resources: Annotated[Resources, _says("Of the agent and the node's Envoy together.")] = Resources(
        requests=Amounts(cpu="100m", memory="192Mi"), limits=Amounts(memory="2Gi")
    )
    concurrency: Annotated[int, _says("Envoy's worker threads on each node.", ge=1, le=128)] = 2
    drain_seconds: Annotated[
        int,
        _says("Seconds that an Envoy which was replaced goes on serving the connections it has.", ge=1, le=3600),
    ] = 30
    netns_folder: Annotated[
        str,
        _says("Where the container runtime keeps the pods' network namespaces on the nodes.", pattern=_FOLDER),
    ] = "/run/netns"


class Cni(_Part, frozen=True):
    """Where the nodes' CNI configuration and plugins are."""

    conf_folder: Annotated[str, _says("The folder of the network configuration lists.", pattern=_FOLDER)] = (
        "/etc/cni/net.d"
    )
    bin_folder: Annotated[str, _says("The folder of the plugins' programs.", pattern=_FOLDER)] = "/opt/cni/bin"


class ServiceType(enum.StrEnum):
    """How a Service is reached (ServiceSpec.type)."""

    LOAD_BALANCER = "LoadBalancer"
    NODE_PORT = "NodePort"
    CLUSTER_IP = "ClusterIP"


class Gateway(_Part, frozen=True):
    """The Envoys that are made for Gateway objects."""

    replicas: Annotated[int, _says("Of each Gateway's Deployment.", ge=1, le=100)] = 1
    service_type: Annotated[ServiceType, _says("Of each Gateway's Service.")] = ServiceType.LOAD_BALANCER
    resources: Annotated[Resources, _says("Of each replica.")] = Resources(
        requests=Amounts(cpu="100m", memory="128Mi"), limits=Amounts(memory="1Gi")
    )


class Redis(_Part, frozen=True):
    """Where global rate limits are counted for all replicas of the control plane."""

    address: Annotated[
        str,
        _says(
            "redis://HOST:PORT/DATABASE, or rediss:// with TLS. Empty: each replica of the controller counts by "
            "itself, in memory.",
            pattern=r"^((redis|rediss)://[^@\s]+)?$",
        ),
    ] = ""
    secret: Annotated[
        str,
        _says(
            "A Secret of retic-system with its password (key password), user (username) and, for rediss, the roots of "
            "its certificate (ca.crt), each as far as there is one."
        ),
    ] = ""


class Metrics(_Part, frozen=True):
    """Where Prometheus reads."""

    port: Annotated[
        int,
        _says(
            "The TCP port of the nodes' own addresses, of the Gateways' pods and of the controller's, at which each "
            "serves what it has counted, by HTTPS, to whose token may get /metrics. 0: nowhere.",
            ge=0, le=65535, extra_json_schema={"not": {"enum": list(names.CONTROLLER_PORTS)}},
        ),
    ] = 15014


class RateLimits(_Part, frozen=True):
    """Global rate limits."""

    redis: Annotated[Redis, _says("Where they are counted.")] = Redis()


class Values(_Part, frozen=True):
    """Everything that can be set."""

    image: Annotated[str, _says("The one image of all parts.", min_length=1, pattern=r"^\S+$")] = IMAGE
    image_pull_policy: Annotated[PullPolicy, _says("When nodes pull it.")] = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Annotated[
        tuple[SecretName, ...], _says("Secrets for the image's registry, as a pod's imagePullSecrets.")
    ] = ()
    create_namespace: Annotated[
        bool,
        _says(
            "Whether the namespace retic-system is part of the installation. If not, make it beforehand with "
            "the label pod-security.kubernetes.io/enforce: privileged, which the node agent needs."
        ),
    ] = True
    mode: Annotated[
        Mode,
        _says(
            "PERMISSIVE: pods accept mTLS from the mesh, and plaintext from everybody else. STRICT: mTLS only, "
            "and the probes that a pod declares."
        ),
    ] = Mode.PERMISSIVE
    trust_domain: Annotated[
        str, _says("The first part of every SPIFFE id.", pattern=_DOMAIN, max_length=255)
    ] = "cluster.local"
    trust_domain_aliases: Annotated[
        tuple[Domain, ...],
        _says(
            "Other names of the trust domain: certificates of these are accepted too, if the mesh's own root signed "
            "them. For an exchange of the name: first the new one as an alias, then trustDomain, with the old one here."
        ),
    ] = ()
    trusted_roots: Annotated[
        tuple[TrustedRoot, ...],
        _says(
            "Other trust domains, each with the roots of its authority: callers with their certificates are let in. "
            "What such an authority signs counts for its own trust domain only, and as a SPIFFE id only."
        ),
    ] = ()
    cluster_domain: Annotated[
        str, _says("What the names of Services end with (kubelet's clusterDomain).", pattern=_DOMAIN)
    ] = "cluster.local"
    pod_networks: Annotated[
        tuple[str, ...], _says("The networks of pods, as CIDRs. Empty: found out from the nodes and the pods.")
    ] = ()
    service_networks: Annotated[
        tuple[str, ...],
        _says("The networks of Services, as CIDRs. Empty: found out from the cluster's ServiceCIDRs."),
    ] = ()
    certificate_lifetime: Annotated[
        int, _says("Seconds that workload certificates hold; renewed at half of it.", ge=30, le=31_536_000)
    ] = 86400
    exclude_namespaces: Annotated[
        tuple[Namespace, ...],
        _says("Namespaces that are never enrolled, whatever their label. kube-system and retic-system never are."),
    ] = ()
    log_level: Annotated[LogLevel, _says("The least severity that the controller and the agents log.")] = (
        LogLevel.INFO
    )
    priority: Annotated[
        int,
        _says("Of the PriorityClass of all parts: pods without them wait.", ge=-2_147_483_648, le=1_000_000_000),
    ] = 900_000_000
    controller: Annotated[Controller, _says("The control plane.")] = Controller()
    node: Annotated[Node, _says("The node agent.")] = Node()
    cni: Annotated[Cni, _says("Where the nodes' network plugins are.")] = Cni()
    gateway: Annotated[Gateway, _says("The Envoys made for Gateway objects.")] = Gateway()
    rate_limits: Annotated[RateLimits, _says("Global rate limits.")] = RateLimits()
    metrics: Annotated[Metrics, _says("Metrics for Prometheus.")] = Metrics()


class Setting(msgspec.Struct, frozen=True):
    """One value with what is said about it, for whoever prints them."""

    path: tuple[str, ...]
    description: str
    type: Any
    default: Any

    @property
    def name(self) -> str:
        """As `--set` has it."""
        return ".".join(self.path)


def settings(part: type[_Part] = Values, prefix: tuple[str, ...] = ()) -> tuple[Setting, ...]:
    """Every value that can be set, groups left out, in the order of the structs."""
    found: list[Setting] = []
    for field in msgspec.structs.fields(part):
        path = (*prefix, field.encode_name)
        inner = group(part, field.encode_name)
        if inner is not None:
            found.extend(settings(inner, path))
            continue
        found.append(
            Setting(path, describe(part, field.encode_name), plain(field.type), msgspec.to_builtins(field.default))
        )
    return tuple(_with_defaults(found, msgspec.json.decode(msgspec.json.encode(part()))) if not prefix else found)


def _with_defaults(found: list[Setting], defaults: dict[str, Any]) -> list[Setting]:
    """The defaults that hold at each place: a group's own may differ from its struct's."""
    return [msgspec.structs.replace(one, default=at(defaults, one.path)) for one in found]


def at(tree: Any, path: tuple[str, ...]) -> Any:
    """What is at a path in nested mappings; None when there is nothing."""
    for part in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(part)
    return tree


def describe(part: type[_Part], name: str) -> str:
    """What is said about a field of a group."""
    field = next(one for one in msgspec.structs.fields(part) if one.encode_name == name)
    kind = msgspec.inspect.type_info(field.type)
    extra = kind.extra_json_schema if isinstance(kind, msgspec.inspect.Metadata) else None
    return str((extra or {}).get("description", ""))


def plain(annotation: Any) -> Any:
    """A field's type without what is said about it."""
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def group(part: type[_Part], name: str) -> type[_Part] | None:
    """The struct of a field that is a group; None for a plain value."""
    field = next(one for one in msgspec.structs.fields(part) if one.encode_name == name)
    kind = msgspec.inspect.type_info(field.type)
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.StructType) and issubclass(kind.cls, _Part):
        return kind.cls
    return None


def builtins(values: Values) -> dict[str, Any]:
    """All values as plain mappings, lists and scalars, in the names of `--set`."""
    made = msgspec.to_builtins(values)
    assert isinstance(made, dict)
    return made
