"""One rule of an HTTPRoute or GRPCRoute as `mesh.route` rules, with the faults found on the way.

A rule with a part that cannot be carried out answers 500 (Gateway API, HTTPRouteRule.filters): it is never
carried out in part.
"""

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec
import re2

from retic import findings, graph
from retic.mesh import grants, route, services, tables
from retic.objects import routes

# Of RE2; what proxies are started with leaves room (node.bootstrap).
_MOST_INSTRUCTIONS = 10_000

_GROUP = "gateway.networking.k8s.io"
_DURATION = re.compile(r"(\d+)(h|ms|m|s)")
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

Filters = Sequence[routes.HTTPRouteFilter | routes.GRPCRouteFilter]
Reference = routes.HTTPBackendRef | routes.GRPCBackendRef | routes.ObjectReference


class Actions(msgspec.Struct, frozen=True):
    """What a rule's filters come to."""

    request: route.Edit = route.Edit()
    response: route.Edit = route.Edit()
    redirect: route.Redirect | None = None
    rewrite: route.Rewrite | None = None
    mirrors: tuple[tuple[route.Backend, float], ...] = ()
    broken: bool = False


class Notes:
    """Collects the faults of one object while it is translated.

    `free` are the Services that a route may name without a grant: those whose callers it is for. Whoever it
    concerns has called them anyway (consumer routes, GEP-1426).
    """

    def __init__(self, origin: findings.Ref, free: Collection[tables.Key] = ()) -> None:
        self.origin = origin
        self.free = free
        self.faults: list[findings.Fault] = []

    def add(self, code: str, path: str, message: str, fix: str) -> None:
        """Note a fault of the field at `path`."""
        self.faults.append(findings.Fault(code, self.origin, path, message, fix))


def edit(modifier: routes.HeaderModifier | None) -> route.Edit:
    """Header changes; names are compared without case, so they are kept in lower case."""
    if modifier is None:
        return route.Edit()
    return route.Edit(
        tuple((h.name.lower(), h.value) for h in modifier.set),
        tuple((h.name.lower(), h.value) for h in modifier.add),
        tuple(name.lower() for name in modifier.remove),
    )


def joined(first: route.Edit, second: route.Edit) -> route.Edit:
    """Both changes, `first` before `second`."""
    return route.Edit(first.set + second.set, first.add + second.add, first.remove + second.remove)


def _path(modifier: routes.PathModifier | None) -> route.PathChange | None:
    if modifier is None:
        return None
    if modifier.type == "ReplaceFullPath":
        return route.PathChange(modifier.replace_full_path or "/", prefix=False)
    return route.PathChange(modifier.replace_prefix_match or "/", prefix=True)


def actions(db: graph.Db, notes: Notes, filters: Filters, path: str, namespace: str) -> Actions:
    """What the filters come to. `broken` when one of them cannot be carried out."""
    answer = Actions()
    for i, item in enumerate(filters):
        where = f"{path}[{i}]"
        changed = _action(db, notes, item, where, namespace, answer)
        if changed is None:
            works = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]
            if isinstance(item, routes.HTTPRouteFilter):
                works += ["RequestRedirect", "URLRewrite"]
            notes.add(
                "RT0205", f"{where}.type", f"Retic does not carry out the filter {item.type}",
                f"remove it, or use one of {', '.join(works)}; until then the rule answers 500",
            )
            changed = msgspec.structs.replace(answer, broken=True)
        answer = changed
    return answer


def _action(
    db: graph.Db,
    notes: Notes,
    item: routes.HTTPRouteFilter | routes.GRPCRouteFilter,
    path: str,
    namespace: str,
    so_far: Actions,
) -> Actions | None:
    replace = msgspec.structs.replace
    match item.type:
        case "RequestHeaderModifier":
            return replace(so_far, request=joined(so_far.request, edit(item.request_header_modifier)))
        case "ResponseHeaderModifier":
            return replace(so_far, response=joined(so_far.response, edit(item.response_header_modifier)))
        case "RequestMirror" if item.request_mirror is not None:
            mirror = item.request_mirror
            to = backend(db, notes, mirror.backend_ref, 1, f"{path}.requestMirror.backendRef", namespace)
            share = 100.0 if mirror.percent is None else float(mirror.percent)
            if mirror.fraction is not None:
                share = 100.0 * mirror.fraction.numerator / (mirror.fraction.denominator or 100)
            return replace(so_far, mirrors=(*so_far.mirrors, (to, share))) if to.port else so_far
        case "RequestRedirect" if isinstance(item, routes.HTTPRouteFilter) and item.request_redirect:
            r = item.request_redirect
            redirect = route.Redirect(r.status_code or 302, r.scheme, r.hostname, r.port, _path(r.path))
            return replace(so_far, redirect=redirect)
        case "URLRewrite" if isinstance(item, routes.HTTPRouteFilter) and item.url_rewrite:
            return replace(
                so_far, rewrite=route.Rewrite(item.url_rewrite.hostname, _path(item.url_rewrite.path))
            )
    return None


def backend(
    db: graph.Db, notes: Notes, reference: Reference, weight: int, path: str, namespace: str
) -> route.Backend:
    """The Service port that a backendRef names; port 0, and a fault, when it cannot be followed."""
    where = reference.namespace or namespace
    broken = route.Backend(where, reference.name, 0, weight)
    if (reference.group or "") != "" or (reference.kind or "Service") != "Service":
        notes.add(
            "RT0208", f"{path}.kind", f"Retic does not route to a {reference.kind}",
            "name a Service (kind: Service, no group)",
        )
        return broken
    asked = grants.Reference(_GROUP, notes.origin.kind, namespace, "", "Service", where, reference.name)
    if tables.Key(where, reference.name) not in notes.free and not db.ask(grants.allowed, asked):
        notes.add(
            "RT0204", f"{path}.namespace",
            f"{notes.origin.kind}s of namespace {namespace} may not refer to Services of namespace {where}",
            f"add a ReferenceGrant in namespace {where} from {notes.origin.kind} of {namespace} to Service",
        )
        return broken
    found = db.ask(services.resolved, tables.Key(where, reference.name))
    if found is None:
        notes.add(
            "RT0201", f"{path}.name", f"there is no Service {where}/{reference.name}",
            "create it or correct the name; until then these requests are answered with 500",
        )
        return broken
    if reference.port is None or all(p.number != reference.port for p in found.ports):
        have = ", ".join(str(p.number) for p in found.ports) or "none"
        notes.add(
            "RT0202", f"{path}.port" if reference.port else path,
            f"Service {where}/{reference.name} has no port {reference.port or '(none is given)'}",
            f"use one of its ports: {have}",
        )
        return broken
    return route.Backend(where, reference.name, reference.port, weight)


def backends(
    db: graph.Db,
    notes: Notes,
    references: Sequence[routes.HTTPBackendRef | routes.GRPCBackendRef],
    path: str,
    namespace: str,
) -> tuple[route.Backend, ...]:
    """All backends of a rule that have a weight, each with its own header changes."""
    answer = []
    for i, reference in enumerate(references):
        where = f"{path}[{i}]"
        weight = 1 if reference.weight is None else reference.weight
        to = backend(db, notes, reference, weight, where, namespace)
        own = actions(db, notes, reference.filters, f"{where}.filters", namespace)
        if own.redirect or own.rewrite or own.mirrors:
            notes.add(
                "RT0205", f"{where}.filters", "a backend's own filters may only change headers",
                "move the filter to the rule",
            )
        to = msgspec.structs.replace(
            to, port=0 if own.broken else to.port, request=own.request, response=own.response
        )
        if weight:
            answer.append(to)
    if references and not answer:
        notes.add(
            "RT0209", path, "all backends have weight 0, so every request is answered with 500",
            "give at least one a weight above 0",
        )
    return tuple(answer)


def seconds(duration: str | None) -> float | None:
    """A GEP-2257 duration in seconds; None stays None, 0s is 0."""
    if duration is None:
        return None
    return sum(int(n) * _UNIT[unit] for n, unit in _DURATION.findall(duration))


def regex_fault(expression: str) -> str | None:
    """What RE2 says against an expression, or None."""
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(expression, options).programsize
    except re2.error as error:
        return str(error.args[0].decode() if isinstance(error.args[0], bytes) else error)
    return f"it is too large ({size} of {_MOST_INSTRUCTIONS} instructions)" if size > _MOST_INSTRUCTIONS else None


def conditions(
    notes: Notes, matches: Iterable[routes.HeaderMatch | routes.QueryParamMatch], path: str, header: bool
) -> tuple[route.Condition, ...] | None:
    """Header or query conditions; of equal names the first counts. None when one cannot be used."""
    answer: dict[str, route.Condition] = {}
    for i, m in enumerate(matches):
        name = m.name.lower() if header else m.name
        regex = m.type == "RegularExpression"
        fault = regex_fault(m.value) if regex else None
        if fault:
            notes.add("RT0207", f"{path}[{i}].value", f"RE2 does not accept {m.value!r}: {fault}", "see RE2")
            return None
        answer.setdefault(name, route.Condition(name, m.value, route.How.REGEX if regex else route.How.EXACT))
    return tuple(answer.values())
