"""How routes stand with their parents, and listeners with their routes: what a status is written from.

Values, not status: no condition, no time, no generation. A listener's own faults are in `gateways.resolved`
and count for nothing here: a route attaches to a listener whose certificate is missing (Gateway API,
ListenerStatus.attachedRoutes).
"""

import enum
import re

import msgspec

from retic import findings, graph
from retic.mesh import gateways, hosts, routing, rules, service, services, tables
from retic.objects import gateway, routes

KINDS = ("GRPCRoute", "HTTPRoute")

# What a rule asks for and cannot have.
_UNSUPPORTED = frozenset({"RT0205", "RT0207"})
_RULE = re.compile(r"spec\.rules\[(\d+)\]")


class Verdict(enum.StrEnum):
    """How a route stands with one parent, in the words of the specification (RouteConditionReason)."""

    ACCEPTED = "Accepted"
    NO_PARENT = "NoMatchingParent"
    NOT_ALLOWED = "NotAllowedByListeners"
    NO_HOST = "NoMatchingListenerHostname"


class Parent(msgspec.Struct, frozen=True):
    """One parentRef of a route that is Retic's to judge: a Service, or a Gateway of one of its classes.

    `number` is the entry of `spec.parentRefs`; `message` says in words why it is not accepted, else "".
    """

    number: int
    target: findings.Ref
    verdict: Verdict
    message: str


class Listener(msgspec.Struct, frozen=True):
    """One listener as written: kinds of routes it can take, those asked for that it cannot, and how many it has."""

    name: str
    port: int
    kinds: tuple[str, ...]
    unknown: tuple[str, ...]
    attached: int


@graph.query
def parents(db: graph.Db, ref: findings.Ref) -> tuple[Parent, ...]:
    """A route's parents that are Retic's, in the order of its parentRefs."""
    value = routing.value_of(db, ref)
    answer = []
    for number, parent in enumerate(value.spec.parent_refs if value else ()):
        target = tables.parent_ref(ref.namespace, parent)
        if target.kind == "Service":
            verdict, message = _service(db, parent, target)
        elif target.kind == "Gateway" and value is not None:
            found = db.get(tables.GATEWAYS, tables.Key(target.namespace, target.name))
            if found is None or not db.ask(gateways.ours, found.spec.gateway_class_name):
                continue
            verdict, message = _gateway(db, ref, parent, value.spec.hostnames, found)
        else:
            continue
        answer.append(Parent(number, target, verdict, message))
    return tuple(answer)


def _service(
    db: graph.Db, parent: routes.ParentReference, target: findings.Ref
) -> tuple[Verdict, str]:
    found = db.ask(services.resolved, tables.Key(target.namespace, target.name))
    if found is None:
        return Verdict.NO_PARENT, f"there is no {target}"
    if not found.address:
        return Verdict.NO_PARENT, f"{target} has no cluster IP, so no route applies to it"
    ports = [p for p in found.ports if routing.takes(parent, p)]
    if not ports:
        return Verdict.NO_PARENT, f"{target} has no such port"
    if all(p.protocol is service.Protocol.OPAQUE for p in ports):
        return Verdict.NO_PARENT, f"the port of {target} carries TCP by its name or appProtocol, not HTTP"
    return Verdict.ACCEPTED, ""


def _gateway(
    db: graph.Db, ref: findings.Ref, parent: routes.ParentReference, wanted: tuple[str, ...], found: gateway.Gateway
) -> tuple[Verdict, str]:
    key = found.metadata
    every = [gateways.written(x) for x in found.spec.listeners if x.protocol in gateways.PROTOCOLS]
    named = [x for x in every if gateways.wants(parent, x)]
    if not named:
        have = ", ".join(x.name for x in found.spec.listeners)
        return Verdict.NO_PARENT, f"Gateway {key.namespace}/{key.name} has no such listener; it has {have}"
    admitted = [x for x in named if gateways.admits(db, x, key.namespace, ref)]
    if not admitted:
        names = ", ".join(x.name for x in named)
        return Verdict.NOT_ALLOWED, f"allowedRoutes of {names} take no {ref.kind} of namespace {ref.namespace}"
    if not any(hosts.common(x.hostname, wanted) for x in admitted):
        have = ", ".join(sorted({x.hostname for x in admitted}))
        return Verdict.NO_HOST, f"no hostname of the route is one of the listeners': {have}"
    return Verdict.ACCEPTED, ""


class Unsupported(msgspec.Struct, frozen=True):
    """The faults that keep rules of a route from being carried out, by rule, and how many rules it has."""

    faults: tuple[tuple[int, findings.Fault], ...]
    rules: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """The rules concerned, each once."""
        return tuple(sorted({number for number, _ in self.faults}))

    @property
    def whole(self) -> bool:
        """Whether no rule is left."""
        return self.rules > 0 and len(self.numbers) == self.rules


@graph.query
def unsupported(db: graph.Db, ref: findings.Ref) -> Unsupported:
    """Which rules of a route cannot be carried out, whatever other objects there are."""
    value = routing.value_of(db, ref)
    found = []
    for fault in db.ask(rules.of, ref).faults:
        rule = _RULE.match(fault.path)
        if rule and fault.code in _UNSUPPORTED:
            found.append((int(rule[1]), fault))
    return Unsupported(tuple(found), len(value.spec.rules) if value else 0)


@graph.query
def listeners(db: graph.Db, key: tables.Key) -> tuple[Listener, ...]:
    """Every listener of a Gateway, as its author wrote them, with the routes that attach to it."""
    found = db.get(tables.GATEWAYS, key)
    if found is None:
        return ()
    attached = routing.attached(db, findings.Ref("Gateway", key.namespace, key.name))
    values = [
        (ref, value)
        for ref in attached
        if (value := routing.value_of(db, ref)) is not None and not db.ask(unsupported, ref).whole
    ]
    return tuple(_listener(db, key, x, values) for x in found.spec.listeners)


def _listener(
    db: graph.Db,
    key: tables.Key,
    listener: gateway.Listener,
    routed: list[tuple[findings.Ref, routes.HTTPRoute | routes.GRPCRoute]],
) -> Listener:
    if listener.protocol not in gateways.PROTOCOLS:
        return Listener(listener.name, listener.port, (), (), 0)
    asked = listener.allowed_routes.kinds if listener.allowed_routes else ()
    good = [k.kind for k in asked if k.kind in KINDS and (k.group or gateway.GROUP) == gateway.GROUP]
    unknown = [k.kind for k in asked if k.kind not in KINDS or (k.group or gateway.GROUP) != gateway.GROUP]
    written = gateways.written(listener)
    target = findings.Ref("Gateway", key.namespace, key.name)
    count = 0
    for ref, value in routed:
        meant = any(
            tables.parent_ref(ref.namespace, p) == target and gateways.wants(p, written)
            for p in value.spec.parent_refs
        )
        if meant and gateways.admits(db, written, key.namespace, ref):
            count += bool(hosts.common(written.hostname, value.spec.hostnames))
    kinds = tuple(dict.fromkeys(good)) if asked else KINDS
    return Listener(listener.name, listener.port, kinds, tuple(unknown), count)
