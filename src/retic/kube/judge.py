"""What a new or changed object is worth: refused, admitted with warnings, or admitted. Pure.

The findings are those of `retic analyze`, for this object, among the objects of the moment. Refused is what only
its author can mend: what another object, created a moment later, would mend is a warning, for manifests are applied
in any order and a Gateway API object with an open reference is legal (it has a status for that). Refused is also
only what a change makes worse: an object that was admitted can always be labelled, and deleted.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from retic import findings, graph, objects
from retic.findings import catalogue
from retic.kube import overlay
from retic.mesh import faults, gateways, tables, verdicts, workloads
from retic.sources import manifest_file, model

Json = dict[str, Any]

_ISTIO = frozenset({
    "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "DestinationRule", "VirtualService",
})  # fmt: skip
KINDS = frozenset({"GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute", "ReferenceGrant"}) | _ISTIO
"""The kinds that are judged."""

REFUSED: Mapping[str, str] = {
    "RT0004": "a field of the wrong type means nothing",
    "RT0007": "without a required field the object means nothing",
    "RT0010": "another version of the kind is not read",
    "RT0011": "a value that the field does not allow means nothing",
    "RT0205": "a filter or field that is not carried out would answer 500",
    "RT0207": "an expression that RE2 does not accept matches nothing",
    "RT0402": "a value that cannot be compared makes a policy refuse too much",
    "RT0403": "an attribute that does not exist makes a policy refuse too much",
    "RT0404": "without somebody to ask, all that the policy is for would be refused",
    "RT0405": "who does not say clearly for whom a policy is has it against everybody, or for nobody",
    "RT0433": "a field that no policy has makes it refuse too much",
    "RT0421": "without a selector, what it says of ports would do nothing",
    "RT0422": "what it says of a port that is none makes it refuse too much, or would do nothing",
    "RT0424": "in the mesh's own namespace a policy with a selector is for nobody",
    "RT0411": "without keys that can be used, an issuer's tokens would be refused",
    "RT0412": "a private key in an object is known to whoever may read it",
    "RT0307": "a listener whose check of clients would be left out is not served",
}
"""Codes that refuse an object, and why no other object could mend it. The specification gives Gateways with a wrong
protocol or with listeners in conflict a status instead (RT0303, RT0304), so they are admitted."""


class Verdict(msgspec.Struct, frozen=True):
    """`refusals` are what it is refused for, nothing when it is admitted; `warnings` are shown in any case."""

    refusals: tuple[findings.Finding, ...] = ()
    warnings: tuple[findings.Finding, ...] = ()


def judge(mesh: graph.Graph, new: Json, old: Json | None) -> Verdict:
    """Judge an object as the API server would store it. `old` is what it is to replace."""
    if new.get("kind") not in KINDS or not _ours(mesh, new):
        return Verdict()
    before = {_essence(each) for each in _found(mesh, old)} if old else set()
    refusals: list[findings.Finding] = []
    warnings: list[findings.Finding] = []
    for each in _found(mesh, new):
        bad = each.severity is findings.Severity.ERROR and each.code in REFUSED
        (refusals if bad and _essence(each) not in before else warnings).append(each)
    shown = tuple(each for each in warnings if each.severity is not findings.Severity.INFO)
    return Verdict(tuple(refusals), shown)


def _essence(found: findings.Finding) -> tuple[str, str]:
    return found.code, found.message


def _found(mesh: graph.Graph, value: Json) -> tuple[findings.Finding, ...]:
    bare = {**value, "metadata": {k: v for k, v in value.get("metadata", {}).items() if k != "managedFields"}}
    answer: list[findings.Finding] = []
    for entry in manifest_file.parse("", json.dumps(bare).encode()):
        answer += entry.found
        if entry.located is not None:
            made = entry.located.object
            ref = model.ref(made)
            among = overlay.Overlay(mesh, tables.changes(ref, made))
            answer += [catalogue.finding(fault, "", 0) for fault in among.ask(faults.of, ref)]
    return tuple(dict.fromkeys(answer))


def _ours(mesh: graph.Graph, value: Json) -> bool:
    """Whether it concerns Retic: a Gateway of another class, a route of other parents only, or a policy of a namespace
    that is not enrolled, is not ours."""
    if value["kind"] in _ISTIO:
        namespace = value.get("metadata", {}).get("namespace", "")
        root = mesh.ask(workloads.settings, tables.ONE).system_namespace
        return bool(namespace == root or mesh.ask(workloads.enrolled, namespace))
    try:
        made = objects.decode(value)
    except (msgspec.ValidationError, KeyError):
        return _named(value)
    ref = model.ref(made)
    among = overlay.Overlay(mesh, tables.changes(ref, made))
    match ref.kind:
        case "GatewayClass":
            return among.ask(gateways.ours, ref.name)
        case "Gateway":
            return among.ask(gateways.ours, getattr(made, "spec").gateway_class_name)  # noqa: B009
        case "HTTPRoute" | "GRPCRoute":
            return bool(among.ask(verdicts.parents, ref))
    return True


def _named(value: Json) -> bool:
    """Of an object that cannot be read: whether it says itself that it is for Retic."""
    spec = value.get("spec")
    return isinstance(spec, dict) and (
        spec.get("gatewayClassName") == "retic" or spec.get("controllerName") == tables.CONTROLLER
    )
