"""The inputs of the mesh: one table per kind, the indexes over them, and how an object becomes rows.

Rows hold what the mesh reads and nothing else, so that a pod's readiness, say, touches no reader of its
identity. Filled by whoever has objects: a cluster's watch, or files.
"""

from collections.abc import Iterable

import msgspec

from retic import findings, graph, objects
from retic.mesh import network
from retic.objects import (
    authorizers,
    core,
    destination,
    discovery,
    gateway,
    limits,
    meta,
    pods,
    routes,
    security,
    telemetry,
    virtual_services,
)

ROLE_ANNOTATION = "retic.dev/role"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
# The Gateway's whole name on its pods: a label has 63 characters at most, a Gateway's name 253.
GATEWAY_ANNOTATION = "retic.dev/gateway"
SERVICE_LABEL = "kubernetes.io/service-name"
CONTROLLER = "retic.dev/gateway-controller"
MESH_LABEL = "retic.dev/mesh"
# On an AuthorizationPolicy: counted, not enforced.
DRY_RUN = "istio.io/dry-run"
# On Nodes of networks where a kubelet's connections to its pods come from yet another address: IPv4 addresses, with
# commas between them.
PROBE_SOURCES = "retic.dev/probe-sources"
# The condition in a pod's status which says that its node's proxy takes its connections.
CAPTURED = "retic.dev/Captured"


class Key(msgspec.Struct, frozen=True, order=True):
    """An object's namespace ("" when it has none) and name."""

    namespace: str
    name: str


class Place(msgspec.Struct, frozen=True, order=True):
    """A namespace's pods on one node."""

    node: str
    namespace: str


class One(msgspec.Struct, frozen=True):
    """The key of a table with one row."""


ONE = One()


class Uri(msgspec.Struct, frozen=True, order=True):
    """Where a document is fetched from."""

    uri: str


class KeySet(msgspec.Struct, frozen=True):
    """What came of fetching an issuer's keys: the last document ("" for none ever), and why there is no newer one (""
    if the last fetch went well)."""

    text: str = ""
    reason: str = ""


SETTINGS = graph.table("settings", One, network.Settings)
PODS = graph.table("pods", Key, pods.Pod)
SERVICES = graph.table("services", Key, core.Service)
SLICES = graph.table("endpointslices", Key, discovery.EndpointSlice)
NODES = graph.table("nodes", Key, core.Node)
NAMESPACES = graph.table("namespaces", Key, core.Namespace)
ACCOUNTS = graph.table("serviceaccounts", Key, core.ServiceAccount)
SECRETS = graph.table("secrets", Key, core.Secret)
CLASSES = graph.table("gatewayclasses", Key, gateway.GatewayClass)
GATEWAYS = graph.table("gateways", Key, gateway.Gateway)
GRANTS = graph.table("referencegrants", Key, gateway.ReferenceGrant)
HTTP_ROUTES = graph.table("httproutes", Key, routes.HTTPRoute)
GRPC_ROUTES = graph.table("grpcroutes", Key, routes.GRPCRoute)
POLICIES = graph.table("authorizationpolicies", Key, security.AuthorizationPolicy)
PEER_AUTHENTICATIONS = graph.table("peerauthentications", Key, security.PeerAuthentication)
REQUEST_AUTHENTICATIONS = graph.table("requestauthentications", Key, security.RequestAuthentication)
KEY_SETS = graph.table("keysets", Uri, KeySet)
VIRTUAL_SERVICES = graph.table("virtualservices", Key, virtual_services.VirtualService)



class Former(msgspec.Struct, frozen=True):
    """What a PeerAuthentication was before a change that is on its way, the latest last; None where there was none.

    `is_told`: callers still go by the latest of these. Who fills it knows how long news take; without a row a change
    is there at once.
    """

    was: tuple[security.PeerAuthentication | None, ...]
    is_told: bool


class Observed(msgspec.Struct, frozen=True):
    """The request headers of a namespace's calls that somebody looks at now."""

    headers: tuple[str, ...] = ()


OBSERVED = graph.table("observed headers", Key, Observed)
"""By namespace; filled by whoever serves those who look."""
FORMER = graph.table("former peerauthentications", Key, Former)
DESTINATION_RULES = graph.table("destinationrules", Key, destination.DestinationRule)
TELEMETRIES = graph.table("telemetries", Key, telemetry.Telemetry)
TELEMETRY_PROVIDERS = graph.table("telemetryproviders", Key, telemetry.TelemetryProvider)
PROVIDERS = graph.table("authorizationproviders", Key, authorizers.AuthorizationProvider)
LIMITS = graph.table("ratelimits", Key, limits.RateLimit)
COUNTING = graph.table("counting", One, str)
"""Why global limits cannot be counted at the moment; "" or no row while they can."""

TABLES: dict[str, graph.Table[Key, objects.Object]] = {
    "Pod": PODS,  # type: ignore[dict-item]
    "Service": SERVICES,  # type: ignore[dict-item]
    "EndpointSlice": SLICES,  # type: ignore[dict-item]
    "Node": NODES,  # type: ignore[dict-item]
    "Namespace": NAMESPACES,  # type: ignore[dict-item]
    "ServiceAccount": ACCOUNTS,  # type: ignore[dict-item]
    "Secret": SECRETS,  # type: ignore[dict-item]
    "GatewayClass": CLASSES,  # type: ignore[dict-item]
    "Gateway": GATEWAYS,  # type: ignore[dict-item]
    "ReferenceGrant": GRANTS,  # type: ignore[dict-item]
    "HTTPRoute": HTTP_ROUTES,  # type: ignore[dict-item]
    "GRPCRoute": GRPC_ROUTES,  # type: ignore[dict-item]
    "AuthorizationPolicy": POLICIES,  # type: ignore[dict-item]
    "PeerAuthentication": PEER_AUTHENTICATIONS,  # type: ignore[dict-item]
    "RequestAuthentication": REQUEST_AUTHENTICATIONS,  # type: ignore[dict-item]
    "DestinationRule": DESTINATION_RULES,  # type: ignore[dict-item]
    "VirtualService": VIRTUAL_SERVICES,  # type: ignore[dict-item]
    "AuthorizationProvider": PROVIDERS,  # type: ignore[dict-item]
    "RateLimit": LIMITS,  # type: ignore[dict-item]
    "Telemetry": TELEMETRIES,  # type: ignore[dict-item]
    "TelemetryProvider": TELEMETRY_PROVIDERS,  # type: ignore[dict-item]
}


def _pod_address(_: Key, pod: pods.Pod) -> Iterable[str]:
    return [pod.status.pod_ip] if pod.status and pod.status.pod_ip else []


def _pod_node(_: Key, pod: pods.Pod) -> Iterable[str]:
    return [pod.spec.node_name] if pod.spec.node_name else []


def _pod_place(_: Key, pod: pods.Pod) -> Iterable[Place]:
    return [Place(pod.spec.node_name, pod.metadata.namespace)] if pod.spec.node_name else []


def _pod_uid(_: Key, pod: pods.Pod) -> Iterable[str]:
    return [pod.metadata.uid] if pod.metadata.uid else []


def _pod_gateway(_: Key, pod: pods.Pod) -> Iterable[Key]:
    name = pod.metadata.annotations.get(GATEWAY_ANNOTATION) or pod.metadata.labels.get(GATEWAY_LABEL)
    return [Key(pod.metadata.namespace, name)] if name else []


def _pod_of_gateway(_: Key, pod: pods.Pod) -> Iterable[One]:
    return [ONE] if pod.metadata.annotations.get(ROLE_ANNOTATION) == "gateway" else []


def _service_address(_: Key, service: core.Service) -> Iterable[str]:
    return [a for a in (service.spec.cluster_ips or (service.spec.cluster_ip,)) if a and a != "None"]


def _service_namespace(key: Key, _: core.Service) -> Iterable[str]:
    return [key.namespace]


def _every(_: Key, value: core.Service) -> Iterable[One]:
    return [ONE]


def _slice_service(_: Key, piece: discovery.EndpointSlice) -> Iterable[Key]:
    name = piece.metadata.labels.get(SERVICE_LABEL)
    return [Key(piece.metadata.namespace, name)] if name else []


def _parents(_: Key, route: routes.HTTPRoute | routes.GRPCRoute) -> Iterable[findings.Ref]:
    return [parent_ref(route.metadata.namespace, parent) for parent in route.spec.parent_refs]


def _grant_namespace(_: Key, grant: gateway.ReferenceGrant) -> Iterable[str]:
    return [grant.metadata.namespace]


def _namespace(key: Key, _: object) -> Iterable[str]:
    return [key.namespace]


def _gateway_class(_: Key, value: gateway.Gateway) -> Iterable[str]:
    return [value.spec.gateway_class_name]


PODS_BY_ADDRESS = graph.index(PODS, _pod_address)
PODS_BY_NAMESPACE = graph.index(PODS, _namespace, name="pods.by_namespace")
PODS_BY_NODE = graph.index(PODS, _pod_node)
PODS_BY_PLACE = graph.index(PODS, _pod_place)
PODS_BY_UID = graph.index(PODS, _pod_uid)
PODS_OF_GATEWAYS = graph.index(PODS, _pod_of_gateway)
PODS_BY_GATEWAY = graph.index(PODS, _pod_gateway)
SERVICES_BY_ADDRESS = graph.index(SERVICES, _service_address)
SERVICES_BY_NAMESPACE = graph.index(SERVICES, _service_namespace, name="services.by_namespace")
SLICES_BY_SERVICE = graph.index(SLICES, _slice_service)
HTTP_ROUTES_BY_PARENT = graph.index(HTTP_ROUTES, _parents, name="httproutes.by_parent")
GRPC_ROUTES_BY_PARENT = graph.index(GRPC_ROUTES, _parents, name="grpcroutes.by_parent")
LIMITS_BY_NAMESPACE = graph.index(LIMITS, _namespace, name="ratelimits.by_namespace")
POLICIES_BY_NAMESPACE = graph.index(POLICIES, _namespace, name="authorizationpolicies.by_namespace")
PEER_AUTHENTICATIONS_BY_NAMESPACE = graph.index(
    PEER_AUTHENTICATIONS, _namespace, name="peerauthentications.by_namespace"
)
FORMER_BY_NAMESPACE = graph.index(FORMER, _namespace, name="former.by_namespace")
REQUEST_AUTHENTICATIONS_BY_NAMESPACE = graph.index(
    REQUEST_AUTHENTICATIONS, _namespace, name="requestauthentications.by_namespace"
)


def _with_uris(_: Key, value: security.RequestAuthentication) -> Iterable[One]:
    return [ONE] if any(rule.jwks_uri for rule in value.spec.jwt_rules) else []


REQUEST_AUTHENTICATIONS_WITH_URIS = graph.index(
    REQUEST_AUTHENTICATIONS, _with_uris, name="requestauthentications.with_uris"
)
TELEMETRIES_BY_NAMESPACE = graph.index(TELEMETRIES, _namespace, name="telemetries.by_namespace")
GATEWAYS_BY_NAMESPACE = graph.index(GATEWAYS, _namespace, name="gateways.by_namespace")
GRANTS_BY_NAMESPACE = graph.index(GRANTS, _grant_namespace)


def _mesh_routed(_: Key, route: routes.HTTPRoute | routes.GRPCRoute) -> Iterable[str]:
    """Whose outgoing requests the route may concern: everybody's, or (consumer routes) one namespace's."""
    for parent in route.spec.parent_refs:
        if parent_ref(route.metadata.namespace, parent).kind == "Service":
            other = parent.namespace not in (None, route.metadata.namespace)
            yield route.metadata.namespace if other else ""


HTTP_ROUTES_BY_CONSUMER = graph.index(HTTP_ROUTES, _mesh_routed, name="httproutes.by_consumer")
GRPC_ROUTES_BY_CONSUMER = graph.index(GRPC_ROUTES, _mesh_routed, name="grpcroutes.by_consumer")


MESH = "mesh"
"""What a VirtualService names in `gateways` for calls between pods."""


def virtual_host(namespace: str, host: str) -> str:
    """A VirtualService's host as one key: lower case, without a dot at the end. A short name is that of a Service of
    its own namespace, written NAME.NAMESPACE."""
    name = host.lower().removesuffix(".")
    return name if "." in name or name == "*" else f"{name}.{namespace}"


def virtual_gateway(namespace: str, name: str) -> findings.Ref:
    """The Gateway that a VirtualService names as NAME or NAMESPACE/NAME."""
    where, slash, rest = name.partition("/")
    return findings.Ref("Gateway", where, rest) if slash else findings.Ref("Gateway", namespace, name)


def _virtual_hosts(key: Key, value: virtual_services.VirtualService) -> Iterable[str]:
    """Of those that hold for calls between pods."""
    if MESH in (value.spec.gateways or (MESH,)):
        yield from dict.fromkeys(virtual_host(key.namespace, host) for host in value.spec.hosts)


def _virtual_gateways(key: Key, value: virtual_services.VirtualService) -> Iterable[findings.Ref]:
    for name in dict.fromkeys(value.spec.gateways):
        if name != MESH and value.spec.hosts:
            yield virtual_gateway(key.namespace, name)


def _virtual_exported(key: Key, value: virtual_services.VirtualService) -> Iterable[str]:
    """The namespaces whose calls it holds for, "" for all of them."""
    if value.spec.hosts and MESH in (value.spec.gateways or (MESH,)):
        yield from exported(key.namespace, value)


def exported(namespace: str, value: virtual_services.VirtualService) -> tuple[str, ...]:
    """The namespaces that see a VirtualService of `namespace`; ("",) for all."""
    names = value.spec.export_to or ("*",)
    return ("",) if "*" in names else tuple(dict.fromkeys(namespace if n == "." else n for n in names))


def _delegates(key: Key, value: virtual_services.VirtualService) -> Iterable[Key]:
    for route in value.spec.http:
        if route.delegate is not None:
            yield Key(route.delegate.namespace or key.namespace, route.delegate.name)


VIRTUAL_SERVICES_BY_HOST = graph.index(VIRTUAL_SERVICES, _virtual_hosts, name="virtualservices.by_host")
VIRTUAL_SERVICES_BY_GATEWAY = graph.index(VIRTUAL_SERVICES, _virtual_gateways, name="virtualservices.by_gateway")
VIRTUAL_SERVICES_BY_EXPORT = graph.index(VIRTUAL_SERVICES, _virtual_exported, name="virtualservices.by_export")
VIRTUAL_SERVICES_BY_DELEGATE = graph.index(VIRTUAL_SERVICES, _delegates, name="virtualservices.by_delegate")
SERVICES_EVERY = graph.index(SERVICES, _every, name="services.every")


_PARENTS = {"Gateway": gateway.GROUP, "Service": ""}


def parent_ref(namespace: str, parent: routes.ParentReference) -> findings.Ref:
    """What a route's parentRef names; of a group that has no such kind, `KIND.GROUP`, which is nobody's.

    A group left out is the Gateway API's, for a Service too (ParentReference, Gateway API v1): a backendRef's
    is the core group.
    """
    kind = parent.kind or "Gateway"
    group = gateway.GROUP if parent.group is None else parent.group
    known = _PARENTS.get(kind) == group
    return findings.Ref(kind if known else f"{kind}.{group}", parent.namespace or namespace, parent.name)


def changes(ref: findings.Ref, value: objects.Object | None) -> list[graph.Change]:
    """The rows that an object, or its absence (None), sets or deletes. Kinds without a table give none."""
    table = TABLES.get(ref.kind)
    if table is None:
        return []
    key = Key(ref.namespace, ref.name)
    if value is None:
        return [graph.Delete(table, key)]
    return [graph.Set(table, key, _reduced(value))]


POLICY_TYPES = (
    security.AuthorizationPolicy, security.PeerAuthentication, security.RequestAuthentication,
    destination.DestinationRule, virtual_services.VirtualService, telemetry.Telemetry, limits.RateLimit,
)  # fmt: skip
TYPES_WITH_STATUS = (gateway.GatewayClass, gateway.Gateway, routes.HTTPRoute, routes.GRPCRoute, *POLICY_TYPES)
"""Whose status Retic writes on a cluster. It is no input of the mesh."""


def _reduced(value: objects.Object) -> objects.Object:
    metadata = msgspec.structs.replace(value.metadata, generation=None, owner_references=())
    if isinstance(value, core.Node):
        return _reduced_node(value)
    if isinstance(value, TYPES_WITH_STATUS):
        return msgspec.structs.replace(value, metadata=metadata, status=None)
    if not isinstance(value, pods.Pod):
        return msgspec.structs.replace(value, metadata=metadata)
    return msgspec.structs.replace(value, metadata=metadata, status=_reduced_status(value.status or pods.PodStatus()))


def _reduced_node(node: core.Node) -> core.Node:
    """Only where it is: a node's other annotations and its status change all the time."""
    said = {k: v for k, v in node.metadata.annotations.items() if k == PROBE_SOURCES}
    about = meta.Metadata(name=node.metadata.name, labels=node.metadata.labels, annotations=said)
    spec = core.NodeSpec(pod_cidr=node.spec.pod_cidr, pod_cidrs=node.spec.pod_cidrs)
    return core.Node(metadata=about, spec=spec, status=node.status)


def _reduced_status(status: pods.PodStatus) -> pods.PodStatus:
    """Of a finished pod only the phase is left: it has no address and no listener any more."""
    if status.phase in ("Succeeded", "Failed"):
        return pods.PodStatus(phase=status.phase)
    captured = any(c.type == CAPTURED and c.status == "True" for c in status.conditions)
    said = (meta.Condition(CAPTURED, "True"),) if captured else ()
    return pods.PodStatus(pod_ip=status.pod_ip or None, conditions=said)
