"""Probes of the pods: who should be in the mesh, who is, who is left out, who could pass by it."""

from retic.install import names, nodes
from retic.install.checks.cluster import Cluster, Object

_BYPASSING = ("ALL", "NET_ADMIN", "NET_RAW", "SYS_ADMIN")


async def _enrolled(cluster: Cluster) -> list[Object]:
    """The pods of namespaces with the label; those that have finished, or are ending, are left out."""
    excluded = {*names.NEVER_ENROLLED, *((await cluster.settings()).get("exclude_namespaces") or ())}
    labelled = {
        one["metadata"]["name"]
        for one in await cluster.items("/api/v1/namespaces", labelSelector=f"{names.MESH_LABEL}=enabled")
    } - excluded
    found = await cluster.items("/api/v1/pods")
    mine = [pod for pod in found if pod["metadata"]["namespace"] in labelled]
    return [pod for pod in mine if nodes.running(pod) and "deletionTimestamp" not in pod["metadata"]]


async def captured(cluster: Cluster) -> list[str]:
    """By the pods' condition."""
    pods = await _enrolled(cluster)
    return [_name(pod) for pod in pods if not nodes.left_out(pod) and not nodes.captured(pod)]


async def left_out(cluster: Cluster) -> list[str]:
    """With the reason."""
    return [f"{_name(pod)}: {why}" for pod in await _enrolled(cluster) if (why := nodes.left_out(pod))]


async def strict(cluster: Cluster) -> list[str] | None:
    """By the agents' counts, the pods named; nothing where STRICT holds already."""
    if (await cluster.settings()).get("mode") == "STRICT":
        return None
    return await refused(cluster)


async def refused(cluster: Cluster) -> list[str]:
    """What STRICT would refuse, pod by pod, the latest first."""
    found = await cluster.get(nodes.PATH)
    told = [one for report in (nodes.parse(found) if found else {}).values() for one in report.refusable]
    named = {pod["metadata"]["uid"]: _name(pod) for pod in await cluster.items("/api/v1/pods")}
    return [
        f"{named[one.uid]}: {one.count}, the last at {one.last}"
        for one in sorted(told, key=lambda one: one.last, reverse=True)
        if one.uid in named
    ]


async def may_bypass(cluster: Cluster) -> list[str]:
    """Containers that were given such capabilities."""
    found = []
    for pod in await _enrolled(cluster):
        if nodes.left_out(pod):
            continue
        given = sorted({word for container in _containers(pod) for word in _powers(container)})
        if given:
            found.append(f"{_name(pod)}: {', '.join(given)}")
    return found


def _containers(pod: Object) -> list[Object]:
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def _powers(container: Object) -> list[str]:
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        return ["privileged"]
    added = (context.get("capabilities") or {}).get("add") or ()
    return [word.removeprefix("CAP_") for word in added if word.removeprefix("CAP_") in _BYPASSING]


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
