"""Faults of RateLimits: limits of what does not exist, by what nobody has, and such as refuse nothing."""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import limit, limits, peers, service, services, tables, workloads
from retic.objects import limits as objects
from retic.objects import routes

Fault = findings.Fault


@graph.query
def of(db: graph.Db, key: tables.Key) -> tuple[Fault, ...]:
    """The faults of one RateLimit; none when there is no such object."""
    found, meaning = db.get(tables.LIMITS, key), db.ask(limits.of, key)
    if found is None or meaning is None:
        return ()
    ref = findings.Ref(limits.KIND, key.namespace, key.name)
    return (
        *meaning.faults,
        *_nowhere(db, ref, found.spec),
        *_unsaid(ref, found.spec),
        *_unreached(ref, meaning.limits),
        *_nobody(db, ref, found.spec, meaning.limits),
        *_uncounted(db, ref, meaning.limits),
    )


def _uncounted(db: graph.Db, ref: findings.Ref, given: tuple[limit.Limit, ...]) -> Iterator[Fault]:
    asked = [each for each in given if each.scope is limit.Scope.GLOBAL]
    reason = db.get(tables.COUNTING, tables.ONE) if asked else None
    for each in asked if reason else ():
        what = "is refused" if each.fail_closed else "passes"
        yield Fault(
            "RT0575", ref, f"spec.limits[{each.number}].scope",
            f"it cannot be counted at the moment, so every request {what}: {reason}",
            "see that the store of global limits can be reached and takes our user and password",
        )


def _nowhere(db: graph.Db, ref: findings.Ref, spec: objects.RateLimitSpec) -> Iterator[Fault]:
    if not spec.target_refs:
        if not _pods(db, ref.namespace, spec):
            yield Fault(
                "RT0571", ref, "spec.selector" if spec.selector else "spec",
                f"no pod of namespace {ref.namespace} is meant: nothing is limited",
                "use labels that pods have (kubectl get pods --show-labels), or name a target in spec.targetRefs",
            )
        return
    for i, target in enumerate(spec.target_refs):
        yield from _target(db, ref, target, f"spec.targetRefs[{i}]")


def _target(db: graph.Db, ref: findings.Ref, target: objects.LimitTarget, path: str) -> Iterator[Fault]:
    key = tables.Key(ref.namespace, target.name)
    named = findings.Ref(target.kind, key.namespace, key.name)
    called = db.ask(services.resolved, key) if target.kind == "Service" else None
    route = db.get(tables.HTTP_ROUTES, key) if target.kind == "HTTPRoute" else None
    door = db.get(tables.GATEWAYS, key) if target.kind == "Gateway" else None
    if called is None and route is None and door is None:
        yield Fault(
            "RT0571", ref, f"{path}.name", f"there is no {named}: nothing is limited", "create it or correct the name"
        )
    elif route is not None and target.section_name:
        yield from _rule(ref, route, target.section_name, f"{path}.sectionName")
    elif called is not None and called.ports and all(p.protocol is service.Protocol.OPAQUE for p in called.ports):
        yield Fault(
            "RT0573", ref, f"{path}.name", f"every port of {named} carries TCP, in which no requests are counted",
            "set the appProtocol of a port that carries HTTP to http, or remove the target",
        )


def _rule(ref: findings.Ref, there: routes.HTTPRoute, wanted: str, path: str) -> Iterator[Fault]:
    have = [rule.name for rule in there.spec.rules if rule.name]
    if wanted not in have:
        known = f"use one of its rules' names: {', '.join(have)}" if have else "give the rule that is meant this name"
        yield Fault("RT0571", ref, path, f"HTTPRoute {ref.namespace}/{there.metadata.name} has no such rule", known)


def _unsaid(ref: findings.Ref, spec: objects.RateLimitSpec) -> Iterator[Fault]:
    """Fields that belong to the other scope."""
    for i, each in enumerate(spec.limits):
        asked = each.scope == limit.Scope.GLOBAL.value
        if asked and each.burst is not None:
            yield Fault(
                "RT0574", ref, f"spec.limits[{i}].burst", "a global limit counts windows of time, which hold no burst",
                f"remove it: {each.requests} requests pass in each {each.per}",
            )
        if not asked and each.fail_closed:
            yield Fault(
                "RT0574", ref, f"spec.limits[{i}].failClosed", "a local limit is always counted",
                "remove it, or write scope: Global",
            )


def _unreached(ref: findings.Ref, given: tuple[limit.Limit, ...]) -> Iterator[Fault]:
    """Limits that another one of the object reaches first, whoever calls."""
    for each in given:
        first = next((other for other in given if _first(other, each)), None)
        if first is not None:
            yield Fault(
                "RT0573", ref, f"spec.limits[{each.number}].requests",
                f"spec.limits[{first.number}] counts the same by the same, and refuses sooner: this one never does",
                "remove one of the two, or let them count by something else",
            )


def _first(other: limit.Limit, each: limit.Limit) -> bool:
    same = other.matches in ((), each.matches) and other.headers == each.headers and not other.dry_run
    same = same and (other.identity, other.address, other.scope) == (each.identity, each.address, each.scope)
    if other.number == each.number or not same:
        return False
    slower = other.requests * each.seconds <= each.requests * other.seconds
    smaller = other.burst <= each.burst if each.scope is limit.Scope.LOCAL else other.seconds >= each.seconds
    equal = (other.requests, other.seconds, other.burst) == (each.requests, each.seconds, each.burst)
    return slower and smaller and (not equal or other.number < each.number or other.matches != each.matches)


def _nobody(
    db: graph.Db, ref: findings.Ref, spec: objects.RateLimitSpec, given: tuple[limit.Limit, ...]
) -> Iterator[Fault]:
    by = [each for each in given if each.identity]
    where = _unidentified(db, ref.namespace, spec) if by else ""
    for each in by if where else ():
        yield Fault(
            "RT0572", ref, f"spec.limits[{each.number}].by.identity", f"{where}: they share one count",
            "count them by address or by a header, or limit where callers prove who they are (mode STRICT)",
        )


def _unidentified(db: graph.Db, namespace: str, spec: objects.RateLimitSpec) -> str:
    """Where callers have no identity; "" when they have one everywhere."""
    for target in spec.target_refs:
        key = tables.Key(namespace, target.name)
        if target.kind == "Gateway":
            return f"whoever calls Gateway {namespace}/{target.name} from outside has no identity"
        route = db.get(tables.HTTP_ROUTES, key) if target.kind == "HTTPRoute" else None
        parents = [tables.parent_ref(namespace, parent) for parent in route.spec.parent_refs] if route else []
        for parent in parents:
            if parent.kind == "Gateway":
                return f"whoever is routed by HTTPRoute {namespace}/{target.name} at {parent} has no identity"
    for pod in _pods(db, namespace, spec):
        taken = db.ask(peers.taken, pod)
        if taken.whole.plaintext or any(each.terms.plaintext for each in taken.ports):
            return f"Pod {namespace}/{pod.name} takes plaintext, and who calls by it has no identity"
    return ""


def _pods(db: graph.Db, namespace: str, spec: objects.RateLimitSpec) -> list[tables.Key]:
    found = []
    for key in sorted(db.find(tables.PODS_BY_NAMESPACE, namespace)):
        labels = db.ask(workloads.pod_labels, key)
        if labels is not None and limits.pod_ports(db, spec, key, labels) is not None:
            found.append(key)
    return found
