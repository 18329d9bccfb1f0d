"""Services: their ports' protocols, what their endpoints are, who is behind them."""

from collections.abc import Iterable

import msgspec

from retic import graph
from retic.mesh import network, peers, service, tables, workloads
from retic.objects import core, discovery

# Kubernetes' own appProtocols (KEP-3726), IANA names, and Istio's port-name prefixes.
_PROTOCOLS = {
    "kubernetes.io/h2c": service.Protocol.HTTP2,
    "kubernetes.io/ws": service.Protocol.AUTO,
    "kubernetes.io/wss": service.Protocol.OPAQUE,
    "http": service.Protocol.AUTO,
    "http1": service.Protocol.AUTO,
    "http2": service.Protocol.HTTP2,
    "h2c": service.Protocol.HTTP2,
    "grpc": service.Protocol.HTTP2,
    "grpc-web": service.Protocol.AUTO,
    "https": service.Protocol.OPAQUE,
    "tls": service.Protocol.OPAQUE,
    "tcp": service.Protocol.OPAQUE,
    "mysql": service.Protocol.OPAQUE,
    "mongo": service.Protocol.OPAQUE,
    "redis": service.Protocol.OPAQUE,
    "postgres": service.Protocol.OPAQUE,
    "postgresql": service.Protocol.OPAQUE,
    "smtp": service.Protocol.OPAQUE,
    "amqp": service.Protocol.OPAQUE,
    "kafka": service.Protocol.OPAQUE,
    "nats": service.Protocol.OPAQUE,
}


class PortKey(msgspec.Struct, frozen=True, order=True):
    """A Service's port by number."""

    namespace: str
    name: str
    port: int

    @property
    def service(self) -> tables.Key:
        """The Service's own key."""
        return tables.Key(self.namespace, self.name)


def protocol(port: core.ServicePort) -> service.Protocol:
    """What a port carries: by `appProtocol`, else by the name's first word, else found out."""
    return _declared(port) or service.Protocol.AUTO


def is_http(port: core.ServicePort) -> bool:
    """Whether a port is declared to carry HTTP, of whatever version."""
    return (port.protocol or "TCP") == "TCP" and _declared(port) not in (None, service.Protocol.OPAQUE)


def _declared(port: core.ServicePort) -> service.Protocol | None:
    if port.app_protocol:
        return _PROTOCOLS.get(port.app_protocol.lower())
    name = (port.name or "").lower()
    found = _PROTOCOLS.get(name) or _PROTOCOLS.get(name.partition("-")[0])
    if found is None and port.port in network.SERVER_FIRST_PORTS:
        return service.Protocol.OPAQUE
    return found


@graph.query
def resolved(db: graph.Db, key: tables.Key) -> service.Service | None:
    """A Service, without ports that the mesh does not carry; ExternalName has no address and no ports."""
    found = db.get(tables.SERVICES, key)
    if found is None:
        return None
    address = found.spec.cluster_ip or ""
    ports = tuple(
        service.Port(port.port, port.name or "", protocol(port))
        for port in found.spec.ports
        if (port.protocol or "TCP") == "TCP"
    )
    external = found.spec.type == "ExternalName"
    return service.Service(
        key.namespace, key.name, "" if external or address == "None" else address, () if external else ports
    )


@graph.query
def port(db: graph.Db, key: PortKey) -> service.Port | None:
    """One port of a Service."""
    found = db.ask(resolved, key.service)
    return next((p for p in found.ports if p.number == key.port), None) if found else None


@graph.query
def balancing(db: graph.Db, key: tables.Key) -> service.Balancing:
    """How a Service wants its callers led (core/v1, ServiceSpec): internalTrafficPolicy goes before
    trafficDistribution, as in kube-proxy."""
    found = db.get(tables.SERVICES, key)
    if found is None:
        return service.Balancing()
    reach = service.Reach.ZONE_FIRST
    if found.spec.internal_traffic_policy == "Local":
        reach = service.Reach.NODE_ONLY
    elif found.spec.traffic_distribution == "PreferSameNode":
        reach = service.Reach.NODE_FIRST
    return service.Balancing(reach, found.spec.session_affinity == "ClientIP")


@graph.query
def behind(db: graph.Db, destination: str) -> PortKey | None:
    """The Service port at `address:port`."""
    address, _, number = destination.rpartition(":")
    for key in sorted(db.find(tables.SERVICES_BY_ADDRESS, address)):
        if number.isdigit() and db.ask(port, PortKey(key.namespace, key.name, int(number))):
            return PortKey(key.namespace, key.name, int(number))
    return None


@graph.query
def endpoints(db: graph.Db, key: PortKey) -> tuple[service.Endpoint, ...]:
    """Where the port could be reached, each with its state, without those that would loop."""
    wanted = db.ask(port, key)
    if wanted is None:
        return ()
    answer: set[service.Endpoint] = set()
    for name in db.find(tables.SLICES_BY_SERVICE, key.service):
        piece = db.get(tables.SLICES, name)
        if piece is None or piece.address_type != "IPv4":
            continue
        number = _number(piece, wanted.name)
        if number is None:
            continue
        for endpoint in piece.endpoints:
            address = endpoint.addresses[0] if endpoint.addresses else ""
            if not network.unfit(address, number):
                answer.add(_endpoint(db, address, number, endpoint))
    return tuple(sorted(answer))


def _number(piece: discovery.EndpointSlice, name: str) -> int | None:
    for p in piece.ports:
        if (p.name or "") == name and (p.protocol or "TCP") == "TCP":
            return p.port
    return None


def _endpoint(db: graph.Db, address: str, number: int, said: discovery.Endpoint) -> service.Endpoint:
    who = db.ask(workloads.at, address)
    zone, state, node = said.zone or "", _state(said.conditions), said.node_name or ""
    if who is None or who.role is service.Role.GATEWAY:
        return service.Endpoint(
            address, number, zone, "", "", secured=False, state=state, node=node, workload=who.belongs_to if who else ""
        )
    secured = who.secured and db.ask(peers.taken, tables.Key(who.namespace, who.name)).at(number).secured
    return service.Endpoint(
        address, number, zone, who.account, who.namespace, secured, state, node, who.belongs_to
    )


def _state(conditions: discovery.EndpointConditions) -> service.State:
    if conditions.ready is not False:
        return service.State.READY
    serving = conditions.serving and conditions.terminating
    return service.State.SERVING if serving else service.State.AWAY


_DNS = tables.Key("kube-system", "kube-dns")  # CoreDNS keeps this name in every distribution that has it


@graph.query
def dns(db: graph.Db, key: tables.One) -> str:
    """The IPv4 address of the cluster's DNS, "" when there is none."""
    told = db.ask(workloads.settings, key).dns
    found = db.get(tables.SERVICES, _DNS)
    return network.ipv4(told) or network.ipv4((found.spec.cluster_ip if found else None) or "") or ""


def _opaque(_: tables.Key, value: core.Service) -> Iterable[bool]:
    return [True] if any(protocol(p) is service.Protocol.OPAQUE for p in value.spec.ports) else []


OPAQUE = graph.index(tables.SERVICES, _opaque, name="services.opaque")


class Backers(msgspec.Struct, frozen=True):
    """Who is behind a port: the accounts of its pods, and whether some of it may be reached in plaintext."""

    accounts: tuple[service.Account, ...]
    strangers: bool


@graph.query
def backers(db: graph.Db, key: PortKey) -> Backers:
    """The accounts that really back the port, ready or not: readiness alone changes no cluster.

    Where namespaces are enrolled one by one, the accounts are those of all pods and plaintext is always possible:
    a pod that joins or leaves the mesh changes endpoints, and no cluster under load.
    """
    found = db.ask(endpoints, key)
    accounts = {service.Account(e.namespace, e.account) for e in found if e.account}
    mixed = db.ask(workloads.settings, tables.ONE).enrolment != "all"
    return Backers(tuple(sorted(accounts)), mixed or any(not e.secured for e in found))


@graph.query
def opaque_destinations(db: graph.Db, key: tables.Key) -> tuple[str, ...]:
    """The `address:port` of a Service that nobody looks into: its own address with its ports, or, where it is
    headless, its endpoints', ready or not: readiness alone must change nothing."""
    found = db.ask(resolved, key)
    if found is None:
        return ()
    ports = [p.number for p in found.ports if p.protocol is service.Protocol.OPAQUE]
    if found.address:
        return tuple(f"{found.address}:{number}" for number in ports)
    each = [e for number in ports for e in db.ask(endpoints, PortKey(key.namespace, key.name, number))]
    return tuple(sorted({f"{e.address}:{e.port}" for e in each}))
