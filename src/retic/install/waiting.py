"""Waiting for something at the API server: a look, then a watch, until it holds or time is up."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from retic.install import faults, names
from retic.sources.api import Api, ApiError, UnreachableError

Object = dict[str, Any]
_PAUSE = 0.5  # seconds before a watch that broke is begun anew


async def until(
    api: Api, collection: str, met: Callable[[list[Object]], str], *, timeout: float, **selectors: str
) -> None:
    """Until `met`, given the objects of a collection, returns "". InstallError with what it said when time is up."""
    said = "nothing is known yet"
    try:
        async with asyncio.timeout(timeout):
            while True:
                listed = await api.get(collection, **selectors)
                known = {_key(one): one for one in listed.get("items") or ()}
                said = met(list(known.values()))
                if not said:
                    return
                version = listed["metadata"]["resourceVersion"]
                try:
                    async for event in _events(api, collection, version, selectors):
                        _take(known, event)
                        said = met(list(known.values()))
                        if not said:
                            return
                except (UnreachableError, ApiError):
                    await asyncio.sleep(_PAUSE)
    except TimeoutError:
        raise faults.InstallError(f"{said} (after {timeout:.0f} s)") from None


async def _events(api: Api, collection: str, version: str, selectors: dict[str, str]) -> Any:
    asked: dict[str, Any] = {"watch": True, "resourceVersion": version, "timeoutSeconds": 240, **selectors}
    async with api.lines(collection, **asked) as lines:
        async for line in lines:
            event = msgspec.json.decode(line)
            if event.get("type") == "ERROR":
                return  # too old: list anew
            yield event


def _take(known: dict[tuple[str, str], Object], event: Object) -> None:
    value = event["object"]
    if event["type"] == "DELETED":
        known.pop(_key(value), None)
    elif event["type"] in ("ADDED", "MODIFIED"):
        known[_key(value)] = value


def _key(value: Object) -> tuple[str, str]:
    return value["metadata"].get("namespace", ""), value["metadata"]["name"]


async def gone(api: Api, path: str, *, timeout: float) -> bool:
    """Whether the object at the path is not there any more, or another one is, within so many seconds."""
    uid = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    found = (await api.get(path))["metadata"].get("uid")
                except ApiError as error:
                    if error.status != 404:
                        raise
                    return True
                uid = uid or found
                if uid != found:
                    return True
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        return False


def none(about: str) -> Callable[[list[Object]], str]:
    """For `until`: that nothing is left. `about` names it."""

    def met(left: list[Object]) -> str:
        return f"{about} is not gone: {left[0]['metadata']['name']} is still there" if left else ""

    return met


def rolled_out(values: Iterable[Object]) -> str:
    """"" when the Deployments or DaemonSets run as their newest generation says; else what is missing."""
    missing = []
    found = False
    for value in values:
        found = True
        status, spec, meta = value.get("status") or {}, value["spec"], value["metadata"]
        if "replicas" in spec:
            wanted = spec["replicas"]
            updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
            old = status.get("replicas", 0) - updated
        else:
            wanted = status.get("desiredNumberScheduled", 0)
            updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
            old = 0
        if status.get("observedGeneration", 0) < meta["generation"]:
            missing.append(f"{meta['name']} is not begun yet")
        elif min(updated, available) < wanted or old > 0:
            missing.append(f"{meta['name']}: {min(updated, available)} of {wanted} are ready")
    return "; ".join(missing) if found else "it does not exist"


async def pods_say(api: Api) -> str:
    """Why pods of Retic do not start, as far as they say so; "" when none says anything."""
    listed = await api.get(f"/api/v1/namespaces/{names.NAMESPACE}/pods", labelSelector=f"{names.PART_OF}=retic")
    said = sorted({reason for pod in listed.get("items") or () for reason in _reasons(pod)})
    return "; ".join(said[:5])


def _reasons(pod: Object) -> Iterable[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{name}: not scheduled: {condition.get('message', '')}"
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield f"{name}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            yield f"{name}: ended with {ended['exitCode']}; see kubectl logs -p -n {names.NAMESPACE} {name}"
