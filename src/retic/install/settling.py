"""What an installation that is ready still does by itself within seconds, and `retic check` would miss until then."""

from collections.abc import Collection, Iterable
from typing import Any

from retic.install import names, nodes, waiting
from retic.sources.api import Api

_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def done(api: Api, *, timeout: float) -> None:
    """Until a controller that stays leads, the API server trusts the webhook and every agent has reported.
    InstallError says what has not come."""
    staying = {pod["metadata"]["name"] for pod in await _pods(api, "controller") if _stays(pod)}
    await waiting.until(
        api, _LEASES, lambda found: _led(found, staying), timeout=timeout,
        fieldSelector=f"metadata.name={names.LEASE}",
    )  # fmt: skip
    await waiting.until(api, _WEBHOOKS, _trusted, timeout=timeout, fieldSelector=f"metadata.name={names.WEBHOOK}")
    wanted = {pod["spec"].get("nodeName", "") for pod in await _pods(api, "node") if nodes.running(pod)}

    def reported(config_maps: Iterable[dict[str, Any]]) -> str:
        known = {node for one in config_maps if one["metadata"]["name"] == names.NODES for node in nodes.parse(one)}
        silent = ", ".join(sorted(wanted - known))
        return f"the agents of some nodes have not reached the controller yet: {silent}" if silent else ""

    await waiting.until(api, nodes.COLLECTION, reported, timeout=timeout)


async def _pods(api: Api, component: str) -> Iterable[dict[str, Any]]:
    labels = ",".join(f"{key}={value}" for key, value in names.selector(component).items())
    return (await api.get(f"/api/v1/namespaces/{names.NAMESPACE}/pods", labelSelector=labels)).get("items") or ()


def _stays(pod: dict[str, Any]) -> bool:
    return nodes.running(pod) and not pod["metadata"].get("deletionTimestamp")


def _led(leases: Iterable[dict[str, Any]], staying: Collection[str]) -> str:
    """One that ends may hold the Lease a little longer than its successors are ready."""
    for one in leases:
        holder = str((one.get("spec") or {}).get("holderIdentity") or "")
        if holder.rpartition("_")[0] in staying:  # kube.lease, identity
            return ""
    return f"no controller leads yet; see kubectl logs -n {names.NAMESPACE} deploy/{names.CONTROLLER}"


def _trusted(webhooks: Iterable[dict[str, Any]]) -> str:
    for one in webhooks:
        if not all(hook["clientConfig"].get("caBundle") for hook in one.get("webhooks") or ()):
            return (
                "the controller has not filled in the webhook's caBundle yet; see kubectl logs -n "
                f"{names.NAMESPACE} deploy/{names.CONTROLLER}"
            )
    return ""
