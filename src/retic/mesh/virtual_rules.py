"""A VirtualService's `http` as rules of `mesh.route`, in the order in which they are written: the first that matches
counts, and nothing is sorted.

The rules depend on where they are used: on the port that was called, the client's namespace, the Gateway. A part that
cannot be carried out is answered with 503, as Istio's proxies answer for a destination that they do not know.
"""

from collections.abc import Iterator

import msgspec

from retic import findings, graph
from retic.mesh import (
    destinations,
    route,
    service,
    services,
    tables,
    translation,
    virtual,
    virtual_actions,
    virtual_matches,
    virtual_merge,
    workloads,
)
from retic.objects import virtual_services as vs

_UNABLE = 503


class Use(msgspec.Struct, frozen=True, order=True):
    """Where a VirtualService is used. `gateway` None is between pods. `https`: by which scheme a gateway is called.

    `client` "" and `port` 0 stand for all uses at once: nothing is left out (what faults are looked for in).
    """

    key: tables.Key
    client: str
    port: int
    gateway: tables.Key | None = None
    https: bool = False


class Rules(msgspec.Struct, frozen=True):
    """The rules in order. `applies`: there are routes for this use, even where nothing can ever match them."""

    rules: tuple[route.Rule, ...]
    faults: tuple[findings.Fault, ...]
    applies: bool


class _Piece(msgspec.Struct, frozen=True):
    """One route, after merging: whose it is, and where it is written."""

    notes: translation.Notes
    number: int
    value: vs.VirtualHTTPRoute

    @property
    def path(self) -> str:
        return f"spec.http[{self.number}]"


@graph.query
def of(db: graph.Db, use: Use) -> Rules:
    """The rules for one use."""
    found = db.get(tables.VIRTUAL_SERVICES, use.key)
    if found is None:
        return Rules((), (), False)
    notes = translation.Notes(virtual.ref(use.key))
    rules: list[route.Rule] = []
    applies = False
    for piece in _pieces(db, notes, found):
        chosen = list(_chosen(db, piece, use))
        if not chosen:
            continue
        applies = True
        base = _base(db, piece, use)
        for match, path in chosen:
            met = virtual_matches.of(piece.notes, match, path)
            if met is not None:
                rules.append(_rule(db, base, met, match, path, use))
    return Rules(tuple(rules), tuple(dict.fromkeys(notes.faults)), applies)


def _pieces(db: graph.Db, notes: translation.Notes, value: vs.VirtualService) -> Iterator[_Piece]:
    for number, one in enumerate(value.spec.http):
        path = f"spec.http[{number}]"
        if one.delegate is None:
            yield _Piece(notes, number, one)
            continue
        delegate = _delegate(db, notes, one.delegate, path)
        if delegate is not None:
            key = tables.Key(delegate.metadata.namespace, delegate.metadata.name)
            theirs = translation.Notes(virtual.ref(key))
            for each in virtual_merge.merged(notes, one, path, delegate):
                yield _Piece(theirs, each.number, each.route)


def _delegate(
    db: graph.Db, notes: translation.Notes, named: vs.Delegate, path: str
) -> vs.VirtualService | None:
    """The VirtualService that a route leaves it to; None, and a fault, where the route takes no effect."""
    here = notes.origin.namespace
    key = tables.Key(named.namespace or here, named.name)
    found = db.get(tables.VIRTUAL_SERVICES, key)
    where = f"{path}.delegate"
    if found is None:
        notes.add(
            "RT0543", where, f"there is no VirtualService {key.namespace}/{key.name}: this route takes no effect",
            "create it or correct the name",
        )
        return None
    if found.spec.hosts:
        notes.add(
            "RT0543", where,
            f"VirtualService {key.namespace}/{key.name} has hosts of its own: this route takes no effect",
            "remove its hosts, or write its routes here",
        )
        return None
    if not {"", here} & set(tables.exported(key.namespace, found)):
        notes.add(
            "RT0543", where,
            f"VirtualService {key.namespace}/{key.name} is not exported to namespace {here}: this route "
            "takes no effect", f"write exportTo: [{here}] there",
        )
        return None
    return found


def _chosen(db: graph.Db, piece: _Piece, use: Use) -> Iterator[tuple[vs.HTTPMatchRequest, str]]:
    """The matches that may hold for this use, and where they are written."""
    if not piece.value.match:
        yield vs.HTTPMatchRequest(), piece.path
    for i, match in enumerate(piece.value.match):
        if _meant(piece, match, use):
            yield match, f"{piece.path}.match[{i}]"


def _meant(piece: _Piece, match: vs.HTTPMatchRequest, use: Use) -> bool:
    namespace = piece.notes.origin.namespace
    named = match.gateways
    if use.gateway is None:
        here = not named or tables.MESH in named
    else:
        target = findings.Ref("Gateway", use.gateway.namespace, use.gateway.name)
        here = not named or target in [tables.virtual_gateway(namespace, n) for n in named if n != tables.MESH]
    if not use.client:
        return True
    return (
        here
        and match.port in (None, use.port)
        and match.source_namespace in (None, use.client)
        and not (use.gateway is not None and match.source_labels)
    )


def _rule(
    db: graph.Db, base: route.Rule, met: route.Match, match: vs.HTTPMatchRequest, path: str, use: Use
) -> route.Rule:
    if match.source_labels:
        asked = virtual_matches.Labelled(use.client, tuple(sorted(match.source_labels.items())))
        met = msgspec.structs.replace(met, sources=db.ask(virtual_matches.labelled, asked))
    rewrite = virtual_actions.fitted(base.rewrite, met.path)
    return msgspec.structs.replace(base, match=met, rewrite=rewrite, field=path)


def _base(db: graph.Db, piece: _Piece, use: Use) -> route.Rule:
    value, notes, path = piece.value, piece.notes, piece.path
    changes = virtual_actions.headers(notes, value.headers, f"{path}.headers", whole=True)
    scheme = "https" if use.https else "http"
    return route.Rule(
        origin=notes.origin,
        number=piece.number,
        match=route.Match(),
        backends=_backends(db, piece, use),
        request=changes.request,
        response=changes.response,
        redirect=virtual_actions.redirect(value.redirect, use.port, scheme) if value.redirect else None,
        rewrite=virtual_actions.rewrite(notes, value.rewrite, changes.host, f"{path}.rewrite"),
        mirrors=_mirrors(db, piece, use),
        timeout=virtual_actions.seconds(value.timeout) if value.timeout else None,
        retries=virtual_actions.retries(notes, value.retries, f"{path}.retries") if value.retries else None,
        answer=virtual_actions.answer(value.direct_response) if value.direct_response else None,
        fault=virtual_actions.fault(notes, value.fault, f"{path}.fault") if value.fault else None,
        cors=_cors(piece),
        unable=_UNABLE,
        field=path,
    )


def _cors(piece: _Piece) -> route.Cors | None:
    value, path = piece.value, f"{piece.path}.corsPolicy"
    if value.cors_policy is None:
        return None
    if value.redirect or value.direct_response:
        piece.notes.add(
            "RT0548", path, "corsPolicy says nothing about requests that the proxy answers itself", "remove corsPolicy"
        )
        return None
    return virtual_actions.cors(piece.notes, value.cors_policy, path)


def _backends(db: graph.Db, piece: _Piece, use: Use) -> tuple[route.Backend, ...]:
    answer = []
    single = len(piece.value.route) == 1
    for i, each in enumerate(piece.value.route):
        path = f"{piece.path}.route[{i}]"
        weight = 100 if single else each.weight or 0
        to = destination(db, piece.notes, each.destination, use, f"{path}.destination")
        own = virtual_actions.headers(piece.notes, each.headers, f"{path}.headers", whole=False)
        if weight:
            answer.append(
                msgspec.structs.replace(to, weight=weight, request=own.request, response=own.response)
            )
    return tuple(answer)


def _mirrors(db: graph.Db, piece: _Piece, use: Use) -> tuple[tuple[route.Backend, float], ...]:
    value = piece.value
    wanted: list[tuple[vs.Destination, float, str]] = []
    if value.mirror is not None:
        share = 100.0 if value.mirror_percent is None else float(value.mirror_percent)
        if value.mirror_percentage is not None:
            share = value.mirror_percentage.value or 0.0
        wanted.append((value.mirror, share, f"{piece.path}.mirror"))
    for i, each in enumerate(value.mirrors):
        share = 100.0 if each.percentage is None else each.percentage.value or 0.0
        wanted.append((each.destination, share, f"{piece.path}.mirrors[{i}].destination"))
    made = [(destination(db, piece.notes, to, use, path), share) for to, share, path in wanted]
    return tuple((to, share) for to, share in made if to.port and share)


def destination(
    db: graph.Db, notes: translation.Notes, given: vs.Destination, use: Use, path: str
) -> route.Backend:
    """The Service port, or subset of it, that a destination means; port 0, and a fault, when there is none."""
    settings = db.ask(workloads.settings, tables.ONE)
    name = virtual.meant(given.host, notes.origin.namespace, settings.cluster_domain)
    subset = given.subset or ""
    if name is None:
        notes.add(
            "RT0542", f"{path}.host",
            f"{given.host} is no Service of the cluster: these requests are answered with 503",
            "write NAME, or NAME.NAMESPACE.svc." + settings.cluster_domain,
        )
        return route.Backend("-", "-", 0, 1, subset=subset)
    lost = route.Backend(name.namespace, name.name, 0, 1, subset=subset)
    found = db.ask(services.resolved, name)
    if found is None:
        notes.add(
            "RT0201", f"{path}.host",
            f"there is no Service {name.namespace}/{name.name}: these requests are answered with 503",
            "create it or correct the name",
        )
        return lost
    number = _number(found, given, use)
    if number is None:
        have = ", ".join(str(p.number) for p in found.ports) or "none"
        written = given.port.number if given.port else None
        said = f"no port {written}" if written else f"no port {use.port}, which is called"
        notes.add(
            "RT0202", f"{path}.port",
            f"Service {name.namespace}/{name.name} has {said}: these requests are answered with 503",
            f"write port: {{number: N}} with one of its ports: {have}",
        )
        return lost
    if subset and not known(db, name, subset, use.client or notes.origin.namespace):
        notes.add(
            "RT0541", f"{path}.subset",
            f"Service {name.namespace}/{name.name} has no subset {subset}: these requests are "
            "answered with 503", "name a subset of a DestinationRule for this host, or leave subset out",
        )
        return lost
    return route.Backend(name.namespace, name.name, number, 1, subset=subset)


def _number(found: service.Service, given: vs.Destination, use: Use) -> int | None:
    """The port that is written, else the only one, else the one that was called (Destination, port)."""
    numbers = [p.number for p in found.ports]
    wanted = given.port.number if given.port else None
    if wanted is None:
        wanted = numbers[0] if len(numbers) == 1 or (numbers and not use.port) else use.port
    return wanted if wanted in numbers else None


def known(db: graph.Db, name: tables.Key, subset: str, client: str) -> bool:
    """Whether clients of a namespace can be sent to that subset of a Service (of a DestinationRule)."""
    return destinations.knows(db, destinations.Called(client, name), subset)
