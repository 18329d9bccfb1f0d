"""Where a request is sent to: a Service's port, a pod, an address, or a host of a gateway."""

import msgspec

from retic import findings
from retic.explain.request.answer import Asked, Unclear
from retic.explain.request.world import World
from retic.mesh import network, services, tables, workloads

_SCHEMES = {"http": 80, "https": 443}


class ToService(msgspec.Struct, frozen=True):
    """A Service's port at its virtual address. `exists`: whether the Service has such a port."""

    port: services.PortKey
    exists: bool


class ToHeadless(msgspec.Struct, frozen=True):
    """A headless Service's name: each pod's own address, and the port that was dialled."""

    port: services.PortKey
    addresses: tuple[str, ...]


class ToAddress(msgspec.Struct, frozen=True):
    """An address that is no Service's."""

    address: str
    port: int


class ToHost(msgspec.Struct, frozen=True):
    """A URL."""

    scheme: str
    host: str
    port: int


Target = ToService | ToHeadless | ToAddress | ToHost


class Parsed(msgspec.Struct, frozen=True):
    """`authority` is what a client writes in Host when it is told nothing else; `path` "" when there is none."""

    target: Target
    authority: str
    path: str = ""


def find(world: World, asked: Asked, home: str) -> Parsed:
    """`home` is the namespace in which short names are looked up. Raises Unclear."""
    scheme, slashes, rest = asked.target.partition("://")
    if slashes:
        return _url(asked.target, scheme.lower(), rest)
    host, colon, number = asked.target.rpartition(":")
    if not colon or not number.isascii() or not number.isdecimal() or not 0 < int(number) < 65536:
        raise Unclear(f"--to {asked.target} has no port: write NAME:PORT, IP:PORT, or http://HOST/ for a gateway")
    address = network.ipv4(host)
    if address is not None:
        return Parsed(_address(world, address, int(number)), asked.target)
    return Parsed(_name(world, host.lower().removesuffix("."), int(number), home), _authority(host, int(number)))


def _authority(host: str, port: int) -> str:
    """As clients write it: port 80 goes without saying."""
    return host if port == 80 else f"{host}:{port}"


def _url(target: str, scheme: str, rest: str) -> Parsed:
    place, slash, path = rest.partition("/")
    host, colon, number = place.rpartition(":")
    if not colon:
        host, number = place, ""
    if scheme not in _SCHEMES or not host or (colon and not (number.isdecimal() and 0 < int(number) < 65536)):
        raise Unclear(f"--to {target} is no URL of a gateway: write http://HOST[:PORT]/ or https://HOST[:PORT]/")
    port = int(number) if number else _SCHEMES[scheme]
    return Parsed(ToHost(scheme, host.lower(), port), place, slash + path)


def _address(world: World, address: str, port: int) -> Target:
    found = world.db.ask(services.behind, f"{address}:{port}")
    if found is not None:
        return ToService(found, exists=True)
    for key in sorted(world.db.find(tables.SERVICES_BY_ADDRESS, address)):
        return ToService(services.PortKey(key.namespace, key.name, port), exists=False)
    return ToAddress(address, port)


def _name(world: World, host: str, port: int, home: str) -> Target:
    """As a pod of that namespace resolves it: its own namespace first, then the cluster's."""
    domain = f".svc.{world.db.ask(workloads.settings, tables.ONE).cluster_domain}"
    short = host.removesuffix(domain).removesuffix(".svc")
    name, _, namespace = short.partition(".")
    found = None if "." in namespace else tables.Key(namespace or home, name)
    if found is None or world.db.ask(services.resolved, found) is None:
        raise Unclear(f"there is no Service {host}{_elsewhere(world, name, namespace, home)}")
    key = services.PortKey(found.namespace, found.name, port)
    service = world.db.ask(services.resolved, found)
    value = world.db.get(tables.SERVICES, found)
    if value is not None and value.spec.type == "ExternalName":
        outside = f"{value.spec.external_name}, outside the mesh"
        raise Unclear(f"Service {found.namespace}/{found.name} is a name for {outside}")
    if service is not None and not service.address:
        return ToHeadless(key, _addresses(world, found))
    return ToService(key, exists=world.db.ask(services.port, key) is not None)


def _addresses(world: World, key: tables.Key) -> tuple[str, ...]:
    found = world.db.ask(services.resolved, key)
    each = [
        e.address
        for p in (found.ports if found else ())
        for e in world.db.ask(services.endpoints, services.PortKey(key.namespace, key.name, p.number))
    ]
    return tuple(sorted(set(each)))


def _elsewhere(world: World, name: str, namespace: str, home: str) -> str:
    known = sorted(ref for ref in world.objects if ref.kind == "Service")
    there = [ref.namespace for ref in known if ref.name == name]
    if there:
        return f": there is one in namespace {there[0]}; write {name}.{there[0]}:PORT"
    own = [ref.name for ref in known if ref.namespace == (namespace or home)]
    return f": namespace {namespace or home} has {', '.join(own[:8]) or 'none'}"


def ref(port: services.PortKey) -> findings.Ref:
    """The Service."""
    return findings.Ref("Service", port.namespace, port.name)
