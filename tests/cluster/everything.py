"""Every object that an API server has, to compare two moments: what an uninstallation leaves."""

import asyncio

from retic.sources import api

# Kinds that controllers of the cluster write all the time, whatever anybody installs.
_UNSTEADY = {"events", "leases", "componentstatuses", "pods.metrics.k8s.io", "nodes.metrics.k8s.io"}


async def of(cluster: api.Api) -> set[str]:
    """Each as `group/version plural namespace/name`."""
    roots = ["/api/v1"]
    for group in (await cluster.get("/apis"))["groups"]:
        roots.append(f"/apis/{group['preferredVersion']['groupVersion']}")
    listed = await asyncio.gather(*(_collections(cluster, root) for root in roots))
    found = await asyncio.gather(*(_names(cluster, path) for paths in listed for path in paths))
    return {name for names in found for name in names}


async def _listed(cluster, path):
    """What the path answers; {} when it is gone since it was listed, as kinds are whose CRD has just been removed."""
    try:
        return await cluster.get(path)
    except api.ApiError as error:
        if error.status == 404:
            return {}
        raise


async def _collections(cluster, root):
    return [
        f"{root}/{resource['name']}"
        for resource in (await _listed(cluster, root)).get("resources") or ()
        if "list" in resource["verbs"] and resource["name"] not in _UNSTEADY
    ]


async def _names(cluster, path):
    listed = await _listed(cluster, path)
    return {
        f"{path} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}" for one in listed.get("items") or ()
    }
