"""The status of a policy: whether Retic carries it out, and on how many proxies it is live. Pure.

Most of these kinds are Istio's, and a cluster may have both meshes: the types of the conditions have our name before
them, so that nobody takes one for the other's. The reasons are those of the Gateway API (PolicyConditionReason).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retic import findings, graph
from retic.findings import catalogue
from retic.kube import conditions, live
from retic.mesh import faults, tables
from retic.objects import limits

Json = dict[str, Any]

ACCEPTED = "retic.dev/Accepted"
OWN = (ACCEPTED, conditions.LIVE)

_NOT_FOUND = frozenset({"RT0571", "RT0701"})


def is_live(present: Mapping[str, Any], generation: int) -> bool:
    """Whether that generation is known to be live: it stays so, whatever proxies come."""
    return any(
        each.get("type") == conditions.LIVE and each.get("status") == "True"
        and each.get("observedGeneration", generation) == generation
        for each in present.get("conditions") or ()
    )  # fmt: skip


def wanted(
    db: graph.Graph, ref: findings.Ref, reported: Iterable[findings.Finding], far: live.Live | None
) -> tuple[conditions.Condition, ...]:
    """The conditions of a policy that concerns the mesh. `reported` are the source's own findings of it, `far` how far
    the proxies are, None when that is not known or not asked."""
    found = db.ask(faults.of, ref)
    said = [(_reason(fault.code), f"{fault.code} {fault.path}: {fault.message}; {fault.fix}") for fault in found]
    said += [(_reason(each.code), f"{each.code} {each.message}; {each.fix}") for each in reported]
    whole = _without_effect(db, ref, found)
    against = [(whole or reason, text) for reason, text in said if whole or reason]
    return (_accepted(said, against), live.condition(far))


def _accepted(said: Sequence[tuple[str, str]], against: Sequence[tuple[str, str]]) -> conditions.Condition:
    if against:
        reason, text = against[0]
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        return conditions.Condition(ACCEPTED, False, reason, text + more)
    text = "it is carried out"
    if said:
        text += f", with {len(said)} remark{'s' if len(said) > 1 else ''}: {said[0][1]}"
    return conditions.Condition(ACCEPTED, True, "Accepted", text)


def _reason(code: str) -> str:
    """Why a finding speaks against a policy by itself; "" when it does not."""
    if catalogue.CODES[code].severity is not findings.Severity.ERROR:
        return ""
    return "TargetNotFound" if code in _NOT_FOUND else "Invalid"


def _without_effect(db: graph.Graph, ref: findings.Ref, found: faults.Faults) -> str:
    """Why warnings leave nothing of it: another one counts instead, or what it is for is not there."""
    codes = [(fault.code, fault.path) for fault in found]
    if ("RT0426", "spec") in codes or any(code == "RT0808" for code, _ in codes):
        return "Conflicted"
    gone = [path for code, path in codes if code == "RT0571"]
    limit = db.ask(_limit, tables.Key(ref.namespace, ref.name)) if gone else None
    if limit is not None and len(gone) >= max(1, len(limit.spec.target_refs)):
        return "TargetNotFound"
    return ""


@graph.query
def _limit(db: graph.Db, key: tables.Key) -> limits.RateLimit | None:
    return db.get(tables.LIMITS, key)


def merged(
    present: Mapping[str, Any], made: Sequence[conditions.Condition], *, generation: int, now: str
) -> Json:
    """The whole status: what others wrote stays, and ours goes when nothing is wanted.

    Some definitions of these kinds (Istio 1.24) have no `observedGeneration`, and the API server drops it: a condition
    that differs in nothing else is left as it is.
    """
    old = list(present.get("conditions") or ())
    filled = [{"observedGeneration": generation, **each} if each.get("type") in OWN else each for each in old]
    found = conditions.merged(filled, made, generation=generation, now=now, own=OWN)
    before = {str(each.get("type")): (each, full) for each, full in zip(old, filled, strict=True)}
    for i, each in enumerate(found):
        was, full = before.get(each["type"], (None, None))
        if was is not None and full == each:
            found[i] = dict(was)
    return {**present, "conditions": found} if found or old else dict(present)
