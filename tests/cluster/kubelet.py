"""The part of kubelet and scheduler that tests without nodes need: every pod of Retic runs and is ready.

Also the part of the controller and the agents: one leads, they report, the webhook is trusted, and in an
uninstallation, when told to drain, nothing is captured.
"""

import asyncio
import base64
import contextlib
import json

from retic.install import names
from retic.sources import api
from retic.testing import tls_pairs

PODS = f"/api/v1/namespaces/{names.NAMESPACE}/pods"
CONFIG = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.CONFIG}"
NODES = f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{names.NODES}"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{names.NAMESPACE}/leases/{names.LEASE}"
WEBHOOK = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{names.WEBHOOK}"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@contextlib.asynccontextmanager
async def running(cluster: api.Api, *, lets_go: bool = True):
    """While the block runs. `lets_go`: whether pods leave the mesh when the configuration says so."""
    tasks = [asyncio.create_task(_pods(cluster)), asyncio.create_task(_trust(cluster))]
    if lets_go:
        tasks.append(asyncio.create_task(_drain(cluster)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _events(cluster, path, **selectors):
    while True:
        with contextlib.suppress(api.Error):
            async with cluster.lines(path, watch=True, **selectors) as lines:
                async for line in lines:
                    yield json.loads(line)


async def _pods(cluster):
    async for event in _events(cluster, PODS):
        pod = event["object"]
        if event["type"] == "ADDED":
            with contextlib.suppress(api.ApiError):
                await cluster.patch(f"{PODS}/{pod['metadata']['name']}/status", {"status": READY}, kind="strategic")
                if names.NODE in pod["metadata"]["name"]:
                    await report(cluster)
                if names.CONTROLLER in pod["metadata"]["name"]:
                    await _lead(cluster, pod["metadata"]["name"])


async def _lead(cluster, pod):
    """As the last that came."""
    body = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": names.LEASE, "namespace": names.NAMESPACE},
        "spec": {"holderIdentity": f"{pod}_1a2b3c4d"},
    }  # fmt: skip
    await cluster.apply(LEASE, body, manager="test")


async def _trust(cluster):
    where, _, name = WEBHOOK.rpartition("/")
    async for event in _events(cluster, where, fieldSelector=f"metadata.name={name}"):
        if event["type"] == "ADDED":
            await cluster.patch(WEBHOOK, _trusted(), kind="strategic")


def _trusted():
    bundle = base64.b64encode(tls_pairs.chain(tls_pairs.key())).decode()
    return {"webhooks": [{"name": "validate.retic.dev", "clientConfig": {"caBundle": bundle}}]}


async def _drain(cluster):
    where = CONFIG.rpartition("/")[0]
    async for event in _events(cluster, where, fieldSelector=f"metadata.name={names.CONFIG}"):
        if (event["object"].get("data") or {}).get(names.DRAIN_KEY) != "true":
            continue
        for pod in (await cluster.get("/api/v1/pods"))["items"]:
            if any(c["type"] == names.CAPTURED for c in pod["status"].get("conditions") or ()):
                await captured(cluster, pod["metadata"]["namespace"], pod["metadata"]["name"], "False")
        await report(cluster, captured=0)


async def captured(cluster: api.Api, namespace: str, name: str, status: str) -> None:
    """The condition that the controller writes."""
    change = {"status": {"conditions": [{"type": names.CAPTURED, "status": status}]}}
    await cluster.patch(f"/api/v1/namespaces/{namespace}/pods/{name}/status", change, kind="strategic")


async def report(cluster: api.Api, **values) -> None:
    """What the controller keeps of the report of node-1's agent."""
    body = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names.NODES, "namespace": names.NAMESPACE},
        "data": {"node-1": json.dumps(values)},
    }  # fmt: skip
    await cluster.apply(NODES, body, manager="test")
