"""What proxies tell of a workload's requests: access logs and spans, as Telemetry of the mesh, the namespace and the
workload say, each going before the one before it (telemetry.istio.io, Telemetry).

Of several for the same scope the oldest counts. A gateway is the client of what it calls.
"""

from collections.abc import Iterable, Sequence

import msgspec

from retic import graph
from retic.mesh import observing_rules, scopes, tables, workloads
from retic.mesh.observing_rules import Log, Mode, Traced

LOG = "envoy"
"""The provider of access logs that there is, as in Istio: what an agent writes."""


class Side(msgspec.Struct, frozen=True):
    """`log`: whether requests are logged, and by which expression ("" for all). `traced`: None when nothing is told."""

    log: str | None = None
    traced: Traced | None = None


class Told(msgspec.Struct, frozen=True):
    """Of calls that a workload makes, and that it takes."""

    client: Side = Side()
    server: Side = Side()

    @property
    def anything(self) -> bool:
        """Whether any request is told of."""
        return self != Told()


@graph.query
def of_pod(db: graph.Db, key: tables.Key) -> Told:
    """For a pod."""
    labels = db.ask(workloads.pod_labels, key)
    if labels is None:
        return Told()

    def takes(scope: scopes.Scope) -> bool:
        return scopes.pod_ports(db, scope, key, labels) is not None

    levels = _levels(db, key.namespace, takes)
    return Told(_side(db, levels, Mode.CLIENT), _side(db, levels, Mode.SERVER))


@graph.query
def of_gateway(db: graph.Db, key: tables.Key) -> Told:
    """For a Gateway."""

    def takes(scope: scopes.Scope) -> bool:
        return scopes.takes_gateway(db, scope, key)

    return Told(_side(db, _levels(db, key.namespace, takes), Mode.CLIENT))


@graph.query
def headers(db: graph.Db, namespace: str) -> tuple[str, ...]:
    """Request headers, in lower case and by name, that proxies of the namespace's pods and gateways report: for who
    looks just now, for expressions and for tags. None of them is a credential: whoever asks for them sees to that."""
    found = db.get(tables.OBSERVED, tables.Key("", namespace))
    named = set(found.headers) if found else set()
    for key in scopes.around(db, tables.TELEMETRIES_BY_NAMESPACE, namespace):
        meaning = db.ask(observing_rules.of, key)
        if meaning is not None:
            named |= set(meaning.headers)
    return tuple(sorted(named))


@graph.query
def shares(db: graph.Db, namespace: str) -> tuple[tuple[str, float], ...]:
    """The workloads of a namespace whose calls are traced, as namespace/name, and `Traced.share` of each. Pods of one
    workload whose labels differ are as the first of them."""
    around = scopes.around(db, tables.TELEMETRIES_BY_NAMESPACE, namespace)
    if not any(meaning.traces for key in around if (meaning := db.ask(observing_rules.of, key)) is not None):
        return ()
    found: dict[str, float] = {}
    for pod in sorted(db.find(tables.PODS_BY_NAMESPACE, namespace)):
        who, traced = db.ask(workloads.workload, pod), db.ask(of_pod, pod).client.traced
        if who is not None and traced is not None:
            found.setdefault(f"{namespace}/{who.workload}", traced.share)
    return tuple(sorted(found.items()))


Levels = Sequence[tables.Key]


def _levels(db: graph.Db, namespace: str, takes: "scopes.Takes") -> Levels:
    """The mesh's, the namespace's and the workload's own Telemetry, as far as there are; the last counts most."""
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    wide = [_oldest(db, space, lambda scope: not is_narrow(scope)) for space in dict.fromkeys((root, namespace))]
    own = _oldest(db, namespace, lambda scope: is_narrow(scope) and takes(scope))
    return [key for key in (*wide, own) if key is not None]


def is_narrow(scope: scopes.Scope) -> bool:
    """Whether it is for some of the namespace only."""
    return bool(scope.targets) or bool(scope.selector and scope.selector.match_labels)


def _oldest(db: graph.Db, namespace: str, takes: "scopes.Takes") -> tables.Key | None:
    for key in ordered(db, namespace):
        found = db.get(tables.TELEMETRIES, key)
        if found is not None and takes(scope_of(key, found)):
            return key
    return None


def ordered(db: graph.Db, namespace: str) -> list[tables.Key]:
    """A namespace's, the oldest first, those of files by their names."""

    def age(key: tables.Key) -> tuple[str, tables.Key]:
        found = db.get(tables.TELEMETRIES, key)
        return (found.metadata.creation_timestamp or "") if found else "", key

    return sorted(db.find(tables.TELEMETRIES_BY_NAMESPACE, namespace), key=age)


def scope_of(key: tables.Key, found: "observing_rules.Telemetry") -> scopes.Scope:
    """For whom it is."""
    return scopes.Scope(key, found.spec.selector, scopes.targets(found.spec))


def _side(db: graph.Db, levels: Levels, mode: Mode) -> Side:
    meanings = [meaning for key in levels if (meaning := db.ask(observing_rules.of, key)) is not None]
    always = db.ask(workloads.settings, tables.ONE).access_logs
    log = _log([[e for e in meaning.logs if mode in e.modes] for meaning in meanings], always=always)
    traced = None
    for meaning in meanings:
        for entry in meaning.traces:
            if mode in entry.modes:
                traced = entry.over(traced)
    if traced is not None and (not traced.provider or db.ask(observing_rules.collector, traced.provider) is None):
        traced = None
    return Side(log, traced)


def _log(levels: Iterable[Sequence[Log]], *, always: bool) -> str | None:
    """Providers that an entry does not name are those of the scope around."""
    chosen: dict[str, str | None] = {LOG: ""} if always else {}
    names: tuple[str, ...] = (LOG,)
    for entries in levels:
        named = tuple(name for entry in entries for name in entry.providers)
        if named:
            names = named
            chosen = {name: value for name, value in chosen.items() if name in named}
        for entry in entries:
            for name in entry.providers or names:
                chosen[name] = None if entry.disabled else entry.expression
    return chosen.get(LOG)
