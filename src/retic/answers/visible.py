"""Which namespaces a command is about, and which findings may be told when not every object may be read."""

from collections.abc import Hashable, Iterator
from typing import Any

import msgspec

from retic import findings, graph
from retic.mesh import faults, gateways, rules, tables, workloads
from retic.objects import gateway, pods
from retic.sources import store
from retic.sources.api import scope

_ROUTES = frozenset({"HTTPRoute", "GRPCRoute"})
_ROUTING = _ROUTES | {"Gateway"}
_OF_OURS = "RT0112"  # a label of Retic's own that does nothing: of interest wherever it stands
_CLASS = "retic"  # a GatewayClass that means the same whether or not it is there


class Choice(msgspec.Struct, frozen=True):
    """`namespace`: that one only. `everywhere`: also namespaces that have nothing to do with the mesh."""

    namespace: str = ""
    everywhere: bool = False


class Filter:
    """What is shown. `joined` are the namespaces of the mesh."""

    def __init__(self, choice: Choice, joined: frozenset[str]) -> None:
        self._choice = choice
        self._joined = joined

    def namespace(self, name: str) -> bool:
        """Whether objects of the namespace are shown."""
        if self._choice.namespace:
            return name == self._choice.namespace
        return self._choice.everywhere or name in self._joined

    def finding(self, found: findings.Finding) -> bool:
        """Whether it is: of Gateways, routes and objects without a namespace wherever they are."""
        kind, _, name = found.object.partition(" ")
        namespace, slash, _ = name.partition("/")
        if self._choice.namespace:
            return self._choice.namespace == (namespace if slash or kind == "Namespace" else "")
        return not slash or kind in _ROUTING or found.code == _OF_OURS or self.namespace(namespace)


def joined(db: graph.Graph, kept: store.Store) -> frozenset[str]:
    """The namespaces of the mesh: those enrolled, and those with a captured pod, a Gateway of ours, or a route."""
    answer = set()
    for ref, value in kept.objects.items():
        match value:
            case pods.Pod():
                if any(c.type == tables.CAPTURED and c.status == "True" for c in value.status.conditions):
                    answer.add(ref.namespace)
            case gateway.Gateway():
                if db.ask(gateways.ours, value.spec.gateway_class_name):
                    answer.add(ref.namespace)
            case _ if ref.kind in _ROUTING:
                answer.add(ref.namespace)
            case _ if ref.kind == "Namespace" and db.ask(workloads.enrolled, ref.name):
                answer.add(ref.name)
    return frozenset(answer)


class Judged(msgspec.Struct, frozen=True):
    """The faults of an object that are certain. `whole`: whether these are all that could be."""

    faults: faults.Faults
    whole: bool


def judged(db: graph.Graph, ref: findings.Ref, seen: scope.Scope) -> Judged:
    """What would be found just so if everything could be read.

    By what was read to find it: an absence counts only of an object that would have been seen. A route's rules are
    judged apart from its parents.
    """
    every = db.ask(faults.of, ref)
    if not every or _certain(db, faults.of, ref, seen):
        return Judged(every, True)
    if ref.kind not in _ROUTES or not _certain(db, rules.of, ref, seen):
        return Judged((), False)
    own = db.ask(rules.of, ref).faults
    return Judged(own, set(every) == set(own))


def _certain(
    db: graph.Graph, query: graph.Query[findings.Ref, Any], ref: findings.Ref, seen: scope.Scope
) -> bool:
    return all(seen.sees(other) for other in _absences(db, query, ref))


def _absences(db: graph.Graph, query: graph.Query[findings.Ref, Any], ref: findings.Ref) -> Iterator[findings.Ref]:
    kinds = {table.name: kind for kind, table in tables.TABLES.items()}
    stack, passed = [db.reads(query, ref)], set()
    while stack:
        read = stack.pop()
        if id(read) in passed:
            continue
        passed.add(id(read))
        stack += read.children
        if read.kind is graph.Kind.TABLE and read.name in kinds and isinstance(read.key, tables.Key):
            other = findings.Ref(kinds[read.name], read.key.namespace, read.key.name)
            known = db.get(tables.TABLES[other.kind], read.key) is not None
            if not known and other != findings.Ref("GatewayClass", "", _CLASS):
                yield other
        if read.kind is graph.Kind.INDEX:
            yield from _looked_up(read.name, read.key)


def _looked_up(index: str, key: Hashable) -> Iterator[findings.Ref]:
    """An object of the kind and namespace that was looked through. Routes of other namespaces break nothing."""
    if index == tables.GRANTS_BY_NAMESPACE.name:
        yield findings.Ref("ReferenceGrant", str(key), "")
    elif index == tables.SLICES_BY_SERVICE.name and isinstance(key, tables.Key):
        yield findings.Ref("EndpointSlice", key.namespace, "")
