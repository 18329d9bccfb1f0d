"""Probes of what must hold before installing: the API server, the Gateway API, the nodes, the networks."""

import datetime
import email.utils
import ipaddress
import re

from retic.install import manifest, rights_needed, values
from retic.install.checks.cluster import Cluster

OLDEST, KERNEL = (1, 30), (5, 4)
GATEWAY_API = ((1, 1), (1, 6))
SKEW = 10.0
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.gateway.networking.k8s.io"


async def api_reachable(cluster: Cluster) -> list[str]:
    """Fails by raising."""
    await cluster.get("/version")
    return []


async def api_version(cluster: Cluster) -> list[str]:
    """The server's own word for its version."""
    found = await cluster.get("/version") or {}
    version = _pair(f"{found.get('major', '')}.{found.get('minor', '')}")
    return [] if version and version >= OLDEST else [f"it is {found.get('gitVersion', 'of no known version')}"]


async def clock_skew(cluster: Cluster) -> list[str]:
    """By the Date of an answer, which has whole seconds."""
    text = await cluster.api.date()
    try:
        there = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return ["the API server does not say what time it is"]
    skew = (datetime.datetime.now(datetime.UTC) - there).total_seconds()
    return [f"this machine is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"] if abs(skew) > SKEW else []


async def rights(cluster: Cluster) -> list[str]:
    """Those to apply and remove everything of the default values."""
    rendered = manifest.render(values.Values())
    lacking = await rights_needed.missing(cluster.api, await rights_needed.needed(cluster.api, rendered))
    return [f"you may not {one}" for one in lacking]


async def gateway_api_present(cluster: Cluster) -> list[str]:
    """Whether the server serves the kinds that Retic reads."""
    kinds = ("GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute")
    missing = [k for k in kinds if await cluster.api.resource("gateway.networking.k8s.io/v1", k) is None]
    return [f"the cluster has no {', '.join(missing)}"] if missing else []


async def gateway_api_version(cluster: Cluster) -> list[str] | None:
    """By the annotation that each release puts on its CRDs."""
    crd = await cluster.get(_CRD)
    if crd is None:
        return None
    version = (crd["metadata"].get("annotations") or {}).get("gateway.networking.k8s.io/bundle-version", "")
    pair = _pair(version.removeprefix("v"))
    if pair is None:
        return ["they do not say of which version they are"]
    return [] if GATEWAY_API[0] <= pair <= GATEWAY_API[1] else [f"they are of {version}"]


async def nodes_supported(cluster: Cluster) -> list[str]:
    """By what each kubelet says of its node."""
    wrong = []
    for node in await cluster.items("/api/v1/nodes"):
        info = (node.get("status") or {}).get("nodeInfo") or {}
        system, machine = info.get("operatingSystem"), info.get("architecture")
        kernel = _pair(info.get("kernelVersion", ""))
        if system not in (None, "", "linux"):
            continue  # Windows nodes run no agent, and none of their pods is enrolled
        if machine not in (None, "", "amd64", "arm64"):
            wrong.append(f"{node['metadata']['name']}: {machine}")
        if kernel is not None and kernel < KERNEL:
            wrong.append(f"{node['metadata']['name']}: kernel {info['kernelVersion']}")
    return wrong


async def pod_networks(cluster: Cluster) -> list[str]:
    """Set, or of every node; a pod's address outside of all of them shows that they are not right."""
    networks = list((await cluster.settings()).get("pod_networks") or ())
    stated = bool(networks)
    listed = await cluster.items("/api/v1/nodes")
    if not stated:
        networks = [cidr for node in listed for cidr in node["spec"].get("podCIDRs") or ()]
    addresses = [
        (pod, (pod.get("status") or {}).get("podIP"))
        for pod in await cluster.items("/api/v1/pods")
        if not pod["spec"].get("hostNetwork")
    ]
    if not networks:
        found = any(address for _, address in addresses)
        return [] if found else ["no node has a podCIDR, and no pod an address"]
    parsed = [ipaddress.ip_network(one, strict=False) for one in networks]
    outside = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']} has {address}"
        for pod, address in addresses
        if address and not any(ipaddress.ip_address(address) in network for network in parsed)
    ]
    shown = ", ".join(networks[:4])
    return [f"{outside[0]}, which is not in {shown}"] if outside and stated else []


async def service_networks(cluster: Cluster) -> list[str]:
    """Set, or in the cluster's ServiceCIDRs."""
    if (await cluster.settings()).get("service_networks"):
        return []
    found = await cluster.items("/apis/networking.k8s.io/v1/servicecidrs")
    cidrs = [cidr for one in found for cidr in one["spec"].get("cidrs") or ()]
    return [] if cidrs else ["the cluster has no ServiceCIDR, and the value serviceNetworks is not set"]


async def cilium_socket_lb(cluster: Cluster) -> list[str] | None:
    """By Cilium's own configuration."""
    found = await cluster.get("/api/v1/namespaces/kube-system/configmaps/cilium-config")
    if found is None:
        return None
    data = found.get("data") or {}
    whole = data.get("kube-proxy-replacement") in ("true", "strict") or data.get("bpf-lb-sock") == "true"
    limited = data.get("bpf-lb-sock-hostns-only") == "true"
    return ["Cilium translates addresses inside pods"] if whole and not limited else []


def _pair(text: str) -> tuple[int, int] | None:
    """The first two numbers; cloud providers write a minor version like 30+."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
