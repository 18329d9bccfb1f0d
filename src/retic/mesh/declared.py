"""Which ports of a pod are declared to carry HTTP, by the Services that select it.

Such a port receives requests only: whatever a caller's proxy took a connection for, the receiving one parses it.
Refuses to derive endpoints of it: those are the EndpointSlices'. A Service without a selector declares nothing
here.
"""

from collections.abc import Callable

import msgspec

from retic import graph
from retic.mesh import service, services, tables
from retic.objects import core, pods


class Target(msgspec.Struct, frozen=True, order=True):
    """A port by number (text) or by a container port's name, of the pods that have these labels."""

    labels: tuple[tuple[str, str], ...]
    port: str


@graph.query
def targets(db: graph.Db, namespace: str) -> tuple[Target, ...]:
    """The ports that a namespace's Services declare HTTP."""
    found = (db.get(tables.SERVICES, key) for key in sorted(db.find(tables.SERVICES_BY_NAMESPACE, namespace)))
    return tuple(sorted({target for service in found if service is not None for target in _of(service.spec)}))


def _of(spec: core.ServiceSpec) -> set[Target]:
    if spec.type == "ExternalName" or not spec.selector:
        return set()
    labels = tuple(sorted(spec.selector.items()))
    return {Target(labels, str(p.target_port or p.port)) for p in spec.ports if services.is_http(p)}


@graph.query
def http_ports(db: graph.Db, key: tables.Key) -> tuple[int, ...]:
    """The pod's own ports that are declared HTTP, in order; none when there is no such pod."""
    pod = db.get(tables.PODS, key)
    if pod is None:
        return ()
    labels = pod.metadata.labels
    wanted = {t.port for t in db.ask(targets, key.namespace) if all(labels.get(k) == v for k, v in t.labels)}
    named = _named(pod.spec)
    numbers = {named.get(port, int(port) if port.isdecimal() else 0) for port in wanted}
    return tuple(sorted(numbers - {0}))


def _named(spec: pods.PodSpec) -> dict[str, int]:
    return {
        port.name: port.container_port
        for container in (*spec.init_containers, *spec.containers)
        for port in container.ports
        if port.name and (port.protocol or "TCP") == "TCP"
    }


class PortBacking(msgspec.Struct, frozen=True, order=True):
    """A pod, and one port of a Service of its namespace."""

    pod: tables.Key
    service: tables.Key
    port: int


class Backing(msgspec.Struct, frozen=True, order=True):
    """A pod, and a Service of its namespace."""

    pod: tables.Key
    service: tables.Key


@graph.query
def behind(db: graph.Db, key: Backing) -> tuple[int, ...]:
    """The pod's own ports that the Service leads to, in order; none when it does not select the pod."""
    return _behind(db, key, lambda port: True)


@graph.query
def behind_port(db: graph.Db, key: PortBacking) -> tuple[int, ...]:
    """As `behind`, of one port of the Service."""
    return _behind(db, Backing(key.pod, key.service), lambda port: port.port == key.port)


@graph.query
def tcp_behind(db: graph.Db, key: Backing) -> tuple[int, ...]:
    """Those of them that the Service declares to carry TCP, and no Service HTTP."""
    found = _behind(db, key, lambda port: services.protocol(port) is service.Protocol.OPAQUE)
    return tuple(sorted(set(found) - set(db.ask(http_ports, key.pod)))) if found else ()


def _behind(db: graph.Db, key: Backing, wanted: Callable[[core.ServicePort], bool]) -> tuple[int, ...]:
    pod, found = db.get(tables.PODS, key.pod), db.get(tables.SERVICES, key.service)
    if pod is None or found is None or not found.spec.selector or key.pod.namespace != key.service.namespace:
        return ()
    if any(pod.metadata.labels.get(name) != value for name, value in found.spec.selector.items()):
        return ()
    named = _named(pod.spec)
    meant = [str(port.target_port or port.port) for port in found.spec.ports if wanted(port)]
    numbers = {named.get(port, int(port) if port.isdecimal() else 0) for port in meant}
    return tuple(sorted(numbers - {0}))
