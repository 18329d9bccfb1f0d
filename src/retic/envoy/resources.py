"""From the name of an xDS resource to its bytes: the one pure function that the control plane is.

`scope` says which clients share an answer: listeners, secrets and what agents want themselves belong to one client,
endpoints to one zone, or to one client where its node matters. What is as a namespace sees it is asked for by each
client on its own and answered from what all nodes, or all gateways, share: only to a node that has a pod of the
namespace, and to gateways in it.

A name that means nothing to a client gives None, which is sent as a removal at once; for clusters, "does not
exist" is a cluster without endpoints, because a removal would let every later request wait for the whole on-demand
time-out.
"""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from xds.type.v3 import typed_struct_pb2

from retic import graph, xds
from retic.envoy import (
    affinity,
    clusters,
    endpoints,
    entrance,
    external,
    filters,
    listeners,
    logs,
    mirrors,
    names,
    observed,
    rate_limits,
    routes,
    secrets,
    told,
)
from retic.mesh import (
    authorizers,
    declared,
    destinations,
    gateways,
    limit,
    limits,
    network,
    nodes,
    observing,
    observing_rules,
    peers,
    policies,
    probes,
    routing,
    service,
    services,
    tables,
    tokens,
    workloads,
)

Kind = names.Kind


class Key(msgspec.Struct, frozen=True, order=True):
    """A resource and who shares it: `client` "" for all, `zone` "" where zones do not matter."""

    type_url: str
    name: str
    client: str = ""
    zone: str = ""


class Names(msgspec.Struct, frozen=True, order=True):
    """All resources of a type that a client has without asking by name."""

    type_url: str
    client: str


# Gateways share clusters of their own: they choose the protocol towards a pod, a pod's proxy keeps its pod's.
_GATEWAYS = "gateways"  # no client's id: those have a slash

# Who shares what namespaces see: all nodes, and whoever asks for no client's sake; and all gateways.
_SHARED = ("", _GATEWAYS)
_OF_NODES = (names.APPLICATION, names.APPLICATION_TLS, names.PASSTHROUGH, names.MIRROR)
_OF_GATEWAYS = (names.MIRROR,)
_PER_CLIENT = {names.LISTENER, names.SECRET, names.OPAQUE, names.FILTER}
_OF_NODE = Kind.NODE_ENDPOINTS + "/"
_OF_GATEWAY = (Kind.GATEWAY_ROUTES + "/", Kind.LISTENER_ROUTES + "/")


def scope(type_url: str, name: str, client: xds.Client) -> Key:
    """The key under which this client's resource is made."""
    if name.startswith(_OF_NODE):
        return Key(type_url, name, client.id, client.zone)
    if type_url in _PER_CLIENT or name.startswith(_OF_GATEWAY):
        return Key(type_url, name, client.id)
    if type_url == names.ENDPOINTS:
        return Key(type_url, name, zone=client.zone)
    parsed = names.parse(name)
    if parsed is not None and parsed.in_view:
        return Key(type_url, name, client.id)
    return Key(type_url, name)


def wildcard(type_url: str, client: xds.Client) -> Names:
    """The key of what the client has without asking."""
    return Names(type_url, client.id)


@graph.query
def resource(db: graph.Db, key: Key) -> xds.Encoded | None:
    """The resource of that name, serialized; None when the name means nothing to this client."""
    name = names.parse(key.name)
    if name is None or name.type_url != key.type_url:
        return None
    if name.in_view and key.client not in _SHARED:
        return _seen(db, name, key)
    message = _BUILDERS[name.kind](db, name, key)
    if key.client == _GATEWAYS and isinstance(message, cluster_pb2.Cluster):
        clusters.unmark(message)
    return None if message is None else _encoded(key, message)



def _encoded(key: Key, message: Message) -> xds.Encoded:
    return xds.encode(key.type_url, key.name, message.SerializeToString(deterministic=True))


def _seen(db: graph.Db, name: names.Name, key: Key) -> xds.Encoded | None:
    """What the client's namespace sees, if it has pods there; as if there were nothing otherwise."""
    if _may_see(db, key.client, name.client_namespace):
        shared = _GATEWAYS if key.client.startswith("gateway/") and key.type_url == names.CLUSTER else ""
        return db.ask(resource, Key(key.type_url, key.name, shared))
    return _encoded(key, clusters.nowhere(key.name)) if key.type_url == names.CLUSTER else None


def _may_see(db: graph.Db, client: str, namespace: str) -> bool:
    role, _, rest = client.partition("/")
    if role == "node":
        return db.ask(workloads.present, tables.Place(rest, namespace))
    return role == "gateway" and rest.partition("/")[0] == namespace


@graph.query
def wanted(db: graph.Db, key: Names) -> frozenset[str]:
    """The names that a client has without asking: its listeners, and the clusters that every proxy needs."""
    role, _, rest = key.client.partition("/")
    if key.type_url == names.CLUSTER:
        return frozenset(_OF_NODES if role == "node" else _OF_GATEWAYS)
    if key.type_url != names.LISTENER:
        return frozenset()
    if role == "node":
        pods = db.ask(workloads.on_node, rest)
        of = (names.outbound, names.opaque, names.inbound)
        return frozenset([names.MIRRORS, *(f(pod.uid) for pod in pods for f in of)])
    namespace, _, name = rest.partition("/")
    found = db.ask(gateways.resolved, tables.Key(namespace, name))
    return frozenset([names.MIRRORS, *(names.gateway(namespace, name, x.port) for x in found.listeners)])


def _pod(db: graph.Db, uid: str, key: Key) -> service.Workload | None:
    """The pod, if this client's node is the one that it runs on."""
    found = db.ask(workloads.by_uid, uid)
    return found if found is not None and key.client == f"node/{found.node}" else None


def _listener(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    pod = _pod(db, name.parts[0], key)
    if pod is None or not pod.served:
        return None
    settings = db.ask(workloads.settings, tables.ONE)
    if name.kind is Kind.INBOUND:
        http_ports = db.ask(declared.http_ports, tables.Key(pod.namespace, pod.name))
        return listeners.inbound(pod, settings, http_ports, _plaintext(db, pod))
    return {Kind.OUTBOUND: listeners.outbound, Kind.OPAQUE: listeners.opaque}[name.kind](pod, settings)


def _plaintext(db: graph.Db, pod: service.Workload) -> filters.Plaintext:
    """By the modes of its ports; to a pod that leaves the mesh plaintext may come, as it will when it is released."""
    taken = db.ask(peers.taken, tables.Key(pod.namespace, pod.name))
    return filters.Plaintext(
        taken=taken if pod.role is service.Role.WORKLOAD else taken.opened,
        sources=db.ask(nodes.sources, pod.node),
        probed=db.ask(probes.of, tables.Key(pod.namespace, pod.name)),
    )


def _slot(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    pod = _pod(db, name.parts[1], key)
    if pod is None or name.parts[0] not in list(filters.Slot):
        return None
    slot = filters.Slot(name.parts[0])
    if slot is filters.Slot.PLAINTEXT:
        return filters.plaintext_connections(pod.uid, _plaintext(db, pod))
    if slot in (*filters.ASKING, filters.Slot.TCP_MARK):
        return _ask_slot(db, pod, slot, str(name))
    applying = db.ask(policies.applying, tables.Key(pod.namespace, pod.name))
    if slot is filters.Slot.PLAINTEXT_HTTP:
        limited = db.ask(limits.applying, tables.Key(pod.namespace, pod.name))
        return filters.plaintext_requests(pod.uid, _plaintext(db, pod), applying, limited)
    if slot is filters.Slot.AUTHORIZATION:
        limited = db.ask(limits.applying, tables.Key(pod.namespace, pod.name))
        counting = rate_limits.of_requests(limited, rate_limits.Where.ARRIVING, pod.uid)
        return filters.requests(str(name), pod.uid, applying, counting)
    return filters.connections(slot, pod.uid, applying)


def _ask_slot(db: graph.Db, pod: service.Workload, slot: filters.Slot, name: str) -> Message:
    who, questions = _asking(db, pod)
    if not slot.http:
        return filters.asked_connections(slot, pod.uid, who, questions)
    issuers = db.ask(tokens.applying, tables.Key(pod.namespace, pod.name))
    traced = db.ask(observing.of_pod, tables.Key(pod.namespace, pod.name)).server.traced
    more = observed.Observed(db.ask(observing.headers, pod.namespace), traced.share if traced else -1.0)
    if slot is filters.Slot.ASK:
        return filters.asked_requests(name, who, questions, issuers, told=more)
    return filters.asked_plaintext(pod.uid, _plaintext(db, pod), who, questions, issuers, more)


def _gateway_slot(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    slot, namespace, gateway = name.parts
    if key.client != f"gateway/{namespace}/{gateway}" or slot not in filters.AT_GATEWAYS:
        return None
    owner = tables.Key(namespace, gateway)
    who, questions = _asking_gateway(db, owner)
    if slot == filters.Slot.ASK:
        return filters.asked_requests(str(name), who, questions, db.ask(tokens.at_gateway, owner), routed=True)
    local = [each for each in db.ask(limits.at_gateway, owner) if each.scope is limit.Scope.LOCAL]
    counting = rate_limits.of_requests(local, rate_limits.Where.UNKNOWN, who.whose)
    return filters.requests(str(name), who.whose, db.ask(policies.at_gateway, owner), counting)


def _asking(db: graph.Db, pod: service.Workload) -> tuple[external.Asker, authorizers.Questions]:
    """In whose name authorizers are asked about calls to a pod, and which."""
    who = external.Asker(pod.namespace, pod.account, pod.uid)
    return who, db.ask(authorizers.asked, tables.Key(pod.namespace, pod.name))


def _asking_gateway(db: graph.Db, owner: tables.Key) -> tuple[external.Asker, authorizers.Questions]:
    accounts = db.ask(workloads.accounts_of_gateway, owner)
    account = min(accounts).name if accounts else "default"
    who = external.Asker(owner.namespace, account, f"{owner.namespace}/{owner.name}")
    return who, db.ask(authorizers.asked_at_gateway, owner)


def _gateway(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    namespace, gateway, port = name.parts
    if key.client != f"gateway/{namespace}/{gateway}" or not port.isdigit():
        return None
    owner = tables.Key(namespace, gateway)
    served = [x for x in db.ask(gateways.resolved, owner).listeners if x.port == int(port)]
    accounts = db.ask(workloads.accounts_of_gateway, owner)
    if not served or not accounts:
        return None
    account = min(accounts)
    settings = db.ask(workloads.settings, tables.ONE)
    identity = network.identity(settings.trust_domain, account.namespace, account.name)
    return entrance.listener(gateways.PortKey(namespace, gateway, int(port)), served, identity)


def _routes(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    client = name.parts[0]
    found = [db.ask(routing.table, k) for k in db.ask(routing.routed, client)]
    settings = db.ask(workloads.settings, tables.ONE)
    there = [t for t in found if t is not None]
    more = observed.Observed(db.ask(observing.headers, client), shares=dict(db.ask(observing.shares, client)))
    made = routes.outbound(client, there, settings, more)
    return rate_limits.on_routes(made, limits.followed(db, there), rate_limits.Where.LEAVING, client)


def _gateway_routes(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    namespace, gateway, port = name.parts[:3]
    hosts = _hosts(db, name) if key.client == f"gateway/{namespace}/{gateway}" else None
    if hosts is None:
        return None
    implied = int(port) == (443 if name.kind is Kind.LISTENER_ROUTES else 80)
    traced = db.ask(observing.of_gateway, tables.Key(namespace, gateway)).client.traced
    more = observed.Observed(db.ask(observing.headers, namespace), traced.share if traced else -1.0)
    number = 0 if implied else int(port)
    made = routes.gateway(str(name), namespace, hosts.tables, number, hosts.elsewhere, more)
    whole = db.ask(limits.at_gateway, tables.Key(namespace, gateway))
    # Asked about where the cluster is there; before, in the slot, Envoy would let a first request pass.
    asked = [each for each in whole if each.scope is limit.Scope.GLOBAL]
    given = (*asked, *limits.followed(db, hosts.tables))
    return rate_limits.on_routes(made, given, rate_limits.Where.UNKNOWN, f"{namespace}/{gateway}/{port}")


def _hosts(db: graph.Db, name: names.Name) -> gateways.Isolated | None:
    """The hosts behind a gateway's route configuration: of a whole port, or of one listener."""
    namespace, gateway, port = name.parts[:3]
    if not port.isdecimal():
        return None
    where = gateways.PortKey(namespace, gateway, int(port))
    if name.kind is Kind.LISTENER_ROUTES:
        return db.ask(gateways.isolated, gateways.ListenerKey(where, name.parts[3]))
    return gateways.Isolated(db.ask(gateways.tables_of, where), ())


def _virtual(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    port = db.ask(services.behind, name.parts[1])
    return clusters.nowhere(str(name)) if port is None else _cluster(db, name, port, key)


def _service(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    port = _port(name)
    if db.ask(services.port, port) is None:
        return clusters.nowhere(str(name))
    return _cluster(db, name, port, key)


def _port(name: names.Name) -> services.PortKey:
    """The Service's port in a name of client, namespace, Service, port, and perhaps a subset."""
    _, namespace, service_name, number = name.parts[:4]
    return services.PortKey(namespace, service_name, int(number) if number.isdigit() else 0)


def _authorizer(db: graph.Db, name: names.Name, key: Key) -> Message:
    namespace, account, provider = name.parts
    known = db.ask(authorizers.of, provider)
    if known is None or db.ask(services.port, known.at) is None:
        return clusters.nowhere(str(name))
    settings = db.ask(workloads.settings, tables.ONE)
    behind = db.ask(services.backers, known.at).accounts
    return clusters.authorizer(
        str(name),
        names.endpoints(known.at.namespace, known.at.name, known.at.port),
        http2=known.http is None,
        own=network.identity(settings.trust_domain, namespace, account),
        # Nobody is behind it yet: nobody may answer for it until an identity is known.
        identities=[each for a in behind for each in network.identities(settings, a.namespace, a.name)]
        or [network.identity(settings.trust_domain, "-", "nobody")],
    )


def _protocol(port: service.Port | None, name: names.Name, key: Key) -> service.Protocol:
    """What is spoken to a port: to one that says nothing, gateways speak HTTP/1.1 (GEP-1911)."""
    if name.kind is Kind.GRPC:
        return service.Protocol.HTTP2
    said = port.protocol if port else service.Protocol.AUTO
    return service.Protocol.HTTP1 if said is service.Protocol.AUTO and key.client == _GATEWAYS else said


def _cluster(db: graph.Db, name: names.Name, where: services.PortKey, key: Key) -> Message:
    view = destinations.View(name.parts[0], where, name.parts[4] if len(name.parts) > 4 else "")
    policy = db.ask(destinations.policy, view)
    if policy is None:  # there is no such subset
        return clusters.nowhere(str(name))
    port = db.ask(services.port, where)
    behind = db.ask(services.backers, where)
    settings = db.ask(workloads.settings, tables.ONE)
    identities = [id for a in behind.accounts for id in network.identities(settings, a.namespace, a.name)]
    if not identities and not behind.strangers:
        # Nobody is behind it yet: nobody may answer for it until an identity is known.
        identities = [network.identity(settings.trust_domain, "-", "nobody")]
    wish = db.ask(services.balancing, where.service)
    # A gateway is on no node: to the cluster's other nodes it is a caller from outside.
    near = wish.reach is not service.Reach.ZONE_FIRST and key.client != _GATEWAYS
    target = (names.node_endpoints if near else names.endpoints)(where.namespace, where.name, where.port)
    if db.ask(destinations.is_own, view):
        target = names.view(view.client, where.namespace, where.name, where.port, view.subset)
    protocol = _protocol(port, name, key)
    if policy.pool is not None and policy.pool.is_client_protocol and name.kind is not Kind.GRPC:
        protocol = service.Protocol.OPAQUE if protocol is service.Protocol.OPAQUE else service.Protocol.AUTO
    made = clusters.mesh_service(str(name), target, protocol, identities, behind.strangers, policy)
    if wish.sticky and policy.balancer is None:
        affinity.by_address(made)
    made.metadata.MergeFrom(logs.service(where.namespace, where.name))
    return made


def _address(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    found = db.ask(workloads.at, name.parts[1])
    settings = db.ask(workloads.settings, tables.ONE)
    if found is None:
        # On a cluster others than pods may have addresses of the pods' networks: virtual machines, databases, load
        # balancers of clouds that give all of them addresses of one network.
        nobody = settings.enrolment == "all"
        return clusters.nowhere(str(name)) if nobody else clusters.address(str(name), ())
    if found.secured:
        taken = db.ask(peers.taken, tables.Key(found.namespace, found.name))
        made = clusters.address(str(name), network.identities(settings, found.namespace, found.account), taken)
    else:
        made = clusters.address(str(name), ())
    made.metadata.MergeFrom(logs.workload(found.belongs_to))
    return made


def _endpoints(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    namespace, service_name, number = name.parts
    port = services.PortKey(namespace, service_name, int(number) if number.isdigit() else 0)
    found = db.ask(services.endpoints, port)
    if name.kind is Kind.ENDPOINTS:
        return endpoints.assignment(str(name), service.usable(found), key.zone)
    role, _, node = key.client.partition("/")
    if role != "node":
        return None
    reach = db.ask(services.balancing, port.service).reach
    near = service.usable(service.within(found, reach, node))
    return endpoints.assignment(str(name), near, key.zone, node)


def _view(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    view = destinations.View(name.parts[0], _port(name), name.parts[4] if len(name.parts) > 4 else "")
    return endpoints.grouped(str(name), db.ask(destinations.endpoints, destinations.Seen(view, key.zone)))


def _tls(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    role, _, rest = key.client.partition("/")
    namespace, _, gateway = rest.partition("/")
    secret = tables.Key(name.parts[0], name.parts[1])
    if role != "gateway" or secret not in db.ask(gateways.certificates_of, tables.Key(namespace, gateway)):
        return None
    pair = db.ask(gateways.certificate, secret)
    return secrets.tls(str(name), pair) if pair else None


def _destinations(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    value = struct_pb2.Struct()
    found = sorted(d for s in db.find(services.OPAQUE, True) for d in db.ask(services.opaque_destinations, s))
    value.update({"destinations": found})
    return typed_struct_pb2.TypedStruct(type_url="retic.dev/destinations", value=value)


def _pods(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    """For a node's agent: the pods that are its own, and which of them to capture."""
    role, _, node = key.client.partition("/")
    if role != "node":
        return None
    value = struct_pb2.Struct()
    value.update({"pods": [_listed(db, pod) for pod in db.ask(workloads.bound, node)]})
    around = _network(db)
    if around["pods"] or around["services"]:
        value.update({"network": around})
    return typed_struct_pb2.TypedStruct(type_url="retic.dev/pods", value=value)


def _told(db: graph.Db, name: names.Name, key: Key) -> Message | None:
    """For an agent: what is told of its workloads' requests."""
    role, _, rest = key.client.partition("/")
    namespace, _, gateway = rest.partition("/")
    if role == "node":
        pods = db.ask(workloads.on_node, rest)
        found = {pod.uid: db.ask(observing.of_pod, tables.Key(pod.namespace, pod.name)) for pod in pods}
    else:
        found = {"": db.ask(observing.of_gateway, tables.Key(namespace, gateway))}
    collectors = {}
    for provider in told.providers(found.values()):
        known = db.ask(observing_rules.collector, provider)
        if known is not None:
            there = db.ask(services.endpoints, known.service) if known.service else ()
            collectors[provider] = told.Collector(known, tuple(service.usable(there)))
    return told.resource(found, collectors)


def _network(db: graph.Db) -> dict[str, Any]:
    """What redirection has to know: the mesh's networks (IPv4), and where the cluster's DNS is."""
    settings = db.ask(workloads.settings, tables.ONE)
    return {
        "pods": list(network.aggregate(settings.pod_networks)),
        "services": list(network.aggregate(settings.service_networks)),
        "dns": db.ask(services.dns, tables.ONE),
    }


def _listed(db: graph.Db, pod: service.Workload) -> dict[str, Any]:
    probed = db.ask(probes.of, tables.Key(pod.namespace, pod.name))
    return {
        "uid": pod.uid,
        "namespace": pod.namespace,
        "name": pod.name,
        "service_account": pod.account,
        "ip": pod.address,
        "mesh": pod.role is service.Role.WORKLOAD,
        "probes": [{"port": port} for port in probed.ports],
    }


_BUILDERS = {
    Kind.OUTBOUND: _listener,
    Kind.OPAQUE: _listener,
    Kind.INBOUND: _listener,
    Kind.GATEWAY: _gateway,
    Kind.ROUTES: _routes,
    Kind.GATEWAY_ROUTES: _gateway_routes,
    Kind.LISTENER_ROUTES: _gateway_routes,
    Kind.VIRTUAL: _virtual,
    Kind.SERVICE: _service,
    Kind.GRPC: _service,
    Kind.AUTHORIZER: _authorizer,
    Kind.ADDRESS: _address,
    Kind.APPLICATION: lambda db, name, key: clusters.application(),
    Kind.APPLICATION_TLS: lambda db, name, key: clusters.application_tls(),
    Kind.PASSTHROUGH: lambda db, name, key: clusters.passthrough(),
    Kind.MIRROR: lambda db, name, key: mirrors.cluster(),
    Kind.MIRRORS: lambda db, name, key: mirrors.listener(pods=key.client.startswith("node/")),
    Kind.ENDPOINTS: _endpoints,
    Kind.VIEW: _view,
    Kind.NODE_ENDPOINTS: _endpoints,
    Kind.TLS: _tls,
    Kind.FILTER: _slot,
    Kind.GATEWAY_FILTER: _gateway_slot,
    Kind.DESTINATIONS: _destinations,
    Kind.PODS: _pods,
    Kind.TOLD: _told,
}


@graph.query
def companions(db: graph.Db, key: Key) -> tuple[tuple[str, str], ...]:
    """What must reach a client before this resource, unasked: the clusters of external authorizers, which no
    request waits for."""
    name = names.parse(key.name)
    if name is not None and name.kind in (Kind.FILTER, Kind.GATEWAY_FILTER):
        return _authorizers(db, name, key)
    return ()


def _authorizers(db: graph.Db, name: names.Name, key: Key) -> tuple[tuple[str, str], ...]:
    """The clusters that the filter in a slot asks by."""
    slot = name.parts[0]
    if name.kind is Kind.GATEWAY_FILTER:
        if key.client != f"gateway/{name.parts[1]}/{name.parts[2]}" or slot != filters.Slot.ASK:
            return ()
        who, questions = _asking_gateway(db, tables.Key(name.parts[1], name.parts[2]))
    else:
        pod = _pod(db, name.parts[1], key)
        if pod is None or slot not in filters.ASKING:
            return ()
        who, questions = _asking(db, pod)
    able = (each for each in questions.asked if each.authorizer is not None)
    return tuple((names.CLUSTER, who.cluster(each.provider)) for each in able)
