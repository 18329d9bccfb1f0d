"""Objects without what is never the same twice, so that two clusters' can be compared.

Works on Kubernetes' JSON, whoever wrote it: Retic's local mode or an API server (`kubectl get -o json`). Only
what controllers decide is kept. Generated names become `OWNER-*`, hashes and uids `*`, times `<time>`, pods'
addresses `<pod>`, Services' addresses that nobody asked for `<given>`; which node takes a pod counts for
DaemonSets only. Objects of one name stand in the order of their contents.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]
_CONDITION = ("type", "status", "reason", "message")
_FIELDS: dict[str, tuple[str, ...]] = {
    "Pod": (
        "metadata.labels", "metadata.annotations", "metadata.ownerReferences", "spec.hostname", "spec.subdomain",
        "spec.nodeName", "spec.serviceAccountName", "status.phase", "status.conditions",
        "status.containerStatuses", "status.initContainerStatuses",
    ),
    "Deployment": ("metadata.generation", "status"),
    "ReplicaSet": ("metadata.labels", "metadata.ownerReferences", "spec.replicas", "spec.selector", "status"),
    "StatefulSet": ("metadata.generation", "status"),
    "DaemonSet": ("metadata.generation", "status"),
    "Job": ("metadata.ownerReferences", "metadata.annotations", "status"),
    "CronJob": ("metadata.generation", "status"),
    "Service": ("spec.type", "spec.clusterIP", "spec.clusterIPs"),
    "EndpointSlice": ("metadata.labels", "metadata.ownerReferences", "addressType", "endpoints", "ports"),
}  # fmt: skip
KINDS = tuple(_FIELDS)
_DROPPED = frozenset({
    "uid", "resourceVersion", "containerID", "imageID", "image", "blockOwnerDeletion", "collisionCount",
    "uncountedTerminatedPods", "lastProbeTime", "lastTransitionTime", "lastUpdateTime",
    "startedAt", "finishedAt", "allocatedResources", "resources", "volumeMounts", "user", "lastState",
})  # fmt: skip
_HASHES = ("pod-template-hash", "controller-revision-hash", "batch.kubernetes.io/controller-uid", "controller-uid")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ANNOTATIONS = ("batch.kubernetes.io/",)


def normal(values: Iterable[Json], asked: Collection[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """By kind, what is kept of each object. `asked`: addresses that manifests ask for."""
    known = [value for value in values if value["kind"] in _FIELDS]
    shown = _names(known)
    found: dict[str, list[dict[str, Any]]] = {}
    for value in known:
        kept = _kept(value, asked)
        made = {"name": value["metadata"]["name"], "namespace": value["metadata"].get("namespace", ""), **kept}
        found.setdefault(value["kind"], []).append(_renamed(made, shown))
    for items in found.values():
        items.sort(key=lambda item: (item["namespace"], item["name"], json.dumps(item, sort_keys=True)))
    return dict(sorted(found.items()))


def _names(values: list[Json]) -> list[tuple[str, str]]:
    """Generated names and what stands for them, the longest first: one may begin with another."""
    by_uid = {value["metadata"].get("uid"): value for value in values}

    def name(value: Json) -> str:
        own = str(value["metadata"]["name"])
        owner = _controller(value)
        above = by_uid.get(owner["uid"]) if owner else None
        if owner is None or owner["kind"] == "StatefulSet" or above is None:
            return own
        old = str(above["metadata"]["name"])
        rest = own.removeprefix(old)
        # What a controller takes keeps its name; what it makes begins with its own.
        return own if rest == own else f"{name(above)}{rest.rpartition('-')[0]}-*"

    pairs = {str(value["metadata"]["name"]): name(value) for value in values}
    return sorted(((a, b) for a, b in pairs.items() if a != b), key=lambda pair: -len(pair[0]))


def _controller(value: Json) -> Json | None:
    owners = value["metadata"].get("ownerReferences", ())
    return next((owner for owner in owners if owner.get("controller")), None)


def _kept(value: Json, asked: Collection[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for path in _FIELDS[value["kind"]]:
        found: Any = value
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        if found not in (None, {}, []):
            out[path] = _cleaned(found)
    _of_kind(value, out, asked)
    return {path: found for path, found in out.items() if found not in (None, {}, [])}


def _of_kind(value: Json, out: dict[str, Any], asked: Collection[str]) -> None:
    labels = out.get("metadata.labels", {})
    out["metadata.labels"] = {key: "*" if key in _HASHES else text for key, text in labels.items()}
    notes = out.get("metadata.annotations", {})
    out["metadata.annotations"] = {key: text for key, text in notes.items() if key.startswith(_ANNOTATIONS)}
    match value["kind"]:
        case "Pod":
            owner = _controller(value)
            for path in ("status.containerStatuses", "status.initContainerStatuses"):
                out[path] = [{"ready": False, "restartCount": 0, **item} for item in out.get(path, ())]
            if "spec.nodeName" in out and (owner is None or owner["kind"] != "DaemonSet"):
                out["spec.nodeName"] = "<node>"
        case "Service":
            for path in ("spec.clusterIP", "spec.clusterIPs"):
                out[path] = _addresses(out.get(path), asked)
        case "ReplicaSet":
            chosen = out.get("spec.selector", {}).get("matchLabels", {})
            chosen |= {key: "*" for key in _HASHES if key in chosen}
        case "StatefulSet":
            name = value["metadata"]["name"]
            for key in ("currentRevision", "updateRevision"):
                out["status"][key] = re.sub(rf"^{re.escape(name)}-\w+$", f"{name}-*", out["status"].get(key, ""))
        case "EndpointSlice":
            out["endpoints"] = sorted(map(_endpoint, out.get("endpoints", ())), key=json.dumps)


def _addresses(value: Any, asked: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_addresses(item, asked) for item in value]
    return value if value in (None, "None") or value in asked else "<given>"


def _endpoint(value: dict[str, Any]) -> dict[str, Any]:
    kept = {key: item for key, item in value.items() if key not in ("nodeName", "zone", "hints")}
    return {**kept, "addresses": ["<pod>" for _ in value["addresses"]]} if "targetRef" in value else kept


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        if {"type", "status"} <= value.keys():
            return {key: value[key] for key in _CONDITION if value.get(key)}
        return {key: _cleaned(item) for key, item in value.items() if key not in _DROPPED}
    if isinstance(value, list | tuple):
        items = [_cleaned(item) for item in value]
        typed = all(isinstance(item, dict) and "type" in item for item in items)
        return sorted(items, key=lambda item: item["type"]) if typed else items
    return _TIME.sub("<time>", value) if isinstance(value, str) else value


def _renamed(value: Any, shown: list[tuple[str, str]]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item, shown) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, shown) for item in value]
    if isinstance(value, str):
        for old, new in shown:
            value = value.replace(old, new)
    return value
