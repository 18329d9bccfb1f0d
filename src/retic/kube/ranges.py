"""The networks of a cluster's Services, as its ServiceCIDR objects name them (networking.k8s.io, Kubernetes 1.33)."""

import ipaddress

from retic.sources import api

PATH = "/apis/networking.k8s.io/v1/servicecidrs"


async def services(cluster: api.Api) -> tuple[str, ...]:
    """The IPv4 networks; none where the cluster has no such objects, or where they may not be read."""
    try:
        found = await cluster.get(PATH)
    except api.ApiError as error:
        if error.status in (403, 404):
            return ()
        raise
    named = [str(cidr) for each in found.get("items", []) for cidr in (each.get("spec") or {}).get("cidrs") or ()]
    return tuple(sorted(cidr for cidr in named if _is_ipv4(cidr)))


def _is_ipv4(cidr: str) -> bool:
    try:
        return ipaddress.ip_network(cidr).version == 4
    except ValueError:
        return False
