"""RateLimits: what one means (`of`), and which limits apply to a pod, a gateway, or a rule of a route.

A RateLimit is for what is in its own namespace, and for nothing else. A Service as target stands for the
pods that it selects, on the ports that it leads to; a route for its rules, wherever they are followed.
"""

from collections.abc import Iterable

import msgspec

from retic import findings, graph
from retic.mesh import declared, limit, route, rules, scopes, tables, translation, workloads
from retic.objects import gateway, routes
from retic.objects import limits as objects

KIND = "RateLimit"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


class Meaning(msgspec.Struct, frozen=True):
    """A RateLimit's limits before it is known where, and the faults in them. A limit all of whose matches cannot be
    used is left out."""

    limits: tuple[limit.Limit, ...]
    faults: tuple[findings.Fault, ...]


@graph.query
def of(db: graph.Db, key: tables.Key) -> Meaning | None:
    """What the RateLimit says, wherever it holds; None when there is none of that name."""
    found = db.get(tables.LIMITS, key)
    if found is None:
        return None
    notes = translation.Notes(findings.Ref(KIND, key.namespace, key.name))
    made = [_limit(notes, each, number) for number, each in enumerate(found.spec.limits)]
    return Meaning(tuple(each for each in made if each is not None), tuple(notes.faults))


def _limit(notes: translation.Notes, said: objects.Limit, number: int) -> limit.Limit | None:
    path = f"spec.limits[{number}].matches"
    read = [
        rules.http_match(notes, routes.HTTPRouteMatch(path=each.path, headers=each.headers, method=each.method), where)
        for where, each in ((f"{path}[{i}]", each) for i, each in enumerate(said.matches))
    ]
    matches = tuple(dict.fromkeys(each for each in read if each is not None))
    if read and not matches:
        return None
    by = said.by or objects.LimitBy()
    return limit.Limit(
        origin=notes.origin,
        number=number,
        requests=said.requests,
        seconds=_SECONDS[said.per],
        burst=said.burst or said.requests,
        identity=bool(by.identity),
        headers=tuple(dict.fromkeys(name.lower() for name in by.headers)),
        address=bool(by.address),
        matches=() if route.Match() in matches else matches,
        scope=limit.Scope(said.scope or limit.Scope.LOCAL.value),
        dry_run=bool(said.dry_run),
        fail_closed=bool(said.fail_closed),
    )


@graph.query
def by_name(db: graph.Db, name: str) -> limit.Limit | None:
    """The limit that `limit.Limit.name` stands for; None when there is none any more."""
    asked = limit.named(name)
    meaning = db.ask(of, tables.Key(asked.namespace, asked.name)) if asked is not None else None
    given = meaning.limits if asked is not None and meaning is not None else ()
    return next((each for each in given if asked is not None and each.number == asked.number), None)


@graph.query
def applying(db: graph.Db, key: tables.Key) -> tuple[limit.Limit, ...]:
    """The limits of calls to a pod, by namespace, name and place; none when there is no such pod."""
    labels = db.ask(workloads.pod_labels, key)
    if labels is None:
        return ()
    answer: list[limit.Limit] = []
    for name in db.find(tables.LIMITS_BY_NAMESPACE, key.namespace):
        found, meaning = db.get(tables.LIMITS, name), db.ask(of, name)
        ports = pod_ports(db, found.spec, key, labels) if found is not None else None
        if meaning is not None and ports is not None:
            answer += [msgspec.structs.replace(each, ports=ports) for each in meaning.limits]
    return _ordered(answer)


def pod_ports(
    db: graph.Db, spec: objects.RateLimitSpec, pod: tables.Key, labels: dict[str, str]
) -> tuple[int, ...] | None:
    """The ports of a pod of its namespace that a RateLimit is for: () for all, None when it is not for the pod."""
    if not spec.target_refs:
        wanted = spec.selector.match_labels if spec.selector else {}
        return () if all(labels.get(name) == value for name, value in wanted.items()) else None
    ports: set[int] = set()
    for target in spec.target_refs:
        if is_of(target, "Service"):
            where = tables.Key(pod.namespace, target.name)
            ports.update(db.ask(declared.behind, declared.Backing(pod, where)))
    return tuple(sorted(ports)) or None


@graph.query
def at_gateway(db: graph.Db, key: tables.Key) -> tuple[limit.Limit, ...]:
    """The limits of a whole Gateway. One without a target is for pods, and for no gateway."""
    answer: list[limit.Limit] = []
    for name in db.find(tables.LIMITS_BY_NAMESPACE, key.namespace):
        found, meaning = db.get(tables.LIMITS, name), db.ask(of, name)
        if found is None or meaning is None:
            continue
        if any(is_of(target, "Gateway") and target.name == key.name for target in found.spec.target_refs):
            answer += meaning.limits
    return _ordered(answer)


def _routes(key: tables.Key, value: objects.RateLimit) -> list[tables.Key]:
    return [tables.Key(key.namespace, each.name) for each in value.spec.target_refs if is_of(each, "HTTPRoute")]


BY_ROUTE = graph.index(tables.LIMITS, _routes, name="ratelimits.by_route")
"""RateLimits by the HTTPRoutes that they name."""


def followed(db: graph.Db, given: Iterable[route.Table]) -> tuple[limit.Limit, ...]:
    """The limits of what follows these tables' rules, each with the rules that it is for."""
    found: dict[limit.Limit, list[limit.Followed]] = {}
    for origin, number in dict.fromkeys((rule.origin, rule.number) for table in given for rule in table.rules):
        if origin.kind == "HTTPRoute":
            for each in db.ask(of_rule, RuleKey(tables.Key(origin.namespace, origin.name), number)):
                found.setdefault(each, []).append(limit.Followed(origin, number))
    return _ordered([msgspec.structs.replace(each, followed=tuple(where)) for each, where in found.items()])


class RuleKey(msgspec.Struct, frozen=True, order=True):
    """A rule of an HTTPRoute by its place."""

    route: tables.Key
    number: int


@graph.query
def of_rule(db: graph.Db, key: RuleKey) -> tuple[limit.Limit, ...]:
    """The limits of one rule of an HTTPRoute."""
    names = db.find(BY_ROUTE, key.route)
    found = db.get(tables.HTTP_ROUTES, key.route) if names else None
    if found is None or key.number >= len(found.spec.rules):
        return ()
    answer: list[limit.Limit] = []
    for name in names:
        value, meaning = db.get(tables.LIMITS, name), db.ask(of, name)
        targets = value.spec.target_refs if value is not None else ()
        own = found.spec.rules[key.number].name
        if meaning is not None and any(
            is_of(each, "HTTPRoute") and each.name == key.route.name and each.section_name in (None, "", own)
            for each in targets
        ):
            answer += meaning.limits
    return _ordered(answer)


def is_of(target: objects.LimitTarget, kind: str) -> bool:
    """Whether a target is of that kind; the group may be left out."""
    groups = scopes.CORE if kind == "Service" else (None, gateway.GROUP)
    return target.kind == kind and target.group in groups


def _ordered(given: list[limit.Limit]) -> tuple[limit.Limit, ...]:
    return tuple(sorted(given, key=lambda each: (each.origin, each.number)))
