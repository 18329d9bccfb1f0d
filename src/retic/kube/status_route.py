"""The status of an HTTPRoute or GRPCRoute: one entry for each parent that is Retic's. Pure.

Meaning comes from `retic.mesh`; here it gets the specification's words (RouteConditionType, RouteConditionReason).
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from retic import findings, graph
from retic.kube import conditions, live
from retic.mesh import routing, rules, tables, verdicts
from retic.objects import routes

Json = dict[str, Any]

OWN = ("Accepted", "ResolvedRefs", "PartiallyInvalid", conditions.LIVE)

_UNRESOLVED = {
    "RT0204": "RefNotPermitted",
    "RT0208": "InvalidKind",
    "RT0201": "BackendNotFound",
    "RT0202": "BackendNotFound",
}


class Parent(msgspec.Struct, frozen=True):
    """What is to stand in `status.parents` for one parentRef, written as in the spec."""

    ref: Json
    conditions: tuple[conditions.Condition, ...]


@graph.query
def faults(db: graph.Db, ref: findings.Ref) -> tuple[findings.Fault, ...]:
    """What a route's status depends on beside its parents: watched, so that the status follows."""
    return db.ask(rules.of, ref).faults


def wanted(
    db: graph.Graph, ref: findings.Ref, progress: Mapping[findings.Ref, live.Live | None]
) -> tuple[Parent, ...]:
    """The entries of a route; none when no parent is Retic's. `progress` by parent."""
    value = routing.value_of(db, ref)
    if value is None:
        return ()
    common = _common(db, ref)
    answer: dict[str, Parent] = {}
    for parent in db.ask(verdicts.parents, ref):
        written = value.spec.parent_refs[parent.number]
        accepted = _accepted(db, ref, parent)
        found = [accepted, *common]
        if accepted.holds:
            found += [*_partly(db, ref), live.condition(progress.get(parent.target))]
        made = Parent(_reference(written), tuple(found))
        answer.setdefault(identity(made.ref, ref.namespace), made)
    return tuple(answer.values())


def _accepted(db: graph.Graph, ref: findings.Ref, parent: verdicts.Parent) -> conditions.Condition:
    if parent.verdict is not verdicts.Verdict.ACCEPTED:
        return conditions.Condition("Accepted", False, parent.verdict.value, parent.message)
    bad = db.ask(verdicts.unsupported, ref)
    if bad.whole:
        return conditions.Condition("Accepted", False, "UnsupportedValue", bad.faults[0][1].message)
    return conditions.Condition("Accepted", True, "Accepted", f"attached to {parent.target}")


def _common(db: graph.Graph, ref: findings.Ref) -> list[conditions.Condition]:
    for fault in db.ask(rules.of, ref).faults:
        reason = _UNRESOLVED.get(fault.code)
        if reason:
            text = f"{fault.path}: {fault.message}"
            return [conditions.Condition("ResolvedRefs", False, reason, text)]
    return [conditions.Condition("ResolvedRefs", True, "ResolvedRefs", "all references are resolved")]


def _partly(db: graph.Graph, ref: findings.Ref) -> list[conditions.Condition]:
    """The specification wants the message to begin so. Here a dropped rule's requests are answered with 500."""
    bad = db.ask(verdicts.unsupported, ref)
    if not bad.numbers:
        return []
    which = ", ".join(f"spec.rules[{number}]" for number in bad.numbers)
    text = f"Dropped Rule: {which}, whose requests are answered with 500. {bad.faults[0][1].message}"
    return [conditions.Condition("PartiallyInvalid", True, "UnsupportedValue", text)]


def _reference(parent: routes.ParentReference) -> Json:
    made: Json = msgspec.json.decode(msgspec.json.encode(parent))
    return made


def identity(ref: Mapping[str, Any], namespace: str) -> str:
    """What makes two parentRefs of routes of a namespace the same: defaults filled in."""
    group = ref.get("group")
    parts = (
        "gateway.networking.k8s.io" if group is None else group, ref.get("kind") or "Gateway",
        ref.get("namespace") or namespace, ref.get("name"), ref.get("sectionName") or "", ref.get("port") or 0,
    )  # fmt: skip
    return "/".join(map(str, parts))


def merged(
    present: Mapping[str, Any], entries: tuple[Parent, ...], *, namespace: str, generation: int, now: str
) -> Json:
    """The whole status: entries of other controllers as they are, ours of parents that are gone taken away."""
    ours = {identity(entry.ref, namespace): entry for entry in entries}
    parents: list[Json] = []
    for old in present.get("parents") or ():
        if old.get("controllerName") != tables.CONTROLLER:
            parents.append(dict(old))
            continue
        entry = ours.pop(identity(old.get("parentRef") or {}, namespace), None)
        if entry is not None:
            parents.append(_entry(entry, old.get("conditions") or (), generation, now))
    parents += [_entry(entry, (), generation, now) for entry in ours.values()]
    return {**present, "parents": parents}


def _entry(entry: Parent, present: Any, generation: int, now: str) -> Json:
    found = conditions.merged(present, entry.conditions, generation=generation, now=now, own=OWN)
    return {"parentRef": entry.ref, "controllerName": tables.CONTROLLER, "conditions": found}
