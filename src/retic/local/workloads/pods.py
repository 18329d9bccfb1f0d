"""What controllers ask of a pod: is it alive, ready, available, and whose is it. Changes nothing."""

from collections.abc import Mapping
from typing import Any

import msgspec

from retic import findings
from retic.local.workloads import times
from retic.objects import meta
from retic.objects import pods as structs

Pod = structs.Pod
TERMINAL = frozenset({"Succeeded", "Failed"})
_SPECS = {"Pod": "spec", "CronJob": "spec.jobTemplate.spec.template.spec"}


def ref(value: meta.Object) -> findings.Ref:
    """The object's kind, namespace and name."""
    return findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)


def spec_path(kind: str) -> str:
    """Where an object of this kind has the spec of its pods."""
    return _SPECS.get(kind, "spec.template.spec")


def condition(pod: Pod, kind: str) -> meta.Condition | None:
    """The pod's condition of this type."""
    return next((item for item in pod.status.conditions if item.type == kind), None)


def ending(pod: Pod) -> bool:
    """Whether the pod was told to end."""
    return pod.metadata.deletion_timestamp is not None


def terminal(pod: Pod) -> bool:
    """Whether every container of the pod has ended for good."""
    return pod.status.phase in TERMINAL


def active(pod: Pod) -> bool:
    """Whether the pod counts for its controller (k8s.io/kubernetes/pkg/controller.IsPodActive)."""
    return not ending(pod) and not terminal(pod)


def ready(pod: Pod) -> bool:
    """Whether the pod's condition Ready is True."""
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def available_at(pod: Pod, wanted: int) -> float | None:
    """When a ready pod has been ready for `wanted` seconds (since 1970); None: it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found.status != "True":
        return None
    return (times.seconds(found.last_transition_time) or 0.0) + wanted if wanted else 0.0


def controller(value: meta.Object) -> meta.OwnerReference | None:
    """The owner that manages this object."""
    return next((owner for owner in value.metadata.owner_references if owner.controller), None)


def owned_by(value: meta.Object, owner: meta.Object) -> bool:
    """Whether `owner` manages this object; an owner of the same name made anew does not."""
    found = controller(value)
    return found is not None and found.uid == owner.metadata.uid


def ready_replaced(pod: Pod, kind: str, **fields: Any) -> Pod:
    """The pod with one condition changed or added."""
    rest = tuple(item for item in pod.status.conditions if item.type != kind)
    made = meta.Condition(type=kind, **fields)
    return msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, conditions=(*rest, made)))


def index(values: Mapping[findings.Ref, meta.Object], kind: str) -> list[Any]:
    """The objects of one kind, by namespace and name."""
    return [values[key] for key in sorted(key for key in values if key.kind == kind)]
