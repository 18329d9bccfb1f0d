"""For whom a policy is: pods by labels or by their Service, Gateways by name, class or labels.

The same for every kind of Istio's security API (istio.type.v1beta1, WorkloadSelector and PolicyTargetReference).
"""

from collections.abc import Callable

import msgspec

from retic import graph
from retic.mesh import declared, tables, workloads
from retic.objects import gateway, security, telemetry

CORE = (None, "", "core")
"""Ways to write the group of Services."""

TARGETS = (("Service", ""), ("Gateway", gateway.GROUP), ("GatewayClass", gateway.GROUP))
"""Kinds and groups of what can be a target."""

_ELSEWHERE = ("ServiceEntry", "networking.istio.io")


class Scope(msgspec.Struct, frozen=True):
    """What a policy of that name says about whom it is for."""

    name: tables.Key
    selector: security.WorkloadSelector | None
    targets: tuple[security.TargetReference, ...]


def of(
    name: tables.Key, found: security.AuthorizationPolicy | security.RequestAuthentication
) -> Scope:
    """For whom the object of that name is. Everybody of its namespace where that cannot be read."""
    if is_unread(found):
        return Scope(name, None, ())
    return Scope(name, found.spec.selector, targets(found.spec))


def is_unread(found: security.AuthorizationPolicy | security.RequestAuthentication) -> bool:
    """Whether for whom it is cannot be read: by its form, or because there is no such kind of target."""
    return security.is_scope_unread(found) or any(map(is_misnamed, targets(found.spec)))


def is_misnamed(target: security.TargetReference) -> bool:
    """Whether it names a kind that is no target anywhere: nobody knows what was meant."""
    return kind(target) not in (*TARGETS, _ELSEWHERE)


def kind(target: security.TargetReference) -> tuple[str, str]:
    """Kind and group, that of Services being ""."""
    return target.kind, "" if target.group in CORE else target.group or ""


Takes = Callable[[Scope], bool]
"""Whether a scope is meant."""


def targets(
    spec: security.AuthorizationPolicySpec | security.RequestAuthenticationSpec | telemetry.TelemetrySpec,
) -> tuple[security.TargetReference, ...]:
    """Both ways to write them, `targetRef` and `targetRefs`."""
    return (*((spec.target_ref,) if spec.target_ref else ()), *spec.target_refs)


def around(db: graph.Db, index: "graph.Index[str, tables.Key]", namespace: str) -> list[tables.Key]:
    """The policies of a namespace and of the mesh, in the order of their names, the mesh's first."""
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    own = sorted(db.find(index, namespace))
    return own if namespace == root else [*sorted(db.find(index, root)), *own]


def pod_ports(
    db: graph.Db, scope: Scope, pod: tables.Key, labels: dict[str, str]
) -> tuple[int, ...] | None:
    """The pod's ports that the scope takes in: () for all, None when it is not for the pod at all."""
    if not scope.targets:
        return () if _selected(scope, labels) else None
    ports: set[int] = set()
    for target in scope.targets:
        if target.kind == "Service" and target.group in CORE and _own(scope, target) == pod.namespace:
            where = tables.Key(pod.namespace, target.name)
            ports.update(db.ask(declared.behind, declared.Backing(pod, where)))
    return tuple(sorted(ports)) or None


def takes_gateway(db: graph.Db, scope: Scope, key: tables.Key) -> bool:
    """Whether the scope takes in a Gateway."""
    if not scope.targets:
        return _selected(scope, _gateway_labels(db, key))
    found = db.get(tables.GATEWAYS, key)
    for target in scope.targets:
        if target.group != gateway.GROUP:
            continue
        if target.kind == "Gateway" and key == tables.Key(_own(scope, target), target.name):
            return True
        if target.kind == "GatewayClass" and found is not None and found.spec.gateway_class_name == target.name:
            return scope.name.namespace == db.ask(workloads.settings, tables.ONE).system_namespace
    return False


def _own(scope: Scope, target: security.TargetReference) -> str:
    """The namespace in which a target is looked for: the policy's own. "" for one that says another (RT0405)."""
    own = scope.name.namespace
    return own if target.namespace in (None, "", own) else ""


def _selected(scope: Scope, labels: dict[str, str]) -> bool:
    wanted = scope.selector.match_labels if scope.selector else {}
    return all(labels.get(name) == value for name, value in wanted.items())


def _gateway_labels(db: graph.Db, key: tables.Key) -> dict[str, str]:
    for pod in sorted(db.find(tables.PODS_BY_GATEWAY, key)):
        labels = db.ask(workloads.pod_labels, pod)
        if labels is not None:
            return labels
    return {tables.GATEWAY_LABEL: key.name}
