"""How far Gateways, routes and policies are, read from the statuses that a cluster's controllers have written.

Pure. Says what is missing in the words of the conditions; what stands there of an older generation does not count.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from retic import findings, graph
from retic.kube import conditions, status_policy, status_route
from retic.mesh import gateways, governed, routing, tables, verdicts
from retic.objects import gateway

KINDS = tuple(kind for kind in governed.WITH_STATUS if kind != "GatewayClass")
_REFUSED = "Refused"  # the reason of retic.dev/Live when a proxy said no


class Progress(msgspec.Struct, frozen=True):
    """`done`: accepted, and live on every proxy that it concerns, as it stands now. `says`: how far it is.

    `refused`: what a proxy refused of it, "" for nothing.
    """

    ref: findings.Ref
    done: bool
    says: str
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.ref}: {self.says}"


def of(db: graph.Graph, ref: findings.Ref, value: Any) -> Progress | None:
    """An object's; None when it is none of Retic's to serve. `value` has its status, `db` what decides whose it is."""
    generation = value.metadata.generation or 0
    if isinstance(value, gateway.Gateway):
        if not db.ask(gateways.ours, value.spec.gateway_class_name):
            return None
        return _judged(ref, (value.status or {}).get("conditions"), generation)
    if ref.kind in governed.POLICIES:
        said = (value.status or {}).get("conditions") or ()
        # Who may not read namespaces learns it from the status.
        if not db.ask(governed.is_concerned, ref) and not any(map(_is_ours, said)):
            return None
        # Of some definitions of these kinds the generation is not kept (status_policy.merged).
        full = [{"observedGeneration": generation, **each} for each in said]
        return _judged(ref, full, generation, status_policy.ACCEPTED)
    parents = db.ask(verdicts.parents, ref)
    if not parents or (spec := routing.value_of(db, ref)) is None:
        return None
    entries = {
        status_route.identity(each.get("parentRef") or {}, ref.namespace): each
        for each in (value.status or {}).get("parents") or ()
        if each.get("controllerName") == tables.CONTROLLER
    }
    found = []
    for parent in parents:
        wanted = msgspec.to_builtins(spec.spec.parent_refs[parent.number])
        entry = entries.get(status_route.identity(wanted, ref.namespace), {})
        judged = _judged(ref, entry.get("conditions"), generation)
        found.append(judged if len(parents) == 1 else _named(judged, parent.target))
    return _together(ref, found)


def _is_ours(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") == status_policy.ACCEPTED


def _named(judged: Progress, target: findings.Ref) -> Progress:
    return msgspec.structs.replace(judged, says=f"for {target}: {judged.says}")


def _together(ref: findings.Ref, found: list[Progress]) -> Progress:
    chosen = [each for each in found if not each.done] or found
    refused = next((each.refused for each in found if each.refused), "")
    return Progress(ref, all(each.done for each in found), "; ".join(each.says for each in chosen), refused)


def _judged(
    ref: findings.Ref, present: Iterable[Mapping[str, Any]] | None, generation: int, accepted: str = "Accepted"
) -> Progress:
    by_type = {str(each.get("type")): each for each in present or ()}
    for name in (accepted, conditions.LIVE):
        one = by_type.get(name)
        if one is None:
            return Progress(ref, False, f"its status says nothing of {name} yet")
        if int(one.get("observedGeneration") or 0) < generation:
            return Progress(ref, False, "its last change has not been looked at yet")
        text = str(one.get("message") or one.get("reason") or "")
        if one.get("status") != "True":
            refused = text if one.get("reason") == _REFUSED else ""
            said = f"not accepted ({one.get('reason')}): {text}" if name == accepted else text
            return Progress(ref, False, said, refused)
    return Progress(ref, True, str(by_type[conditions.LIVE].get("message") or "live"))


def addresses(value: gateway.Gateway) -> tuple[str, ...]:
    """Where a Gateway is reached, by its status."""
    return tuple(str(each.get("value")) for each in (value.status or {}).get("addresses") or () if each.get("value"))


def every(db: graph.Graph, held: Mapping[findings.Ref, Any]) -> Iterator[Progress]:
    """Of all Gateways, routes and policies that are Retic's to serve, by kind, namespace and name."""
    for ref in sorted(held):
        if ref.kind in KINDS:
            found = of(db, ref, held[ref])
            if found is not None:
                yield found
