"""Which VirtualService holds for what: for a Service's port in the eyes of a client namespace, for a Gateway's hosts.

Of several for one Service one holds and the others do nothing there: that of the most specific host, then that which is
exported to the client's own namespace only, to some namespaces, to all; then the older one; then by NAMESPACE/NAME.
"""

from collections.abc import Iterable

import msgspec

from retic import findings, graph
from retic.mesh import services, tables, workloads
from retic.objects import virtual_services


class Called(msgspec.Struct, frozen=True, order=True):
    """A Service's port in the eyes of one client namespace."""

    client: str
    port: services.PortKey


def ref(key: tables.Key) -> findings.Ref:
    """A VirtualService."""
    return findings.Ref("VirtualService", key.namespace, key.name)


def order(value: virtual_services.VirtualService, key: tables.Key) -> tuple[str, str, str]:
    """The older one first, then by NAMESPACE/NAME."""
    return (value.metadata.creation_timestamp or "", key.namespace, key.name)


def patterns(name: tables.Key, domain: str) -> tuple[str, ...]:
    """The hosts, as keys of their index, that mean a Service: the most specific first."""
    whole = f"{name.name}.{name.namespace}.svc.{domain}"
    rest = whole.split(".")[1:]
    wild = [f"*.{'.'.join(rest[i:])}" for i in range(len(rest))]
    return (whole, f"{name.name}.{name.namespace}.svc", f"{name.name}.{name.namespace}", *wild)


def meant(host: str, namespace: str, domain: str) -> tables.Key | None:
    """The Service that a host without * is the name of; None for one outside of the cluster. Whether there is such a
    Service is another question."""
    name, *rest = tables.virtual_host(namespace, host).split(".")
    if len(rest) == 1 or ".".join(rest[1:]) in ("svc", f"svc.{domain}"):
        return tables.Key(rest[0], name) if rest else None
    return None


@graph.query
def bound(db: graph.Db, key: tables.Key) -> tuple[tables.Key, ...]:
    """The Services that a VirtualService names for calls between pods, whether it is the one that holds or not."""
    found = db.get(tables.VIRTUAL_SERVICES, key)
    if found is None or tables.MESH not in (found.spec.gateways or (tables.MESH,)):
        return ()
    answer: set[tables.Key] = set()
    domain = db.ask(workloads.settings, tables.ONE).cluster_domain
    for host in found.spec.hosts:
        if host.startswith("*"):
            answer.update(_wild(db, host.lower(), domain))
        elif (name := meant(host, key.namespace, domain)) and db.ask(services.resolved, name) is not None:
            answer.add(name)
    return tuple(sorted(answer))


def _wild(db: graph.Db, host: str, domain: str) -> Iterable[tables.Key]:
    end = host.removeprefix("*").removesuffix(".")
    namespace = end.removesuffix(f".svc.{domain}").removeprefix(".")
    if end.endswith(f".svc.{domain}") and "." not in namespace:
        return db.find(tables.SERVICES_BY_NAMESPACE, namespace)
    return [key for key in db.find(tables.SERVICES_EVERY, tables.ONE) if f"*{end}" in patterns(key, domain)]


@graph.query
def holding(db: graph.Db, key: Called) -> tables.Key | None:
    """The VirtualService that holds for HTTP calls of the client namespace to the port's Service."""
    domain = db.ask(workloads.settings, tables.ONE).cluster_domain
    for pattern in patterns(key.port.service, domain):
        those = []
        for one in db.find(tables.VIRTUAL_SERVICES_BY_HOST, pattern):
            value = db.get(tables.VIRTUAL_SERVICES, one)
            if value is not None and value.spec.http and (near := _nearness(value, one, key.client)) is not None:
                those.append((near, order(value, one), one))
        if those:
            return min(those)[2]
    return None


def _nearness(value: virtual_services.VirtualService, key: tables.Key, client: str) -> int | None:
    """How closely it is for the clients of a namespace, 0 for nobody else; None when it is not."""
    names = tables.exported(key.namespace, value)
    if "" in names:
        return 2
    if client not in names:
        return None
    return 0 if names == (client,) else 1


@graph.query
def seen(db: graph.Db, client: str) -> tuple[services.PortKey, ...]:
    """The ports of all Services for which some VirtualService says something to clients of a namespace."""
    answer: set[services.PortKey] = set()
    for consumer in ("", client):
        for key in db.find(tables.VIRTUAL_SERVICES_BY_EXPORT, consumer):
            for name in db.ask(bound, key):
                found = db.ask(services.resolved, name)
                answer.update(
                    services.PortKey(name.namespace, name.name, port.number) for port in (found.ports if found else ())
                )
    return tuple(sorted(answer))


def gateways_of(value: virtual_services.VirtualService, namespace: str) -> tuple[findings.Ref, ...]:
    """The Gateways that it names."""
    return tuple(tables.virtual_gateway(namespace, name) for name in value.spec.gateways if name != tables.MESH)
