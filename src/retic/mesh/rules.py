"""A whole HTTPRoute or GRPCRoute as rules, sorted nowhere yet; memoised per route."""

import msgspec

from retic import findings, graph
from retic.mesh import persistence, route, tables, translation
from retic.objects import routes


class Rules(msgspec.Struct, frozen=True):
    """A route's rules in its own order, and the faults found in it."""

    rules: tuple[route.Rule, ...]
    faults: tuple[findings.Fault, ...]
    age: str


@graph.query
def of(db: graph.Db, ref: findings.Ref) -> Rules:
    """The rules of the route `ref` (kind HTTPRoute or GRPCRoute); none when it does not exist."""
    key = tables.Key(ref.namespace, ref.name)
    rules: list[route.Rule] = []
    age = ""
    notes = translation.Notes(ref)
    if ref.kind == "HTTPRoute" and (http := db.get(tables.HTTP_ROUTES, key)):
        notes = translation.Notes(ref, _called(ref, http))
        age = http.metadata.creation_timestamp or ""
        for number, rule in enumerate(http.spec.rules):
            rules.extend(_http(db, notes, rule, number))
    elif ref.kind == "GRPCRoute" and (grpc := db.get(tables.GRPC_ROUTES, key)):
        notes = translation.Notes(ref, _called(ref, grpc))
        age = grpc.metadata.creation_timestamp or ""
        for number, call in enumerate(grpc.spec.rules):
            rules.extend(_grpc(db, notes, call, number))
    return Rules(tuple(rules), tuple(dict.fromkeys(notes.faults)), age)


def _called(ref: findings.Ref, value: routes.HTTPRoute | routes.GRPCRoute) -> frozenset[tables.Key]:
    """The Services whose callers the route is for, where it is for nobody else."""
    parents = [tables.parent_ref(ref.namespace, parent) for parent in value.spec.parent_refs]
    if any(parent.kind != "Service" for parent in parents):
        return frozenset()
    return frozenset(tables.Key(parent.namespace, parent.name) for parent in parents)


def _http(
    db: graph.Db, notes: translation.Notes, rule: routes.HTTPRouteRule, number: int
) -> list[route.Rule]:
    base = _base(db, notes, rule, number)
    timeouts = rule.timeouts or routes.HTTPRouteTimeouts()
    request = translation.seconds(timeouts.request)
    each = translation.seconds(timeouts.backend_request)
    retries = persistence.retries(rule.retry, each)
    if each and (retries is None or not retries.attempts):
        # One attempt is all of the request.
        request = min(request or each, each)
    base = msgspec.structs.replace(base, timeout=request, retries=retries)
    answer = []
    for i, m in enumerate(rule.matches):
        match = http_match(notes, m, f"spec.rules[{number}].matches[{i}]")
        if match is None:
            continue
        answer.append(_fitted(notes, base, match, f"spec.rules[{number}]"))
    return answer


def _fitted(notes: translation.Notes, base: route.Rule, match: route.Match, path: str) -> route.Rule:
    """The rule with this match; a prefix can only be replaced where a prefix is matched."""
    change = base.rewrite.path if base.rewrite else base.redirect.path if base.redirect else None
    if change is not None and change.prefix and match.path.kind is not route.PathKind.PREFIX:
        notes.add(
            "RT0205", f"{path}.filters", "ReplacePrefixMatch needs matches of type PathPrefix",
            "use ReplaceFullPath, or match by PathPrefix",
        )
        return msgspec.structs.replace(base, match=match, broken=True)
    return msgspec.structs.replace(base, match=match)


def _base(
    db: graph.Db,
    notes: translation.Notes,
    rule: routes.HTTPRouteRule | routes.GRPCRouteRule,
    number: int,
) -> route.Rule:
    path, namespace = f"spec.rules[{number}]", notes.origin.namespace
    done = translation.actions(db, notes, rule.filters, f"{path}.filters", namespace)
    to = translation.backends(db, notes, rule.backend_refs, f"{path}.backendRefs", namespace)
    return route.Rule(
        origin=notes.origin,
        number=number,
        match=route.Match(),
        backends=to,
        request=done.request,
        response=done.response,
        redirect=done.redirect,
        rewrite=done.rewrite,
        mirrors=done.mirrors,
        session=persistence.session(notes, rule.session_persistence, len(to), number),
        broken=done.broken,
    )


_PATHS = {
    "Exact": route.PathKind.EXACT,
    "PathPrefix": route.PathKind.PREFIX,
    "RegularExpression": route.PathKind.REGEX,
}


def http_match(notes: translation.Notes, m: routes.HTTPRouteMatch, path: str) -> route.Match | None:
    """What a match of an HTTPRoute means; None, and a fault, for one that cannot be used."""
    where = m.path or routes.HTTPPathMatch()
    kind = _PATHS[where.type or "PathPrefix"]
    value = where.value or "/"
    if kind is route.PathKind.REGEX and (fault := translation.regex_fault(value)):
        notes.add("RT0207", f"{path}.path.value", f"RE2 does not accept {value!r}: {fault}", "correct it")
        return None
    if kind is route.PathKind.PREFIX and value != "/":
        value = value.rstrip("/") or "/"
    headers = translation.conditions(notes, m.headers, f"{path}.headers", header=True)
    query = translation.conditions(notes, m.query_params, f"{path}.queryParams", header=False)
    if headers is None or query is None:
        return None
    return route.Match(route.Path(kind, value), m.method, headers, query)


def _grpc(
    db: graph.Db, notes: translation.Notes, rule: routes.GRPCRouteRule, number: int
) -> list[route.Rule]:
    base = _base(db, notes, rule, number)
    answer = []
    for i, m in enumerate(rule.matches or (routes.GRPCRouteMatch(),)):
        path = f"spec.rules[{number}].matches[{i}]"
        headers = translation.conditions(notes, m.headers, f"{path}.headers", header=True)
        where = _grpc_path(notes, m.method, f"{path}.method")
        if headers is None or where is None:
            continue
        match = route.Match(where, None, headers, grpc=True)
        answer.append(msgspec.structs.replace(base, match=match))
    return answer


def _grpc_path(
    notes: translation.Notes, method: routes.GRPCMethodMatch | None, path: str
) -> route.Path | None:
    """A gRPC call's path is /package.Service/Method (gRPC over HTTP/2)."""
    if method is None or (not method.service and not method.method):
        return route.Path()
    if (method.type or "Exact") == "RegularExpression":
        expression = f"/{method.service or '[^/]+'}/{method.method or '[^/]+'}"
        fault = translation.regex_fault(expression)
        if fault:
            notes.add("RT0207", path, f"RE2 does not accept {expression!r}: {fault}", "correct it")
            return None
        return route.Path(route.PathKind.REGEX, expression)
    if method.service and method.method:
        return route.Path(route.PathKind.EXACT, f"/{method.service}/{method.method}")
    if method.service:
        return route.Path(route.PathKind.PREFIX, f"/{method.service}")
    return route.Path(route.PathKind.REGEX, f"/[^/]+/{method.method}")


def ordered(entries: list[tuple[Rules, findings.Ref]]) -> tuple[route.Rule, ...]:
    """All rules of these routes in order of precedence."""
    keyed = []
    for found, ref in entries:
        for i, rule in enumerate(found.rules):
            name = f"{ref.namespace}/{ref.name}"
            keyed.append((route.precedence(rule.match, found.age, name, i), rule))
    return tuple(rule for _, rule in sorted(keyed, key=lambda pair: pair[0]))
