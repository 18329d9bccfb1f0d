"""Routes whose parent is a Service: what a client namespace's requests to a virtual address meet.

A route in the Service's own namespace is the producer's and holds for every client; a route elsewhere is
that namespace's own, and there it takes the producer's place (Gateway API, GEP-1426). Where there is none of them, a
VirtualService may hold (`virtual`).
"""

from collections.abc import Iterable

import msgspec

from retic import findings, graph
from retic.mesh import route, rules, service, services, tables, virtual, virtual_rules
from retic.objects import routes


class ClientPort(msgspec.Struct, frozen=True, order=True):
    """A Service's port in the eyes of one client namespace."""

    client: str
    port: services.PortKey


def _parents(value: routes.HTTPRoute | routes.GRPCRoute | None) -> tuple[routes.ParentReference, ...]:
    return value.spec.parent_refs if value else ()


def value_of(db: graph.Db, ref: findings.Ref) -> routes.HTTPRoute | routes.GRPCRoute | None:
    """The route object itself."""
    key = tables.Key(ref.namespace, ref.name)
    if ref.kind == "HTTPRoute":
        return db.get(tables.HTTP_ROUTES, key)
    return db.get(tables.GRPC_ROUTES, key)


def attached(db: graph.Db, parent: findings.Ref) -> list[findings.Ref]:
    """The routes that name this parent, whatever their port or section."""
    http = _refs("HTTPRoute", db.find(tables.HTTP_ROUTES_BY_PARENT, parent))
    grpc = _refs("GRPCRoute", db.find(tables.GRPC_ROUTES_BY_PARENT, parent))
    return sorted(http + grpc)


def _refs(kind: str, keys: Iterable[tables.Key]) -> list[findings.Ref]:
    return [findings.Ref(kind, key.namespace, key.name) for key in keys]


def takes(parent: routes.ParentReference, port: service.Port) -> bool:
    """Whether a parentRef to a Service means this port; without port and section it means all."""
    if parent.port is not None and parent.port != port.number:
        return False
    return parent.section_name in (None, "", port.name)


@graph.query
def table(db: graph.Db, key: ClientPort) -> route.Table | None:
    """The rules for requests to the port's virtual address; None when no route concerns it."""
    found = db.ask(services.resolved, key.port.service)
    port = db.ask(services.port, key.port)
    if found is None or port is None or not found.address or port.protocol is service.Protocol.OPAQUE:
        return None
    chosen = deciding(db, key)
    domains = (f"{found.address}:{port.number}",)
    if chosen:
        return route.Table(domains, rules.ordered([(db.ask(rules.of, ref), ref) for ref in chosen]))
    holding = db.ask(virtual.holding, virtual.Called(key.client, key.port))
    if holding is None:
        return None
    made = db.ask(virtual_rules.of, virtual_rules.Use(holding, key.client, port.number))
    return route.Table(domains, made.rules) if made.applies else None


def deciding(db: graph.Db, key: ClientPort) -> list[findings.Ref]:
    """The routes of the Gateway API that decide about calls to the port: a client's own, else the producer's."""
    port = db.ask(services.port, key.port)
    if port is None:
        return []
    parent = findings.Ref("Service", key.port.namespace, key.port.name)
    refs = [
        ref
        for ref in attached(db, parent)
        if ref.namespace in (key.client, key.port.namespace)
        and any(
            tables.parent_ref(ref.namespace, p) == parent and takes(p, port)
            for p in _parents(value_of(db, ref))
        )
    ]
    own = [ref for ref in refs if ref.namespace == key.client]
    return own or [ref for ref in refs if ref.namespace == key.port.namespace]


@graph.query
def routed(db: graph.Db, client: str) -> tuple[ClientPort, ...]:
    """The Service ports for which clients of a namespace have rules."""
    answer: set[ClientPort] = set()
    for consumer in ("", client):
        http = _refs("HTTPRoute", db.find(tables.HTTP_ROUTES_BY_CONSUMER, consumer))
        grpc = _refs("GRPCRoute", db.find(tables.GRPC_ROUTES_BY_CONSUMER, consumer))
        for ref in http + grpc:
            answer.update(_ports(db, client, ref))
    for port in db.ask(virtual.seen, client):
        key = ClientPort(client, port)
        if db.ask(table, key) is not None:
            answer.add(key)
    return tuple(sorted(answer))


def _ports(db: graph.Db, client: str, ref: findings.Ref) -> list[ClientPort]:
    answer = []
    for parent in _parents(value_of(db, ref)):
        target = tables.parent_ref(ref.namespace, parent)
        if target.kind != "Service":
            continue
        found = db.ask(services.resolved, tables.Key(target.namespace, target.name))
        for port in found.ports if found else ():
            key = ClientPort(client, services.PortKey(target.namespace, target.name, port.number))
            if takes(parent, port) and db.ask(table, key) is not None:
                answer.append(key)
    return answer
