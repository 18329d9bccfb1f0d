"""What an installation that is ready still does by itself within seconds, and `retic check` would miss until then."""

from collections.abc import Iterable
from typing import Any

from retic.install import names, nodes, waiting
from retic.sources.api import Api

_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def done(api: Api, *, timeout: float) -> None:
    """Until the API server trusts the webhook and every agent has reported. InstallError says what has not come."""
    await waiting.until(api, _WEBHOOKS, _trusted, timeout=timeout, fieldSelector=f"metadata.name={names.WEBHOOK}")
    labels = ",".join(f"{key}={value}" for key, value in names.selector("node").items())
    pods = (await api.get(f"/api/v1/namespaces/{names.NAMESPACE}/pods", labelSelector=labels)).get("items") or ()
    wanted = {pod["spec"].get("nodeName", "") for pod in pods if nodes.running(pod)}

    def reported(config_maps: Iterable[dict[str, Any]]) -> str:
        known = {node for one in config_maps if one["metadata"]["name"] == names.NODES for node in nodes.parse(one)}
        silent = ", ".join(sorted(wanted - known))
        return f"the agents of some nodes have not reached the controller yet: {silent}" if silent else ""

    await waiting.until(api, nodes.COLLECTION, reported, timeout=timeout)


def _trusted(webhooks: Iterable[dict[str, Any]]) -> str:
    for one in webhooks:
        if not all(hook["clientConfig"].get("caBundle") for hook in one.get("webhooks") or ()):
            return (
                "the controller has not filled in the webhook's caBundle yet; see kubectl logs -n "
                f"{names.NAMESPACE} deploy/{names.CONTROLLER}"
            )
    return ""
