"""The status of a policy: whether Retic carries it out, and on how many proxies it is live. Pure.

Most of these kinds are Istio's, and a cluster may have both meshes: the types of the conditions have our name before
them, so that nobody takes one for the other's. The reasons are those of the Gateway API (PolicyConditionReason).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retic import findings, graph
from retic.findings import catalogue
from retic.kube import conditions, live
from retic.mesh import faults, governed

Json = dict[str, Any]

ACCEPTED = "retic.dev/Accepted"
OWN = (ACCEPTED, conditions.LIVE)

_NOT_FOUND = frozenset({"RT0571", "RT0701"})
# An older or a stronger one counts instead.
_CONFLICTED = frozenset({"RT0426", "RT0552", "RT0553", "RT0702", "RT0808"})


def wanted(
    db: graph.Graph, ref: findings.Ref, reported: Iterable[findings.Finding], far: live.Live | None
) -> tuple[conditions.Condition, ...]:
    """A policy's conditions; none when it does not concern the mesh. `reported` are the source's own findings of it."""
    if not db.ask(governed.is_concerned, ref):
        return ()
    told = [(each.code, f"{each.path}: {each.message}; {each.fix}") for each in db.ask(faults.of, ref)]
    told += [(each.code, f"{each.message}; {each.fix}") for each in reported]
    accepted = _accepted(told)
    return (accepted, live.condition(far)) if accepted.holds else (accepted,)


def _accepted(told: Sequence[tuple[str, str]]) -> conditions.Condition:
    against = [(reason, f"{code} {text}") for code, text in told if (reason := _reason(code))]
    if against:
        reason, text = against[0]
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        return conditions.Condition(ACCEPTED, False, reason, text + more)
    text = "it is carried out"
    if told:
        code, first = told[0]
        text += f", with {len(told)} remark{'s' if len(told) > 1 else ''}: {code} {first}"
    return conditions.Condition(ACCEPTED, True, "Accepted", text)


def _reason(code: str) -> str:
    """Why a finding speaks against a policy; "" when it does not."""
    if code in _NOT_FOUND:
        return "TargetNotFound"
    if code in _CONFLICTED:
        return "Conflicted"
    return "Invalid" if catalogue.CODES[code].severity is findings.Severity.ERROR else ""


def merged(
    present: Mapping[str, Any], made: Sequence[conditions.Condition], *, generation: int, now: str
) -> Json:
    """The whole status: what others wrote stays, and ours goes when nothing is wanted."""
    old = present.get("conditions") or ()
    found = conditions.merged(old, made, generation=generation, now=now, own=OWN)
    return {**present, "conditions": found} if found or old else dict(present)
