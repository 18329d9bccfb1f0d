"""The names of the Gateway API's kinds as CRDs without schemas, for tests that install and check only."""

import contextlib

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
    """Until the server serves them and has their stores open.

    A CRD that is deleted while its store opens stays for up to two minutes: "could not list instances".
    """
    for kind, plural in KINDS.items():
        await cluster.apply(f"{_PATH}/{plural}.{GROUP}", crd(kind, plural, version), manager="test")

    async def served():
        if GROUP not in {one["name"] for one in (await cluster.get("/apis"))["groups"]}:
            return False
        if not all([await cluster.resource(f"{GROUP}/v1", kind) for kind in KINDS]):
            return False
        with contextlib.suppress(api.ApiError):
            for plural in KINDS.values():
                await cluster.get(f"/apis/{GROUP}/v1/{plural}")
            return True
        return False

    await wait.until_async(served, "the server to serve the Gateway API's kinds")


async def remove(cluster: api.Api) -> None:
    """Take them away again, until none is left and none is served."""
    for plural in KINDS.values():
        await cluster.delete(f"{_PATH}/{plural}.{GROUP}")

    async def gone():
        listed = (await cluster.get(_PATH))["items"]
        groups = (await cluster.get("/apis"))["groups"]
        return GROUP not in {one["spec"]["group"] for one in listed} | {one["name"] for one in groups}

    await wait.until_async(gone, "the Gateway API's CRDs to be gone", seconds=150)
