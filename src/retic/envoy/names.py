"""Every xDS resource name, in one file, both ways.

A name says what it is for and in whose view: clusters and route configurations carry the client's
namespace, so that a consumer's own routes and settings can differ from everybody else's; where nothing
differs, only the name does. docs/adr/0003-resource-names.md has the reasons. Nothing else in the product
puts a name together or takes one apart.
"""

import enum

import msgspec

_PREFIX = "type.googleapis.com/envoy."

LISTENER = _PREFIX + "config.listener.v3.Listener"
ROUTES = _PREFIX + "config.route.v3.RouteConfiguration"
CLUSTER = _PREFIX + "config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
SECRET = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
FILTER = _PREFIX + "config.core.v3.TypedExtensionConfig"
OPAQUE = "type.googleapis.com/xds.type.v3.TypedStruct"


class Kind(enum.StrEnum):
    """The first word of a name, which decides its type URL."""

    OUTBOUND = "outbound"
    OPAQUE = "opaque"
    INBOUND = "inbound"
    GATEWAY = "gateway"
    ROUTES = "routes"
    GATEWAY_ROUTES = "gateway-routes"
    LISTENER_ROUTES = "listener-routes"
    VIRTUAL = "vip"
    ADDRESS = "ip"
    SERVICE = "service"
    GRPC = "grpc"
    AUTHORIZER = "authorizer"
    APPLICATION = "application"
    APPLICATION_TLS = "application-tls"
    PASSTHROUGH = "passthrough"
    MIRROR = "mirror"
    MIRRORS = "mirrors"
    ENDPOINTS = "endpoints"
    VIEW = "view"
    NODE_ENDPOINTS = "node-endpoints"
    TLS = "tls"
    FILTER = "filter"
    GATEWAY_FILTER = "gateway-filter"
    DESTINATIONS = "destinations"
    PODS = "pods"
    TOLD = "told"


TYPE_URL = {
    Kind.OUTBOUND: LISTENER,
    Kind.OPAQUE: LISTENER,
    Kind.INBOUND: LISTENER,
    Kind.GATEWAY: LISTENER,
    Kind.ROUTES: ROUTES,
    Kind.GATEWAY_ROUTES: ROUTES,
    Kind.LISTENER_ROUTES: ROUTES,
    Kind.VIRTUAL: CLUSTER,
    Kind.ADDRESS: CLUSTER,
    Kind.SERVICE: CLUSTER,
    Kind.GRPC: CLUSTER,
    Kind.AUTHORIZER: CLUSTER,
    Kind.APPLICATION: CLUSTER,
    Kind.APPLICATION_TLS: CLUSTER,
    Kind.PASSTHROUGH: CLUSTER,
    Kind.MIRROR: CLUSTER,
    Kind.MIRRORS: LISTENER,
    Kind.ENDPOINTS: ENDPOINTS,
    Kind.VIEW: ENDPOINTS,
    Kind.NODE_ENDPOINTS: ENDPOINTS,
    Kind.TLS: SECRET,
    Kind.FILTER: FILTER,
    Kind.GATEWAY_FILTER: FILTER,
    Kind.DESTINATIONS: OPAQUE,
    Kind.PODS: OPAQUE,
    Kind.TOLD: OPAQUE,
}

# How many parts follow the first word.
_PARTS = {
    Kind.OUTBOUND: 1,
    Kind.OPAQUE: 1,
    Kind.INBOUND: 1,
    Kind.GATEWAY: 3,
    Kind.ROUTES: 1,
    Kind.GATEWAY_ROUTES: 3,
    Kind.LISTENER_ROUTES: 4,
    Kind.VIRTUAL: 2,
    Kind.ADDRESS: 2,
    Kind.SERVICE: 4,
    Kind.GRPC: 4,
    Kind.AUTHORIZER: 3,
    Kind.APPLICATION: 0,
    Kind.APPLICATION_TLS: 0,
    Kind.PASSTHROUGH: 0,
    Kind.MIRROR: 0,
    Kind.MIRRORS: 0,
    Kind.ENDPOINTS: 3,
    Kind.VIEW: 4,
    Kind.NODE_ENDPOINTS: 3,
    Kind.TLS: 2,
    Kind.FILTER: 2,
    Kind.GATEWAY_FILTER: 3,
    Kind.DESTINATIONS: 0,
    Kind.PODS: 0,
    Kind.TOLD: 0,
}

# Of these one more part may follow: a subset's name.
_WITH_SUBSETS = frozenset({Kind.SERVICE, Kind.GRPC, Kind.VIEW})

_VIEWS = frozenset({Kind.ROUTES, Kind.VIRTUAL, Kind.ADDRESS, Kind.SERVICE, Kind.GRPC, Kind.AUTHORIZER})


class Name(msgspec.Struct, frozen=True):
    """A name taken apart. `parts` never hold a slash."""

    kind: Kind
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.kind.value, *self.parts))

    @property
    def type_url(self) -> str:
        """The type URL of the resource that has this name."""
        return TYPE_URL[self.kind]

    @property
    def in_view(self) -> bool:
        """Whether the resource is as the pods of its client namespace see it."""
        return self.kind in _VIEWS

    @property
    def client_namespace(self) -> str:
        """The namespace in whose view the resource is; "" when it is the same in all."""
        return self.parts[0] if self.in_view else ""


def parse(name: str) -> Name | None:
    """The name taken apart, or None when it is not one of ours."""
    first, *parts = name.split("/")
    try:
        kind = Kind(first)
    except ValueError:
        return None
    most = _PARTS[kind] + (kind in _WITH_SUBSETS)
    if not _PARTS[kind] <= len(parts) <= most or not all(parts):
        return None
    return Name(kind, tuple(parts))


def outbound(pod_uid: str) -> str:
    """The listener that takes a pod's outgoing connections and looks for HTTP."""
    return str(Name(Kind.OUTBOUND, (pod_uid,)))


def opaque(pod_uid: str) -> str:
    """The listener that takes a pod's outgoing connections and looks at nothing."""
    return str(Name(Kind.OPAQUE, (pod_uid,)))


def inbound(pod_uid: str) -> str:
    """The listener that takes a pod's incoming connections."""
    return str(Name(Kind.INBOUND, (pod_uid,)))


def gateway(namespace: str, name: str, port: int) -> str:
    """A gateway's listener on one port."""
    return str(Name(Kind.GATEWAY, (namespace, name, str(port))))


def routes(namespace: str) -> str:
    """The route configuration shared by all pods of a namespace."""
    return str(Name(Kind.ROUTES, (namespace,)))


def gateway_routes(namespace: str, name: str, port: int) -> str:
    """The route configuration of a gateway's HTTP listeners on one port."""
    return str(Name(Kind.GATEWAY_ROUTES, (namespace, name, str(port))))


def listener_routes(namespace: str, name: str, port: int, listener: str) -> str:
    """The route configuration of one of a gateway's HTTPS listeners."""
    return str(Name(Kind.LISTENER_ROUTES, (namespace, name, str(port), listener)))


def virtual(client_namespace: str, destination: str) -> str:
    """The cluster behind a virtual address; `destination` is `address:port` or an Envoy formatter."""
    return str(Name(Kind.VIRTUAL, (client_namespace, destination)))


def address(client_namespace: str, destination: str) -> str:
    """The cluster of one address, whatever the port; `destination` may be an Envoy formatter."""
    return str(Name(Kind.ADDRESS, (client_namespace, destination)))


def service(client_namespace: str, namespace: str, name: str, port: int, subset: str = "") -> str:
    """The cluster of a Service's port, or of a subset of it, as routes name it."""
    return str(Name(Kind.SERVICE, _parts(client_namespace, namespace, name, port, subset)))


def grpc(client_namespace: str, namespace: str, name: str, port: int, subset: str = "") -> str:
    """As `service`, spoken to in HTTP/2 whatever the port says: what GRPCRoutes name."""
    return str(Name(Kind.GRPC, _parts(client_namespace, namespace, name, port, subset)))


def view(client_namespace: str, namespace: str, name: str, port: int, subset: str = "") -> str:
    """The endpoints of a Service's port, or of a subset of it, as the callers of one namespace call them."""
    return str(Name(Kind.VIEW, _parts(client_namespace, namespace, name, port, subset)))


def _parts(client: str, namespace: str, name: str, port: int, subset: str) -> tuple[str, ...]:
    return (client, namespace, name, str(port), *((subset,) if subset else ()))


def authorizer(namespace: str, account: str, provider: str) -> str:
    """The cluster by which an external authorizer is asked in the name of a service account."""
    return str(Name(Kind.AUTHORIZER, (namespace, account, provider)))


def endpoints(namespace: str, name: str, port: int) -> str:
    """The endpoints of a Service's port."""
    return str(Name(Kind.ENDPOINTS, (namespace, name, str(port))))


def node_endpoints(namespace: str, name: str, port: int) -> str:
    """The same for callers of one node, where the Service says that nodes matter."""
    return str(Name(Kind.NODE_ENDPOINTS, (namespace, name, str(port))))


def tls(namespace: str, name: str) -> str:
    """A gateway's certificate from the Secret of that name."""
    return str(Name(Kind.TLS, (namespace, name)))


def filter_slot(slot: str, pod_uid: str) -> str:
    """The configuration of one filter slot in one pod's listeners (ECDS)."""
    return str(Name(Kind.FILTER, (slot, pod_uid)))


def gateway_slot(slot: str, namespace: str, gateway: str) -> str:
    """The configuration of one filter slot in all listeners of a gateway (ECDS)."""
    return str(Name(Kind.GATEWAY_FILTER, (slot, namespace, gateway)))


AGENT = "agent"
"""The cluster of the proxy's own agent, which its bootstrap has (`retic.node.bootstrap.AGENT`)."""
APPLICATION = str(Name(Kind.APPLICATION))
APPLICATION_TLS = str(Name(Kind.APPLICATION_TLS))
PASSTHROUGH = str(Name(Kind.PASSTHROUGH))
MIRROR = str(Name(Kind.MIRROR))
MIRRORS = str(Name(Kind.MIRRORS))
DESTINATIONS = str(Name(Kind.DESTINATIONS))
PODS = str(Name(Kind.PODS))
TOLD = str(Name(Kind.TOLD))
