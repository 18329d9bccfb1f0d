"""Core kinds that are no pods: Namespace, Node, ServiceAccount, ConfigMap, Secret, Service.

A Secret's values never appear in its repr; whoever needs them reads `data`.
"""

from typing import Annotated, Any

import msgspec

from retic.objects import forms, meta


class Namespace(meta.Object, frozen=True):
    """A namespace; only its name, labels and annotations are read."""


class NodeSpec(meta.Part, frozen=True):
    """Which addresses a node's pods have. From `taints` on: read to say that it has no effect in local mode."""

    pod_cidr: str | None = None
    pod_cidrs: tuple[str, ...] = ()
    taints: tuple[forms.Raw, ...] = ()
    unschedulable: bool | None = None


class NodeAddress(meta.Part, frozen=True):
    """One of a node's own addresses: an IP or, by its `type`, a name."""

    type: str
    address: str


class NodeStatus(meta.Part, frozen=True):
    """What a node's kubelet says of it."""

    addresses: tuple[NodeAddress, ...] = ()


class Node(meta.Object, frozen=True):
    """A node; its labels tell zone and region."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServiceAccount(meta.Object, frozen=True):
    """A service account: the holder of a workload identity."""


_Data = Annotated[dict[str, str], forms.Entries(key=forms.DATA_KEY)]
_BinaryData = Annotated[dict[str, bytes], forms.Entries(key=forms.DATA_KEY)]

_SecretData = Annotated[dict[str, bytes], forms.Entries(key=forms.DATA_KEY), forms.Redacted()]
_SecretText = Annotated[dict[str, str], forms.Entries(key=forms.DATA_KEY), forms.Redacted()]


class ConfigMap(meta.Object, frozen=True):
    """Settings: text in `data`, bytes (base64 in JSON) in `binary_data`."""

    data: _Data = msgspec.field(default_factory=dict)
    binary_data: _BinaryData = msgspec.field(default_factory=dict)
    immutable: bool | None = None


class Secret(meta.Object, frozen=True):
    """Secret values, decoded from base64. After defaults `string_data` is merged into `data` and empty."""

    type: str | None = None
    data: _SecretData = msgspec.field(default_factory=dict)
    string_data: _SecretText = msgspec.field(default_factory=dict)
    immutable: bool | None = None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Name, type and keys; never a value, nor annotations (kubectl keeps whole manifests there)."""
        return [
            ("name", self.metadata.name),
            ("namespace", self.metadata.namespace),
            ("type", self.type),
            ("keys", sorted({*self.data, *self.string_data})),
        ]

    def __repr__(self) -> str:
        return f"Secret({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class ServicePort(meta.Part, frozen=True):
    """One port of a Service. `target_port` is a number or a container port's name."""

    port: forms.Port
    name: Annotated[str | None, forms.LABEL] = None
    protocol: forms.Protocol | None = None
    target_port: forms.PortReference | None = None
    node_port: forms.NodePort | None = None
    app_protocol: str | None = None


class ClientIPConfig(meta.Part, frozen=True):
    """How long a client sticks to an endpoint, in seconds."""

    timeout_seconds: Annotated[int | None, forms.Range(1, 86400)] = None


class SessionAffinityConfig(meta.Part, frozen=True):
    """The settings of session affinity."""

    client_ip: ClientIPConfig | None = None


_Family = Annotated[str, forms.one_of("IPv4", "IPv6")]
_Traffic = forms.one_of("Cluster", "Local")


class ServiceSpec(meta.Part, frozen=True):
    """What a Service selects and where it is reached. `cluster_ip` "None" makes it headless."""

    type: Annotated[str | None, forms.one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")] = None
    cluster_ip: str | None = None
    cluster_ips: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    selector: forms.Labels = msgspec.field(default_factory=dict)
    external_name: Annotated[str | None, forms.SUBDOMAIN_DOT] = None
    external_ips: tuple[str, ...] = ()
    publish_not_ready_addresses: bool | None = None
    ip_families: tuple[_Family, ...] = ()
    ip_family_policy: Annotated[
        str | None, forms.one_of("SingleStack", "PreferDualStack", "RequireDualStack")
    ] = None
    session_affinity: Annotated[str | None, forms.one_of("None", "ClientIP")] = None
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: Annotated[str | None, _Traffic] = None
    external_traffic_policy: Annotated[str | None, _Traffic] = None
    traffic_distribution: Annotated[
        str | None, forms.one_of("PreferClose", "PreferSameZone", "PreferSameNode")
    ] = None


class Service(meta.Object, frozen=True):
    """A Service."""

    spec: ServiceSpec = ServiceSpec()
