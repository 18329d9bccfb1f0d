"""POD or deploy/NAME to one pod of the mesh, and to one of its containers."""

from collections.abc import Iterable
from typing import Any

from retic.cli import failure

_KINDS = {
    "pod": "Pod", "pods": "Pod", "po": "Pod",
    "deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment",
    "rs": "ReplicaSet", "replicaset": "ReplicaSet",
    "sts": "StatefulSet", "statefulset": "StatefulSet",
    "ds": "DaemonSet", "daemonset": "DaemonSet",
    "job": "Job", "jobs": "Job",
}

_FORMS = "pod/, deploy/, rs/, sts/, ds/, job/"
_HASH = "pod-template-hash"
ROLE = "retic.dev/role"  # as the laptop's controllers mark a gateway's pod
GATEWAY = "gateway.networking.k8s.io/gateway-name"

Object = dict[str, Any]


def pod(objects: Iterable[Object], target: str, namespace: str) -> Object:
    """The pod that `target` names in `namespace`; of a workload's pods a ready one. Raises Failure."""
    word, slash, name = target.partition("/")
    if not slash:
        word, name = "pod", target
    kind = _KINDS.get(word.lower())
    if kind is None or not name:
        raise failure.Failure(f"{target} names no pod: write POD, or one of {_FORMS} with its NAME", code=2)
    here = [one for one in objects if one.get("metadata", {}).get("namespace", "") == namespace]
    pods = [one for one in here if one["kind"] == "Pod"]
    if kind == "Pod":
        found = [one for one in pods if one["metadata"]["name"] == name]
        if not found:
            raise failure.Failure(f"no pod {name} in namespace {namespace}{_there(pods)}")
        return found[0]
    owners = {(kind, name)}
    if kind == "Deployment":
        owners = {
            ("ReplicaSet", one["metadata"]["name"])
            for one in here if one["kind"] == "ReplicaSet" and _owned(one, {(kind, name)})
        }
        owners |= {("ReplicaSet", f"{name}-{one['metadata'].get('labels', {}).get(_HASH)}") for one in pods}
    found = sorted((one for one in pods if _owned(one, owners)), key=_usefulness)
    if not found:
        known = any(one["kind"] == kind and one["metadata"]["name"] == name for one in here)
        reason = "has no pod now" if known else f"does not exist{_there(pods)}"
        raise failure.Failure(f"{kind} {namespace}/{name} {reason}")
    return found[0]


def container(pod: Object, wanted: str | None, *, needed: bool) -> str:
    """The container's name: the wanted one, else the only or (unless `needed`) the first. Raises Failure."""
    spec = pod["spec"]
    regular = [one["name"] for one in spec["containers"]]
    names = regular + [one["name"] for one in spec.get("initContainers", ())]
    where = f"pod {pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"
    if wanted is None:
        if needed and len(regular) > 1:
            raise failure.Failure(f"{where} has several containers: choose with -c {'|'.join(names)}", code=2)
        return str(regular[0])
    if wanted not in names:
        raise failure.Failure(f"{where} has no container {wanted}: it has {', '.join(names)}")
    return wanted


def gateway(pod: Object) -> str:
    """gateway/NS/NAME of a gateway's pod, "" for others."""
    meta = pod["metadata"]
    if meta.get("annotations", {}).get(ROLE) != "gateway":
        return ""
    return f"gateway/{meta['namespace']}/{meta['labels'][GATEWAY]}"


def ready(pod: Object) -> bool:
    """Whether the pod's condition Ready is true."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _owned(one: Object, owners: set[tuple[str, str]]) -> bool:
    references = one["metadata"].get("ownerReferences", ())
    return any((ref["kind"], ref["name"]) in owners for ref in references)


def _usefulness(pod: Object) -> tuple[bool, bool, bool, str]:
    """Ready pods first, then running ones; ending ones last."""
    running = pod.get("status", {}).get("phase") == "Running"
    return ("deletionTimestamp" in pod["metadata"], not ready(pod), not running, pod["metadata"]["name"])


def _there(pods: list[Object]) -> str:
    names = sorted(one["metadata"]["name"] for one in pods)
    if not names:
        return ": no pods are there (choose another namespace with -n)"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f": there are {', '.join(names[:8])}{more}"
