"""Gateways: their listeners, the certificates they use, and the rules of each host on each port."""

from collections.abc import Iterable

import msgspec

from retic import findings, graph
from retic.mesh import fields, grants, hosts, route, routing, rules, tables, virtual, virtual_rules
from retic.objects import gateway, routes, virtual_services

_GROUP = "gateway.networking.k8s.io"
_TLS = "kubernetes.io/tls"
PROTOCOLS = ("HTTP", "HTTPS")


class Listener(msgspec.Struct, frozen=True):
    """A listener that can be served. `certificates` name Secrets; `hostname` "" takes every host."""

    name: str
    port: int
    hostname: str
    https: bool
    certificates: tuple[tables.Key, ...]
    allowed: gateway.AllowedRoutes


class Resolved(msgspec.Struct, frozen=True):
    """A Gateway's listeners that can be served, and the faults of the others."""

    listeners: tuple[Listener, ...]
    faults: tuple[findings.Fault, ...]


class PortKey(msgspec.Struct, frozen=True, order=True):
    """One port of a Gateway."""

    namespace: str
    name: str
    port: int


@graph.query
def ours(db: graph.Db, name: str) -> bool:
    """Whether a GatewayClass is Retic's; the class `retic` always is."""
    found = db.get(tables.CLASSES, tables.Key("", name))
    return found.spec.controller_name == tables.CONTROLLER if found else name == "retic"


@graph.query
def resolved(db: graph.Db, key: tables.Key) -> Resolved:
    """A Gateway of ours, listener by listener; nothing for one that is somebody else's."""
    found = db.get(tables.GATEWAYS, key)
    if found is None or not db.ask(ours, found.spec.gateway_class_name):
        return Resolved((), ())
    origin = findings.Ref("Gateway", key.namespace, key.name)
    faults: list[findings.Fault] = []
    listeners: list[Listener] = []
    for i, listener in enumerate(found.spec.listeners):
        path = f"spec.listeners[{i}]"
        fault = _conflict(origin, found.spec, i) or _unchecked(origin, found.spec, i)
        made = None if fault else _listener(db, key, listener, path, faults)
        if fault:
            faults.append(fault)
        if made:
            listeners.append(made)
    return Resolved(tuple(listeners), tuple(faults))


def _conflict(origin: findings.Ref, spec: gateway.GatewaySpec, number: int) -> findings.Fault | None:
    """What keeps a listener from being told apart. Of several in conflict none wins (Gateway API, Gateway.spec.
    listeners: "the implementation MUST NOT pick one conflicting Listener as the winner")."""
    listener, path = spec.listeners[number], f"spec.listeners[{number}]"
    if listener.protocol not in PROTOCOLS:
        return findings.Fault(
            "RT0303", origin, f"{path}.protocol",
            f"Retic does not serve protocol {listener.protocol} on listener {listener.name}",
            "use HTTP or HTTPS",
        )
    host = (listener.hostname or "").lower()
    for i, other in enumerate(spec.listeners):
        if i == number or other.port != listener.port or other.protocol not in PROTOCOLS:
            continue
        if other.protocol != listener.protocol:
            return findings.Fault(
                "RT0304", origin, f"{path}.protocol",
                f"listeners {listener.name} and {other.name} have one port and two protocols: neither is served",
                "give one of them another port, or both one protocol",
            )
        if (other.hostname or "").lower() == host:
            return findings.Fault(
                "RT0304", origin, f"{path}.hostname",
                f"listeners {listener.name} and {other.name} have the same port and host: neither is served",
                "give one of them another port or hostname",
            )
    return None


def _unchecked(origin: findings.Ref, spec: gateway.GatewaySpec, number: int) -> findings.Fault | None:
    """A listener that is to let in clients with a certificate only would let in everybody."""
    wanted = fields.client_certificates(spec, number)
    if wanted is None or wanted.optional:
        return None
    name = spec.listeners[number].name
    return findings.Fault(
        "RT0307", origin, wanted.path,
        f"listener {name} is not served: it wants client certificates, which Retic does not check yet",
        "remove it to let in clients without a certificate",
    )


def _listener(
    db: graph.Db, key: tables.Key, listener: gateway.Listener, path: str, faults: list[findings.Fault]
) -> Listener | None:
    certificates: list[tables.Key] = []
    https = listener.protocol == "HTTPS"
    if https:
        certificates = _certificates(db, key, listener, path, faults)
        if not certificates:
            return None
    return written(listener, tuple(certificates))


def written(listener: gateway.Listener, certificates: tuple[tables.Key, ...] = ()) -> Listener:
    """A listener as its author wrote it, whether or not it can be served."""
    return Listener(
        listener.name,
        listener.port,
        (listener.hostname or "").lower(),
        listener.protocol == "HTTPS",
        certificates,
        listener.allowed_routes or gateway.AllowedRoutes(),
    )


def _certificates(
    db: graph.Db, key: tables.Key, listener: gateway.Listener, path: str, faults: list[findings.Fault]
) -> list[tables.Key]:
    origin = findings.Ref("Gateway", key.namespace, key.name)
    answer = []
    tls = listener.tls or gateway.ListenerTLS()
    if tls.mode == "Passthrough":
        fault = findings.Fault(
            "RT0303", origin, f"{path}.tls.mode", "an HTTPS listener ends TLS, so it cannot pass it through",
            "set tls.mode: Terminate",
        )
        faults.append(fault)
        return []
    if not tls.certificate_refs:
        fault = findings.Fault(
            "RT0302", origin, path, f"HTTPS listener {listener.name} names no certificate",
            "add tls.certificateRefs with a Secret of type kubernetes.io/tls",
        )
        faults.append(fault)
    for i, ref in enumerate(tls.certificate_refs):
        secret = tables.Key(ref.namespace or key.namespace, ref.name)
        wrong = _unusable(db, key, ref, secret)
        if wrong:
            where = f"{path}.tls.certificateRefs[{i}]"
            faults.append(findings.Fault(wrong[0], origin, where, wrong[1], wrong[2]))
        else:
            answer.append(secret)
    return answer


def _unusable(
    db: graph.Db, key: tables.Key, ref: gateway.SecretObjectReference, secret: tables.Key
) -> tuple[str, str, str] | None:
    if (ref.kind or "Secret") != "Secret" or (ref.group or "") != "":
        return "RT0302", f"a {ref.kind} cannot be a certificate", "name a Secret of type kubernetes.io/tls"
    asked = grants.Reference(_GROUP, "Gateway", key.namespace, "", "Secret", secret.namespace, secret.name)
    if not db.ask(grants.allowed, asked):
        return (
            "RT0204",
            f"Gateways of namespace {key.namespace} may not refer to Secrets of namespace {secret.namespace}",
            f"add a ReferenceGrant in namespace {secret.namespace} from Gateway of {key.namespace} to Secret",
        )
    found = db.get(tables.SECRETS, secret)
    where = f"{secret.namespace}/{secret.name}"
    if found is None:
        return (
            "RT0302", f"there is no Secret {where}, or none that could be used",
            "create it with type: kubernetes.io/tls, or mend what its own finding says",
        )
    if found.type != _TLS:
        return (
            "RT0302", f"Secret {where} is of type {found.type or 'Opaque'}, and a certificate's is {_TLS}",
            f"write type: {_TLS} in the Secret",
        )
    if hosts.certificate(found) is None:
        return "RT0302", f"Secret {where} has no PEM in tls.crt and tls.key", "make it of type kubernetes.io/tls"
    return None


def admits(db: graph.Db, listener: Listener, own: str, ref: findings.Ref) -> bool:
    """Whether the listener takes a route of this kind from this namespace (AllowedRoutes)."""
    kinds = listener.allowed.kinds
    group = virtual_services.GROUP if ref.kind == "VirtualService" else _GROUP
    if kinds and all(k.kind != ref.kind or (k.group or _GROUP) != group for k in kinds):
        return False
    wanted = listener.allowed.namespaces or gateway.RouteNamespaces()
    match wanted.from_ or "Same":
        case "All":
            return True
        case "Same":
            return ref.namespace == own
        case "Selector" if wanted.selector is not None:
            namespace = db.get(tables.NAMESPACES, tables.Key("", ref.namespace))
            labels = {"kubernetes.io/metadata.name": ref.namespace}
            return wanted.selector.matches({**labels, **(namespace.metadata.labels if namespace else {})})
    return False


class Attachment(msgspec.Struct, frozen=True):
    """A route on a listener, for one host ("" is every host)."""

    ref: findings.Ref
    listener: str
    host: str


@graph.query
def attachments(db: graph.Db, key: tables.Key) -> tuple[Attachment, ...]:
    """Which route serves which host on which listener of the Gateway."""
    found = db.ask(resolved, key)
    parent = findings.Ref("Gateway", key.namespace, key.name)
    answer: list[Attachment] = []
    for ref in routing.attached(db, parent):
        value = routing.value_of(db, ref)
        for p in value.spec.parent_refs if value else ():
            if tables.parent_ref(ref.namespace, p) != parent or value is None:
                continue
            for listener in found.listeners:
                if wants(p, listener) and admits(db, listener, key.namespace, ref):
                    common = hosts.common(listener.hostname, value.spec.hostnames)
                    answer.extend(Attachment(ref, listener.name, host) for host in common)
    return tuple(dict.fromkeys(answer))


def wants(parent: routes.ParentReference, listener: Listener) -> bool:
    """Whether a parentRef means this listener: by name, by port, both or neither."""
    return parent.section_name in (None, "", listener.name) and parent.port in (None, listener.port)


class ListenerKey(msgspec.Struct, frozen=True, order=True):
    """One listener of a Gateway, by name, on a port."""

    port: PortKey
    listener: str


class Isolated(msgspec.Struct, frozen=True):
    """What one listener serves, and the host names ("*" is every other) that belong to others of its port."""

    tables: tuple[route.Table, ...]
    elsewhere: tuple[str, ...]


@graph.query
def isolated(db: graph.Db, key: ListenerKey) -> Isolated | None:
    """The hosts of one listener alone; None when it is not served.

    For listeners that a connection belongs to before its first request says a host: those of TLS (GEP-3567).
    """
    gateway_key = tables.Key(key.port.namespace, key.port.name)
    listeners = [x for x in db.ask(resolved, gateway_key).listeners if x.port == key.port.port]
    mine = next((x.hostname for x in listeners if x.name == key.listener), None)
    if mine is None:
        return None
    names = [x.hostname for x in listeners]
    own = tuple(
        table for table in db.ask(tables_of, key.port)
        if all(hosts.owner("" if domain == "*" else domain, names) == mine for domain in table.domains)
    )  # fmt: skip
    return Isolated(own, tuple(sorted(name or "*" for name in names if name != mine)))


@graph.query
def tables_of(db: graph.Db, key: PortKey) -> tuple[route.Table, ...]:
    """The hosts of a port and their rules, in order of precedence.

    Rules of less specific hosts of the same listener follow those of more specific ones. A host belongs to
    the most specific listener that takes it, and to no other (GEP-1713, listener isolation).
    """
    gateway_key = tables.Key(key.namespace, key.name)
    listeners = [x for x in db.ask(resolved, gateway_key).listeners if x.port == key.port]
    names = [x.hostname for x in listeners]
    by_host: dict[str, list[findings.Ref]] = {name: [] for name in names}
    for a in db.ask(attachments, gateway_key):
        mine = next((x for x in listeners if x.name == a.listener), None)
        if mine is not None and mine.hostname == hosts.owner(a.host, names):
            by_host.setdefault(a.host, []).append(a.ref)
    owners = {host: hosts.owner(host, names) for host in by_host}
    others = _virtual(db, key, listeners, [host for host, refs in by_host.items() if refs])
    answer = []
    for host in sorted({*by_host, *others}):
        if host in others:
            answer.append(route.Table((host or "*",), others[host]))
            continue
        together = {other: refs for other, refs in by_host.items() if owners[other] == owners[host]}
        answer.append(route.Table((host or "*",), _rules_of(db, host, together)))
    return tuple(answer)


def _virtual(
    db: graph.Db, key: PortKey, listeners: list[Listener], taken: Iterable[str]
) -> dict[str, tuple[route.Rule, ...]]:
    """The hosts of VirtualServices and their rules: of one after the other, the older one first, and of no other host.
    Hosts that a route of the Gateway API names (`taken`) are that route's."""
    answer: dict[str, tuple[route.Rule, ...]] = {}
    for a in db.ask(virtual_attachments, tables.Key(key.namespace, key.name)):
        mine = next((x for x in listeners if x.name == a.listener), None)
        if mine is None or a.host in taken or mine.hostname != hosts.owner(a.host, [x.hostname for x in listeners]):
            continue
        where = tables.Key(key.namespace, key.name)
        use = virtual_rules.Use(
            tables.Key(a.ref.namespace, a.ref.name), key.namespace, key.port, where, https=mine.https
        )
        made = db.ask(virtual_rules.of, use)
        if made.applies:
            answer[a.host] = (*answer.get(a.host, ()), *made.rules)
    return answer


@graph.query
def virtual_attachments(db: graph.Db, key: tables.Key) -> tuple[Attachment, ...]:
    """Which VirtualService serves which host on which listener of the Gateway, the older one first."""
    found = db.ask(resolved, key)
    parent = findings.Ref("Gateway", key.namespace, key.name)
    those = []
    for name in db.find(tables.VIRTUAL_SERVICES_BY_GATEWAY, parent):
        value = db.get(tables.VIRTUAL_SERVICES, name)
        if value is not None and value.spec.http:
            those.append((virtual.order(value, name), name, value))
    answer: list[Attachment] = []
    for _, name, value in sorted(those, key=lambda each: each[0]):
        ref = virtual.ref(name)
        wanted = tuple("" if host == "*" else host.removesuffix(".") for host in value.spec.hosts)
        for listener in found.listeners:
            if admits(db, listener, key.namespace, ref):
                common = hosts.common(listener.hostname, wanted)
                answer.extend(Attachment(ref, listener.name, host) for host in common)
    return tuple(dict.fromkeys(answer))


def _rules_of(db: graph.Db, host: str, by_host: dict[str, list[findings.Ref]]) -> tuple[route.Rule, ...]:
    answer: list[route.Rule] = []
    for other in sorted(by_host, key=hosts.specificity):
        if hosts.covers(other, host):
            refs = dict.fromkeys(by_host[other])
            answer.extend(rules.ordered([(db.ask(rules.of, ref), ref) for ref in refs]))
    return tuple(dict.fromkeys(answer))


@graph.query
def certificate(db: graph.Db, key: tables.Key) -> tuple[bytes, bytes] | None:
    """Chain and key, both PEM, of a Secret that some Gateway may use."""
    found = db.get(tables.SECRETS, key)
    return hosts.certificate(found) if found else None


@graph.query
def certificates_of(db: graph.Db, key: tables.Key) -> frozenset[tables.Key]:
    """The Secrets that a Gateway's listeners use: no other is sent to it."""
    return frozenset(c for x in db.ask(resolved, key).listeners for c in x.certificates)
