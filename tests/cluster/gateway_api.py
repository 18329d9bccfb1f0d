"""The names of the Gateway API's kinds as CRDs without schemas, for tests that install and check only."""

from retic.sources import api
from retic.testing import wait

KINDS = {"GatewayClass": "gatewayclasses", "Gateway": "gateways", "HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes"}
GROUP = "gateway.networking.k8s.io"
_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(kind, plural, version):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            "annotations": {
                "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api",
                "gateway.networking.k8s.io/bundle-version": version,
            },
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster" if kind == "GatewayClass" else "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def install(cluster: api.Api, version: str = "v1.4.0") -> None:
    """Until the server serves them."""
    for kind, plural in KINDS.items():
        await cluster.apply(f"{_PATH}/{plural}.{GROUP}", crd(kind, plural, version), manager="test")

    async def served():
        return all([await cluster.resource(f"{GROUP}/v1", kind) for kind in KINDS])

    await wait.until_async(served, "the server to serve the Gateway API's kinds")


async def remove(cluster: api.Api) -> None:
    """Take them away again."""
    for plural in KINDS.values():
        await cluster.delete(f"{_PATH}/{plural}.{GROUP}")
