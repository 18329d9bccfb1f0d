"""Golden folders of the translation: from manifests and names to findings and resources, as text.

A case is a folder: `in.yaml` (manifests), `render` (a client id and a resource name in each line), and what
is expected: `findings.yaml` and `xds/NAME.yaml`, or `xds/CLIENT~NAME.yaml` for a name that an earlier line has
already. `settings.yaml` holds what differs from the mesh's defaults (`mesh.network.Settings`). There is no code in a
case.
"""

import json
import pathlib
from typing import Any

import msgspec
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from xds.type.v3 import typed_struct_pb2

from retic import graph, wiring, xds
from retic.envoy import clusters, filters, managers, names, resources, tls
from retic.explain import places
from retic.mesh import faults, network
from retic.sources import manifests

_CLASSES: dict[str, type[Message]] = {
    names.LISTENER: listener_pb2.Listener,
    names.ROUTES: route_pb2.RouteConfiguration,
    names.CLUSTER: cluster_pb2.Cluster,
    names.ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    names.SECRET: secret_pb2.Secret,
    names.FILTER: extension_pb2.TypedExtensionConfig,
    names.OPAQUE: typed_struct_pb2.TypedStruct,
}


def _settings(file: pathlib.Path) -> network.Settings:
    told = yaml.safe_load(file.read_text()) if file.exists() else {}
    return msgspec.convert(told, network.Settings)


class Case:
    """One folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.loaded = manifests.load([folder / "in.yaml"])
        self.db: graph.Graph = wiring.offline(
            [located.object for located in self.loaded.objects], _settings(folder / "settings.yaml")
        )

    def expected(self) -> dict[str, str]:
        """What the folder holds now, by path within it."""
        files = [self.folder / "findings.yaml", *sorted((self.folder / "xds").glob("*.yaml"))]
        return {str(f.relative_to(self.folder)): f.read_text() for f in files if f.exists()}

    def actual(self) -> dict[str, str]:
        """What it should hold, made anew."""
        answer = {"findings.yaml": self._findings()}
        for client, name, message in self._rendered():
            text = _dump(json_format.MessageToDict(message, preserving_proto_field_name=True))
            path = f"xds/{_file(name)}.yaml"
            answer[f"xds/{_file(client)}~{_file(name)}.yaml" if path in answer else path] = text
        return answer

    def messages(self) -> list[tuple[str, Message]]:
        """The resources that `render` names. ValueError for one that does not exist."""
        return [(name, message) for _, name, message in self._rendered()]

    def _rendered(self) -> list[tuple[str, str, Message]]:
        answer = []
        for line in (self.folder / "render").read_text().split("\n"):
            if not line.strip():
                continue
            client, name = line.split()
            parsed = names.parse(name)
            if parsed is None:
                raise ValueError(f"{self.folder.name}: {name} is no resource's name")
            key = resources.scope(parsed.type_url, name, xds.Client(client))
            encoded = self.db.ask(resources.resource, key)
            if encoded is None:
                raise ValueError(f"{self.folder.name}: {client} has no resource {name}")
            message = _CLASSES[parsed.type_url]()
            discovery_pb2.Resource.FromString(encoded.resource).resource.Unpack(message)
            answer.append((client, name, message))
        return answer

    def _findings(self) -> str:
        positions = {located.ref: located.position for located in self.loaded.objects}
        meant = places.located((f for ref in positions for f in self.db.ask(faults.of, ref)), positions)
        found = places.ordered((*self.loaded.findings, *meant))
        shown = [
            {"at": f"in.yaml:{f.line}", "code": f.code, "severity": f.severity.value, "object": f.object,
             "message": f.message, "fix": f.fix}
            for f in found
        ]  # fmt: skip
        return _dump(shown)

    def bootstrap(self) -> bootstrap_pb2.Bootstrap:
        """All resources of the case as one static bootstrap, for `envoy --mode validate`."""
        made = bootstrap_pb2.Bootstrap()
        made.node.id = made.node.cluster = "golden"
        ads = made.dynamic_resources.ads_config
        ads.api_type, ads.transport_api_version = ads.DELTA_GRPC, config_source_pb2.V3
        made.bootstrap_extensions.add(name="envoy.bootstrap.internal_listener").typed_config.Pack(
            internal_listener_pb2.InternalListener()
        )
        ads.grpc_services.add().envoy_grpc.cluster_name = "discovery"
        made.static_resources.clusters.add(name="discovery").CopyFrom(clusters.nowhere("discovery"))
        for name, message in self.messages():
            if isinstance(message, cluster_pb2.Cluster):
                made.static_resources.clusters.append(_validatable(message))
            elif isinstance(message, listener_pb2.Listener):
                made.static_resources.listeners.append(message)
            elif isinstance(message, route_pb2.RouteConfiguration):
                made.static_resources.listeners.append(_carrier(name, message))
            elif isinstance(message, secret_pb2.Secret):
                made.static_resources.secrets.append(message)
            elif isinstance(message, extension_pb2.TypedExtensionConfig):
                made.static_resources.listeners.append(_filtered(name, message))
        return made


def _validatable(cluster: cluster_pb2.Cluster) -> cluster_pb2.Cluster:
    """Envoy 1.40 in validation mode falls over when a cluster of its first phase has secrets on the ADS
    stream, which does not exist there; as EDS the same transport socket is looked at without harm."""
    secured = cluster.HasField("transport_socket") or cluster.transport_socket_matches
    if secured and cluster.type == cluster_pb2.Cluster.ORIGINAL_DST:
        cluster.type = cluster_pb2.Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(tls.ads())
        cluster.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    return cluster


def _file(name: str) -> str:
    return name.replace("/", "~").replace(":", "_")


def _filtered(name: str, message: extension_pb2.TypedExtensionConfig) -> listener_pb2.Listener:
    """A listener that has a slot's filter inline."""
    listener = listener_pb2.Listener(name=name)
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    chain = listener.filter_chains.add()
    # By the type, or by the one within a TypedStruct.
    if ".filters.network." in message.typed_config.type_url or b".filters.network." in message.typed_config.value[:200]:
        chain.filters.add(name=name, typed_config=message.typed_config)
    manager = hcm_pb2.HttpConnectionManager(stat_prefix="golden")
    manager.route_config.name = name
    if not chain.filters:
        manager.http_filters.add(name=name, typed_config=message.typed_config)
    manager.http_filters.extend(filters.outbound())
    chain.filters.append(managers.as_filter(manager))
    return listener


def _carrier(name: str, routes: route_pb2.RouteConfiguration) -> listener_pb2.Listener:
    """A listener that has the routes inline: the only place where validation looks at them."""
    manager = hcm_pb2.HttpConnectionManager(stat_prefix="golden", route_config=routes)
    manager.http_filters.extend(filters.outbound())
    listener = listener_pb2.Listener(name=name)
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    listener.filter_chains.append(
        listener_components_pb2.FilterChain(filters=[managers.as_filter(manager)])
    )
    return listener


def _dump(value: Any) -> str:
    # Any comes as OrderedDict, which YAML would tag: JSON makes it plain.
    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=True, width=110, allow_unicode=True)


def cases(folder: pathlib.Path) -> list[pathlib.Path]:
    """The case folders below `folder`, by name."""
    return sorted(f.parent for f in folder.glob("*/in.yaml"))
