"""Statuses without what the controller has written: pods, Gateways, routes and policies as they were before Retic.

Only what is the controller's own goes: its conditions on pods and policies, its parents in routes' statuses, and the
statuses of Gateways of its class, which are what the Gateway API gives to those that no controller has seen.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from retic import objects
from retic.install import names
from retic.mesh import governed
from retic.objects import limits
from retic.sources.api import Api, ApiError

_GATEWAY_API = "gateway.networking.k8s.io/v1"
_TRIES = 5  # where somebody else writes at the same time
_AT_ONCE = 8
Status = dict[str, Any]


async def pods(api: Api) -> None:
    """Take our condition off the pods' statuses. Pods that are gone meanwhile are fine."""
    marked = [
        pod["metadata"]
        for pod in (await api.get("/api/v1/pods")).get("items") or ()
        if any(one["type"] == names.CAPTURED for one in (pod.get("status") or {}).get("conditions") or ())
    ]
    gone = {"status": {"conditions": [{"type": names.CAPTURED, "$patch": "delete"}]}}
    turns = asyncio.Semaphore(_AT_ONCE)

    async def unmark(meta: dict[str, Any]) -> None:
        where = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        async with turns:
            try:
                await api.patch(where, gone, kind="strategic")
            except ApiError as error:
                if error.status != 404:
                    raise

    await asyncio.gather(*map(unmark, marked))


async def gateway_api(api: Api) -> None:
    """Gateways and routes; nothing where the cluster does not have their kinds."""
    for kind, without in (("Gateway", gateway), ("HTTPRoute", route), ("GRPCRoute", route)):
        await _every(api, kind, (_GATEWAY_API,), without)


async def policies(api: Api, say: Callable[[str], None]) -> None:
    """Policies that stay when our own kinds go, in the version that the cluster serves. What is not allowed is said."""
    for kind in governed.POLICIES:
        versions = objects.KINDS[kind].api_versions
        if versions[0].startswith(f"{limits.GROUP}/"):
            continue
        try:
            await _every(api, kind, versions, policy)
        except ApiError as error:
            say(f"the statuses of {kind} objects stay as they are: {error}")


async def _every(
    api: Api, kind: str, versions: Iterable[str], without: Callable[[dict[str, Any]], Status | None]
) -> None:
    """All objects of a kind, in the first of the versions that is served."""
    for version in versions:
        resource = await api.resource(version, kind)
        if resource is None:
            continue
        for value in (await api.get(resource.path())).get("items") or ():
            meta = value["metadata"]
            await _replace(api, resource.path(meta["namespace"], meta["name"]), value, without)
        return


async def _replace(
    api: Api, path: str, value: dict[str, Any], without: Callable[[dict[str, Any]], Status | None]
) -> None:
    for _ in range(_TRIES):
        status = without(value)
        if status is None:
            return
        try:
            await api.replace(f"{path}/status", {**value, "status": status})
            return
        except ApiError as error:
            if error.status == 404:
                return
            if error.status != 409:
                raise
            value = await api.get(path)


def route(value: dict[str, Any]) -> Status | None:
    """The status without our parents; None when there are none."""
    status = value.get("status") or {}
    parents = status.get("parents") or []
    left = [one for one in parents if one.get("controllerName") != names.GATEWAY_CONTROLLER]
    return None if len(left) == len(parents) else {**status, "parents": left}


def policy(value: dict[str, Any]) -> Status | None:
    """The status without our conditions; None when there are none."""
    status = value.get("status") or {}
    conditions = status.get("conditions") or []
    left = [one for one in conditions if not str(one.get("type", "")).startswith(f"{limits.GROUP}/")]
    if len(left) == len(conditions):
        return None
    return {**{k: v for k, v in status.items() if k != "conditions"}, **({"conditions": left} if left else {})}


def gateway(value: dict[str, Any]) -> Status | None:
    """The status of a Gateway that waits for a controller (GatewayStatus, conditions' defaults); None for another
    class, and where we have written nothing."""
    if value["spec"].get("gatewayClassName") != names.GATEWAY_CLASS:
        return None
    conditions = (value.get("status") or {}).get("conditions") or []
    if not any(one.get("observedGeneration") for one in conditions):
        return None
    waiting = {
        "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    return {"conditions": [{"type": one, **waiting} for one in ("Accepted", "Programmed")]}
