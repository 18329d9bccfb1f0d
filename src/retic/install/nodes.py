"""What agents last said of their nodes, and which pods are captured: as the controller keeps it at the API server."""

from collections.abc import Iterable
from typing import Any

import msgspec

from retic.install import names
from retic.sources.api import Api, ApiError

PATH = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.NODES}"
COLLECTION = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps"


class Plaintext(msgspec.Struct, frozen=True):
    """How many connections of a pod are older than its enrolment."""

    uid: str
    connections: int


class Refusable(msgspec.Struct, frozen=True):
    """How much STRICT would have refused at a pod, and when the last of it was seen (RFC 3339)."""

    uid: str
    count: int
    last: str


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key of the ConfigMap retic-nodes, named as the node: its agent's last report, as the controller keeps it.

    `captured` counts pods, `leaving` those that are known and not captured: while the node is emptied, because
    connections of theirs are still open through the proxy. `plaintext` and `refusable` list some. `cni` says what is
    wrong with the node's chain of plugins, `kernel` which features it lacks: empty when all is well, None when nothing
    was said. `time` is RFC 3339.
    """

    captured: int = 0
    leaving: int = 0
    plaintext: tuple[Plaintext, ...] = ()
    refusable: tuple[Refusable, ...] = ()
    envoy: str = ""
    retic: str = ""
    time: str = ""
    cni: str | None = None
    kernel: tuple[str, ...] | None = None


def parse(config_map: dict[str, Any]) -> dict[str, Report]:
    """The reports by node; what cannot be read counts as an empty report of a pod, so that nobody overlooks it."""
    found = {}
    for node, text in (config_map.get("data") or {}).items():
        try:
            found[node] = msgspec.json.decode(text, type=Report)
        except msgspec.MsgspecError:
            found[node] = Report(cni="its report cannot be read")
    return found


async def read(api: Api) -> dict[str, Report]:
    """The reports by node; empty when there is no ConfigMap. ApiError."""
    try:
        return parse(await api.get(PATH))
    except ApiError as error:
        if error.status == 404:
            return {}
        raise


def still(config_maps: Iterable[dict[str, Any]]) -> str:
    """Which nodes have captured pods, "" when none has. For `waiting.until` on the namespace's ConfigMaps."""
    for one in config_maps:
        if one["metadata"]["name"] == names.NODES:
            left = [f"{node}: {report.captured}" for node, report in parse(one).items() if report.captured]
            return f"pods are still in the mesh ({', '.join(sorted(left))})" if left else ""
    return ""


def closing(config_maps: Iterable[dict[str, Any]]) -> str:
    """On which nodes pods that left the mesh have connections through the proxy, "" on none. As `still`."""
    for one in config_maps:
        if one["metadata"]["name"] == names.NODES:
            left = [f"{node}: {report.leaving}" for node, report in parse(one).items() if report.leaving]
            return f"pods have connections open through the proxy ({', '.join(sorted(left))})" if left else ""
    return ""


def captured(pod: dict[str, Any]) -> bool:
    """Whether the pod's status says so."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == names.CAPTURED and one["status"] == "True" for one in conditions)


def running(pod: dict[str, Any]) -> bool:
    """Neither finished nor waiting for a node."""
    return (pod.get("status") or {}).get("phase") == "Running"


def left_out(pod: dict[str, Any]) -> str:
    """Why a pod of an enrolled namespace is not enrolled, "" when it is."""
    if (pod["metadata"].get("annotations") or {}).get(names.ROLE) == "gateway":
        return "it is a Gateway's own proxy"
    if pod["spec"].get("hostNetwork"):
        return "it uses the host's network"
    if (pod["metadata"].get("labels") or {}).get(names.MESH_LABEL) == "disabled":
        return f"its label {names.MESH_LABEL}=disabled says so"
    return ""
