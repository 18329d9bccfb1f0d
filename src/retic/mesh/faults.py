"""Faults of meaning, object by object: what is well formed and yet does not do what its author expects."""

from collections.abc import Callable

from retic import findings, graph
from retic.mesh import (
    faults_authorizers,
    faults_destination,
    faults_limits,
    faults_peer,
    faults_tcp,
    faults_telemetry,
    fields,
    gateways,
    labels,
    network,
    policies,
    routing,
    rules,
    service,
    services,
    tables,
    tokens,
    virtual_faults,
)
from retic.objects import gateway, routes

Faults = tuple[findings.Fault, ...]

# Kinds whose faults are found by themselves.
_OF_KIND: dict[str, Callable[[graph.Db, findings.Ref], Faults]] = {
    "PeerAuthentication": faults_peer.of,
    "DestinationRule": faults_destination.of,
    "Telemetry": lambda db, ref: tuple(faults_telemetry.of(db, ref)),
    "TelemetryProvider": lambda db, ref: db.ask(faults_telemetry.of_provider, ref.name),
    "Namespace": lambda db, ref: tuple(labels.namespace(db, ref)),
    "Pod": lambda db, ref: tuple(labels.pod(db, ref)),
    "Node": lambda db, ref: tuple(labels.node(db, ref)),
    "AuthorizationProvider": lambda db, ref: db.ask(faults_authorizers.of, ref.name),
    "RateLimit": lambda db, ref: db.ask(faults_limits.of, tables.Key(ref.namespace, ref.name)),
    "VirtualService": lambda db, ref: db.ask(virtual_faults.of, tables.Key(ref.namespace, ref.name)),
}


@graph.query
def of(db: graph.Db, ref: findings.Ref) -> Faults:
    """The faults of one object; none for kinds that the mesh has no opinion on."""
    key = tables.Key(ref.namespace, ref.name)
    if ref.kind in _OF_KIND:
        return _OF_KIND[ref.kind](db, ref)
    match ref.kind:
        case "HTTPRoute" | "GRPCRoute":
            return db.ask(rules.of, ref).faults + _parents(db, ref)
        case "Gateway":
            return _gateway(db, ref, key)
        case "GatewayClass":
            return _class(db, ref, key)
        case "EndpointSlice":
            return _slice(db, ref, key)
        case "Service":
            return _service(db, ref, key)
        case "AuthorizationPolicy":
            return _policy(db, ref, key)
        case "RequestAuthentication":
            return tokens.faults(db, key)
    return ()


def _policy(db: graph.Db, ref: findings.Ref, key: tables.Key) -> Faults:
    found, meaning = db.get(tables.POLICIES, key), db.ask(policies.of, key)
    if found is None or meaning is None:
        return ()
    return (
        *meaning.faults,
        *tokens.asked_in_vain(db, ref, found.spec),
        *faults_authorizers.of_policy(db, ref, meaning.value),
        *faults_tcp.of(db, ref),
    )


def _parents(db: graph.Db, ref: findings.Ref) -> Faults:
    value = routing.value_of(db, ref)
    answer: list[findings.Fault] = []
    given = value.spec.parent_refs if value else ()
    parents = [tables.parent_ref(ref.namespace, parent) for parent in given]
    for i, (parent, target) in enumerate(zip(given, parents, strict=True)):
        path = f"spec.parentRefs[{i}]"
        if target.kind == "Service":
            fault = _service_parent(db, ref, target, parent, path)
        elif target.kind == "Gateway":
            fault = _gateway_parent(db, ref, target, parent, path)
        else:
            fault = _no_parent(ref, parent, path)
        if fault:
            answer.append(fault)
    if value is not None and value.spec.use_default_gateways not in (None, "None"):
        answer.append(
            findings.Fault(
                "RT0205", ref, "spec.useDefaultGateways",
                "Retic has no default Gateways: this attaches the route to none",
                "name the Gateway in parentRefs",
            )
        )
    if value is not None and value.spec.hostnames and any(p.kind == "Service" for p in parents):
        answer.append(
            findings.Fault(
                "RT0206", ref, "spec.hostnames", "hostnames are ignored where the parent is a Service",
                "remove hostnames; the Service itself says which requests are meant",
            )
        )
    return tuple(answer)


def _no_parent(ref: findings.Ref, parent: routes.ParentReference, path: str) -> findings.Fault:
    """Neither a Gateway nor a Service, or one of them in a group that has none."""
    if parent.kind in ("Service", "Gateway"):
        left_out = " (what it is when left out)" if parent.group == gateway.GROUP else ""
        fix = 'write group: "" beside kind: Service'
        return findings.Fault(
            "RT0203", ref, f"{path}.group",
            f'the group "{parent.group}"{left_out} has no {parent.kind}, so this attaches the route to nothing',
            fix if parent.kind == "Service" else f"remove group, or {fix}",
        )
    return findings.Fault(
        "RT0203", ref, f"{path}.kind", f"a {parent.kind} cannot be a route's parent",
        'name a Gateway, or a Service (kind: Service, group: "")',
    )


def _service_parent(
    db: graph.Db, ref: findings.Ref, target: findings.Ref, parent: routes.ParentReference, path: str
) -> findings.Fault | None:
    found = db.ask(services.resolved, tables.Key(target.namespace, target.name))
    if found is None:
        return findings.Fault(
            "RT0203", ref, f"{path}.name", f"there is no {target}", "create it or correct the name"
        )
    if not found.address:
        return findings.Fault(
            "RT0203", ref, f"{path}.name",
            f"{target} has no virtual address (it is headless or an ExternalName), so no route applies to it",
            "attach the route to a Service with a cluster IP",
        )
    ports = [p for p in found.ports if routing.takes(parent, p)]
    if not ports:
        have = ", ".join(str(p.number) for p in found.ports) or "none"
        return findings.Fault(
            "RT0203", ref, path, f"{target} has no such port", f"use one of its ports: {have}"
        )
    if all(p.protocol is service.Protocol.OPAQUE for p in ports):
        return findings.Fault(
            "RT0203", ref, path, f"the port of {target} carries TCP by its name or appProtocol, not HTTP",
            "set the port's appProtocol to http, or remove the route",
        )
    return None


def _gateway_parent(
    db: graph.Db, ref: findings.Ref, target: findings.Ref, parent: routes.ParentReference, path: str
) -> findings.Fault | None:
    key = tables.Key(target.namespace, target.name)
    found = db.get(tables.GATEWAYS, key)
    if found is None:
        return findings.Fault(
            "RT0203", ref, f"{path}.name", f"there is no {target}", "create it or correct the name"
        )
    if not db.ask(gateways.ours, found.spec.gateway_class_name):
        return None
    named = [
        x
        for x in found.spec.listeners
        if parent.section_name in (None, "", x.name) and parent.port in (None, x.port)
    ]
    if not named:
        have = ", ".join(x.name for x in found.spec.listeners)
        return findings.Fault(
            "RT0203", ref, path, f"{target} has no such listener", f"use one of its listeners: {have}"
        )
    names = {x.name for x in named}
    if any(a.ref == ref and a.listener in names for a in db.ask(gateways.attachments, key)):
        return None
    if not any(x.name in names for x in db.ask(gateways.resolved, key).listeners):
        return None
    return findings.Fault(
        "RT0203", ref, path, f"no listener of {target} takes this route: namespace, kind or hostnames differ",
        "set allowedRoutes of the listener (from: All takes other namespaces) or correct the hostnames",
    )


def _gateway(db: graph.Db, ref: findings.Ref, key: tables.Key) -> Faults:
    found = db.get(tables.GATEWAYS, key)
    if found is None:
        return ()
    name = found.spec.gateway_class_name
    if name != "retic" and db.get(tables.CLASSES, tables.Key("", name)) is None:
        return (
            findings.Fault(
                "RT0305", ref, "spec.gatewayClassName", f"there is no GatewayClass {name}",
                "use gatewayClassName: retic",
            ),
        )
    if not db.ask(gateways.ours, name):
        return (
            findings.Fault(
                "RT0301", ref, "spec.gatewayClassName", f"GatewayClass {name} is not Retic's: not served here",
                "use gatewayClassName: retic to have it served",
            ),
        )
    return db.ask(gateways.resolved, key).faults + tuple(fields.gateways(ref, found.spec))


def _class(db: graph.Db, ref: findings.Ref, key: tables.Key) -> Faults:
    found = db.get(tables.CLASSES, key)
    if found is None or not db.ask(gateways.ours, ref.name):
        return ()
    return tuple(fields.gateway_class(ref, found.spec))


def _slice(db: graph.Db, ref: findings.Ref, key: tables.Key) -> Faults:
    found = db.get(tables.SLICES, key)
    answer: list[findings.Fault] = []
    if found is None:
        return ()
    if found.address_type != "IPv4":
        return (
            findings.Fault(
                "RT0108", ref, "addressType", f"the mesh does not carry {found.address_type} endpoints",
                "use IPv4 addresses",
            ),
        )
    for i, endpoint in enumerate(found.endpoints):
        for address in endpoint.addresses[:1]:
            for p in found.ports:
                reason = network.unfit(address, p.port or 0)
                if reason:
                    answer.append(
                        findings.Fault(
                            "RT0105", ref, f"endpoints[{i}].addresses[0]",
                            f"the endpoint {address}:{p.port} is left out: {reason}",
                            "use the address and port of the server itself",
                        )
                    )
    return (*answer, *fields.endpoint_slice(ref, found))


def _service(db: graph.Db, ref: findings.Ref, key: tables.Key) -> Faults:
    found = db.get(tables.SERVICES, key)
    answer: list[findings.Fault] = []
    if found is None:
        return ()
    for i, p in enumerate(found.spec.ports):
        if (p.protocol or "TCP") != "TCP":
            answer.append(
                findings.Fault(
                    "RT0109", ref, f"spec.ports[{i}].protocol",
                    f"the mesh does not carry {p.protocol}: it passes unencrypted and without policy",
                    "keep it if that is meant",
                )
            )
    if "IPv6" in found.spec.ip_families:
        answer.append(
            findings.Fault(
                "RT0108", ref, "spec.ipFamilies", "the mesh does not carry IPv6", "use ipFamilies: [IPv4]"
            )
        )
    return (*answer, *fields.service(ref, found.spec))


