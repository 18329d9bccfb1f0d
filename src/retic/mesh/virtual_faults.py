"""What is wrong with a VirtualService as a whole: hosts and gateways that it does not get, and who takes its place.

Faults of single routes come with the rules (`virtual_rules`). Faults are looked for in all uses at once, and then in
each, since a destination without a port is that which was called.
"""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import gateways, routing, service, services, tables, virtual, virtual_rules, workloads
from retic.objects import virtual_services as vs

Faults = Iterator[findings.Fault]


@graph.query
def of(db: graph.Db, key: tables.Key) -> tuple[findings.Fault, ...]:
    """The faults of one VirtualService."""
    value = db.get(tables.VIRTUAL_SERVICES, key)
    if value is None:
        return ()
    ref = virtual.ref(key)
    found = list(db.ask(virtual_rules.of, virtual_rules.Use(key, "", 0)).faults)
    known = {(each.code, each.path) for each in found}
    for use in _uses(db, key, value):
        found += [f for f in db.ask(virtual_rules.of, use).faults if (f.code, f.path) not in known]
    found += [
        *_fields(ref, value.spec), *_hosts(db, key, value), *_gateways(db, key, value), *_reached(ref, value.spec),
        *_contested(db, key, value), *_delegated(db, key, value),
    ]  # fmt: skip
    return tuple(dict.fromkeys(found))


def _uses(db: graph.Db, key: tables.Key, value: vs.VirtualService) -> Iterator[virtual_rules.Use]:
    """Every port that is called in its name, once."""
    ports: set[tuple[int, tables.Key | None]] = set()
    for name in db.ask(virtual.bound, key):
        ports.update((p.number, None) for p in _http_ports(db, name))
    for ref in virtual.gateways_of(value, key.namespace):
        where = tables.Key(ref.namespace, ref.name)
        ports.update((x.port, where) for x in db.ask(gateways.resolved, where).listeners)
    for port, at in sorted(ports, key=str):
        yield virtual_rules.Use(key, key.namespace, port, at)


def _http_ports(db: graph.Db, name: tables.Key) -> list[service.Port]:
    found = db.ask(services.resolved, name)
    if found is None or not found.address:
        return []
    return [p for p in found.ports if p.protocol is not service.Protocol.OPAQUE]


def _fields(ref: findings.Ref, spec: vs.VirtualServiceSpec) -> Faults:
    for name, given in (("tcp", spec.tcp), ("tls", spec.tls)):
        if given:
            yield findings.Fault(
                "RT0554", ref, f"spec.{name}",
                f"{name} routes have no effect: such connections go where they are made to",
                "call the Service that is meant; write http for requests",
            )
    for i, each in enumerate(spec.http):
        for j, match in enumerate(each.match):
            where = f"spec.http[{i}].match[{j}]"
            if match.stat_prefix:
                yield findings.Fault(
                    "RT0548", ref, f"{where}.statPrefix", "no statistics are kept by statPrefix", "remove statPrefix"
                )
            if match.source_labels and spec.gateways and tables.MESH not in spec.gateways:
                yield findings.Fault(
                    "RT0557", ref, f"{where}.sourceLabels", "at a Gateway nobody has labels: this matches no request",
                    "remove sourceLabels, or name mesh in gateways",
                )


def _reached(ref: findings.Ref, spec: vs.VirtualServiceSpec) -> Faults:
    """Routes behind one that takes everything."""
    for i, each in enumerate(spec.http[:-1]):
        if not each.match and each.delegate is None:
            yield findings.Fault(
                "RT0555", ref, f"spec.http[{i + 1}]",
                f"no request comes so far: route {i + 1} has no match and takes them all",
                "move the route without match to the end",
            )
            return


def _hosts(db: graph.Db, key: tables.Key, value: vs.VirtualService) -> Faults:
    """Hosts that are no Service's, where calls between pods are meant."""
    if tables.MESH not in (value.spec.gateways or (tables.MESH,)):
        return
    ref, domain = virtual.ref(key), db.ask(workloads.settings, tables.ONE).cluster_domain
    alone = not virtual.gateways_of(value, key.namespace)
    for i, host in enumerate(value.spec.hosts):
        path = f"spec.hosts[{i}]"
        if host.startswith("*"):
            if alone and not any(_fits(db, key, name, host) for name in db.ask(virtual.bound, key)):
                yield _nobody(ref, path, f"no Service has a name like {host}", domain)
            continue
        name = virtual.meant(host, key.namespace, domain)
        found = db.ask(services.resolved, name) if name else None
        if found is None:
            if alone:
                missing = f"there is no Service {name.namespace}/{name.name}" if name else ""
                yield _nobody(ref, path, missing or f"{host} is no Service of the cluster", domain)
        elif value.spec.http:
            yield from _carried(ref, path, found)


def _fits(db: graph.Db, key: tables.Key, name: tables.Key, host: str) -> bool:
    domain = db.ask(workloads.settings, tables.ONE).cluster_domain
    return tables.virtual_host(key.namespace, host) in virtual.patterns(name, domain)


def _nobody(ref: findings.Ref, path: str, said: str, domain: str) -> findings.Fault:
    return findings.Fault(
        "RT0550", ref, path, f"{said}: nothing is routed by this host", f"write NAME, or NAME.NAMESPACE.svc.{domain}"
    )


def _carried(ref: findings.Ref, path: str, found: service.Service) -> Faults:
    name = f"Service {found.namespace}/{found.name}"
    if not found.address:
        yield findings.Fault(
            "RT0550", ref, path,
            f"{name} has no virtual address (it is headless or an ExternalName), so no route applies "
            "to it", "route to a Service with a cluster IP",
        )
    elif found.ports and all(p.protocol is service.Protocol.OPAQUE for p in found.ports):
        yield findings.Fault(
            "RT0550", ref, path, f"all ports of {name} carry TCP by their name or appProtocol, not HTTP",
            "set a port's appProtocol to http, or remove the host",
        )


def _gateways(db: graph.Db, key: tables.Key, value: vs.VirtualService) -> Faults:
    """Gateways that do not take it."""
    ref = virtual.ref(key)
    for i, name in enumerate(value.spec.gateways):
        if name == tables.MESH:
            continue
        target, path = tables.virtual_gateway(key.namespace, name), f"spec.gateways[{i}]"
        at = tables.Key(target.namespace, target.name)
        found = db.get(tables.GATEWAYS, at)
        if found is None:
            yield findings.Fault(
                "RT0551", ref, path,
                f"there is no {target} of gateway.networking.k8s.io (Istio's own Gateways are not read)",
                "create it with gatewayClassName: retic, or correct the name",
            )
            continue
        if not db.ask(gateways.ours, found.spec.gateway_class_name):
            continue
        served = db.ask(gateways.resolved, at).listeners
        admitted = [x for x in served if gateways.admits(db, x, at.namespace, ref)]
        if served and not admitted:
            yield findings.Fault(
                "RT0551", ref, path, f"no listener of {target} takes VirtualServices of namespace {key.namespace}",
                "set a listener's allowedRoutes: namespaces: {from: All}, and kinds with VirtualService or none",
            )
        elif admitted and value.spec.http and not _attached(db, at, ref):
            have = ", ".join(sorted({x.hostname or "*" for x in admitted}))
            yield findings.Fault(
                "RT0551", ref, path, f"no host is one of the listeners' of {target}: {have}", "correct hosts"
            )


def _attached(db: graph.Db, at: tables.Key, ref: findings.Ref) -> list[gateways.Attachment]:
    return [a for a in db.ask(gateways.virtual_attachments, at) if a.ref == ref]


def _contested(db: graph.Db, key: tables.Key, value: vs.VirtualService) -> Faults:
    """Services and hosts where another object holds instead."""
    ref = virtual.ref(key)
    if not value.spec.http:
        return
    for name in db.ask(virtual.bound, key):
        instead = dict.fromkeys(_instead(db, key, name, _http_ports(db, name)))
        for other in instead:
            wins = (
                "a route of the Gateway API goes before a VirtualService"
                if other.kind != "VirtualService" else "its host is more specific, it is for fewer, or it is older"
            )  # fmt: skip
            yield findings.Fault(
                "RT0552" if other.kind != "VirtualService" else "RT0553", ref, "spec.hosts",
                f"{other} holds for Service {name.namespace}/{name.name} instead: {wins}", "keep one of the two",
            )
        if name.namespace != key.namespace and not instead and "" in tables.exported(key.namespace, value):
            yield findings.Fault(
                "RT0558", ref, "spec.hosts",
                f"it decides for calls of every namespace to Service {name.namespace}/{name.name}, "
                f"which is not its own", f"write exportTo: [{key.namespace}] if only that namespace's calls are meant",
            )
    for target in virtual.gateways_of(value, key.namespace):
        at = tables.Key(target.namespace, target.name)
        mine = {(a.listener, a.host) for a in _attached(db, at, ref)}
        for other in sorted({a.ref for a in db.ask(gateways.attachments, at) if (a.listener, a.host) in mine}):
            yield findings.Fault(
                "RT0552", ref, "spec.hosts",
                f"{other} holds for a host of it at {target} instead: a route of the Gateway "
                "API goes before a VirtualService", "keep one of the two",
            )


def _instead(
    db: graph.Db, key: tables.Key, name: tables.Key, ports: list[service.Port]
) -> Iterator[findings.Ref]:
    """Who decides, to clients of its own namespace and of the Service's, about ports that it is for."""
    for port in ports:
        where = services.PortKey(name.namespace, name.name, port.number)
        for client in dict.fromkeys((key.namespace, name.namespace)):
            yield from routing.deciding(db, routing.ClientPort(client, where))
            holding = db.ask(virtual.holding, virtual.Called(client, where))
            if holding not in (None, key):
                yield virtual.ref(holding)


def _delegated(db: graph.Db, key: tables.Key, value: vs.VirtualService) -> Faults:
    if not value.spec.hosts and not db.find(tables.VIRTUAL_SERVICES_BY_DELEGATE, key):
        yield findings.Fault(
            "RT0556", virtual.ref(key), "spec",
            "it has no hosts, and no VirtualService delegates to it: it does nothing",
            "add hosts, or name it as a delegate",
        )
