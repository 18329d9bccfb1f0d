"""What an Envoy on a cluster has: read by a command in its agent's container, so that pods/exec decides who may."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from retic.control import model
from retic.explain import why as explain
from retic.install import names
from retic.mesh import tables
from retic.sources import api as servers
from retic.sources.api import Api, ApiError, UnreachableError, executing

_NODE_FOLDER, _GATEWAY_FOLDER = "/run/retic", "/run/retic/agent"
_FORBIDDEN, _AT_ONCE = 403, 8
Unknown = explain.Unknown


class Found(msgspec.Struct, frozen=True):
    """One proxy: where its agent runs, the agent's folder there, and how many others of that name there are (a
    gateway's replicas)."""

    place: executing.Place
    folder: str
    others: int = 0


async def find(api: Api, proxy: str) -> Found:
    """`proxy` is a node's name or gateway/NS/NAME. Unknown, naming those that there are; ApiError."""
    if proxy.startswith("gateway/"):
        here = await _gateway(api, proxy)
        return _of_gateway(here[0], len(here) - 1)
    pods = await _agents(api)
    here = [pod for pod in pods if pod["spec"].get("nodeName") == proxy]
    if not here:
        there = ", ".join(sorted({str(pod["spec"].get("nodeName")) for pod in pods})) or "none"
        raise Unknown(f"no agent runs on a node {proxy}: there are {there} (gateways are gateway/NAMESPACE/NAME)")
    return _of_node(here[0])


async def every(api: Api, gateways: Iterable[str]) -> tuple[dict[str, Found], dict[str, str]]:
    """The proxies of all nodes and of these gateways (gateway/NS/NAME), by name; of a gateway with several pods each,
    with the pod's name behind. And why some were not found."""
    found: dict[str, Found] = {}
    failed: dict[str, str] = {}
    try:
        for pod in await _agents(api):
            found.setdefault(str(pod["spec"].get("nodeName")), _of_node(pod))
    except servers.Error as error:
        failed["the nodes"] = str(error)
    for proxy in gateways:
        try:
            here = await _gateway(api, proxy)
        except (Unknown, servers.Error) as error:
            failed[proxy] = str(error)
            continue
        for pod in here:
            name = proxy if len(here) == 1 else f"{proxy} ({pod['metadata']['name']})"
            found[name] = _of_gateway(pod, len(here) - 1)
    return found, failed


async def _agents(api: Api) -> list[dict[str, Any]]:
    """The pods of the nodes' agents."""
    labels = ",".join(f"{key}={value}" for key, value in names.selector("node").items())
    return await _running(api, names.NAMESPACE, labels)


async def _gateway(api: Api, proxy: str) -> list[dict[str, Any]]:
    """The pods of a gateway that run, at least one."""
    parts = proxy.split("/")
    if len(parts) != 3 or not all(parts):
        raise Unknown(f"{proxy} names no gateway: write gateway/NAMESPACE/NAME")
    _, namespace, name = parts
    pods = [pod for pod in await _running(api, namespace, tables.GATEWAY_LABEL) if _whole_name(pod)]
    here = [pod for pod in pods if _whole_name(pod) == name]
    if not here:
        there = ", ".join(sorted({f"gateway/{namespace}/{_whole_name(pod)}" for pod in pods})) or "none"
        raise Unknown(f"no pod of {proxy} runs: in namespace {namespace} there are {there}")
    return here


async def stats(api: Api, wanted: Iterable[str]) -> tuple[list[dict[str, int]], tuple[str, ...]]:
    """The statistics of these proxies, of every replica of a gateway; and why some could not be read."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(proxy: str) -> list[dict[str, int]] | str:
        async with gate:
            try:
                return [await read(api, each, "stats") for each in await _every(api, proxy)]
            except (Unknown, servers.Error) as error:
                return str(error)

    answers = await asyncio.gather(*map(one, wanted))
    return (
        [each for answer in answers if not isinstance(answer, str) for each in answer],
        tuple(sorted({answer for answer in answers if isinstance(answer, str)})),
    )


async def _every(api: Api, proxy: str) -> list[Found]:
    if not proxy.startswith("gateway/"):
        return [await find(api, proxy)]
    return [_of_gateway(pod) for pod in await _gateway(api, proxy)]


def _of_node(pod: dict[str, Any]) -> Found:
    return Found(executing.Place(names.NAMESPACE, pod["metadata"]["name"], "agent"), _NODE_FOLDER)


def _of_gateway(pod: dict[str, Any], others: int = 0) -> Found:
    place = executing.Place(pod["metadata"]["namespace"], pod["metadata"]["name"], "proxy")
    return Found(place, _GATEWAY_FOLDER, others)


def _whole_name(pod: dict[str, Any]) -> str:
    meta = pod["metadata"]
    said = meta.get("annotations") or {}
    if said.get(tables.ROLE_ANNOTATION) != "gateway":
        return ""
    return str(said.get(tables.GATEWAY_ANNOTATION) or (meta.get("labels") or {}).get(tables.GATEWAY_LABEL) or "")


async def _running(api: Api, namespace: str, selector: str) -> list[dict[str, Any]]:
    """Pods that run, those that are ready first, ending ones last."""
    found = await api.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
    running = [pod for pod in found.get("items") or () if (pod.get("status") or {}).get("phase") == "Running"]
    return sorted(running, key=_usefulness)


def _usefulness(pod: dict[str, Any]) -> tuple[bool, bool, str]:
    conditions = pod["status"].get("conditions") or ()
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ("deletionTimestamp" in pod["metadata"], not ready, pod["metadata"]["name"])


async def read(api: Api, found: Found, section: str) -> Any:
    """A section as `control.admin` reads it. Unknown for no such section; Error when it cannot be read."""
    if section and section not in model.SECTIONS:
        raise Unknown(f"no section {section}: choose one of {', '.join(model.SECTIONS)}")
    command = ["python", "-m", "retic.control.shown", f"{found.folder}/admin.sock", *([section] if section else ())]
    place = found.place
    try:
        done = await api.execute(place, command)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        raise UnreachableError(f"you may not look into {place.pod}: {needed(place)}") from None
    text = done.err.decode(errors="replace").strip()
    if done.code != 0:
        raise UnreachableError(f"the Envoy in {place.namespace}/{place.pod} cannot be read: {ended(done.code, text)}")
    try:
        return msgspec.json.decode(done.out)
    except msgspec.MsgspecError:
        raise UnreachableError(f"{place.namespace}/{place.pod} printed something that is no JSON") from None


def needed(place: executing.Place) -> str:
    """Which right is missing to run a command there."""
    return f"it takes the right to get and create pods/exec in namespace {place.namespace}"


def ended(code: int, said: str) -> str:
    """Why a command of ours ended in an agent's container, by its exit code and its error stream."""
    if "No module named" in said:
        return "its image has another version of Retic than this command: see retic version"
    return (said.splitlines() or [f"exit code {code}"])[-1]
