"""The webhook as a real API server calls it."""

import asyncio
import contextlib
import ssl

import httpx
import kube_rig
import pytest

from retic.sources import api

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SPACE = "webhook"
ROUTE = f"{kube_rig.GATEWAYS}/namespaces/{SPACE}/httproutes"

BASE = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {SPACE}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {SPACE}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}
"""


def configuration(port):
    """As the chart has it, but for the address: there is no Service network for the API server here."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "retic"},
        "webhooks": [{
            "name": "validate.retic.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": 30,
            "clientConfig": {"url": f"https://localhost:{port}/validate"},
            "rules": [{
                "apiGroups": ["gateway.networking.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"],
            }],
        }],
    }  # fmt: skip


def route(name, rule, **labels):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": SPACE, "labels": labels},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": [rule]},
    }  # fmt: skip


GOOD = {"backendRefs": [{"name": "web", "port": 80}]}
MIRRORED = {"filters": [{"type": "CORS", "cors": {"allowOrigins": ["*"]}}], **GOOD}


@pytest.fixture
async def hooked(gateway_api, tmp_path):
    made = kube_rig.Rig(gateway_api, tmp_path)
    made.names = ("localhost",)
    async with made as rig:
        await rig.apply(BASE)
        await gateway_api.apply(f"{WEBHOOKS}/retic", configuration(rig.made.web.port))

        async def trusted():
            with contextlib.suppress(api.ApiError):  # the leader writes it too
                await rig.made._bundle.patch()
            found = await gateway_api.get(f"{WEBHOOKS}/retic")
            return found["webhooks"][0]["clientConfig"].get("caBundle")

        await kube_rig.until(lambda: held(rig))
        await kube_rig.until(trusted)

        async def works():
            try:
                await gateway_api.create(f"{ROUTE}?dryRun=All", route("probe", MIRRORED))
            except api.ApiError as error:
                return "RT0205" in error.message
            return False

        await kube_rig.until(works)
        try:
            yield rig
        finally:
            await gateway_api.delete(f"{WEBHOOKS}/retic")


async def held(rig):
    return rig.lease.is_held


async def test_what_analyze_calls_an_error_is_refused(hooked):
    with pytest.raises(api.ApiError, match=r"RT0205.*CORS"):
        await hooked.kube.create(ROUTE, route("bad", MIRRORED))
    await hooked.kube.create(ROUTE, route("good", GOOD))
    rule = {"matches": [{"path": {"type": "RegularExpression", "value": "/(?=a)"}}], **GOOD}
    with pytest.raises(api.ApiError, match="RT0207"):
        await hooked.kube.create(ROUTE, route("regex", rule))


async def test_what_another_object_mends_is_admitted(hooked):
    await hooked.kube.create(ROUTE, route("early", {"backendRefs": [{"name": "later", "port": 80}]}))


async def test_what_was_there_before_can_be_labelled(hooked):
    await hooked.kube.delete(f"{WEBHOOKS}/retic")
    await until_admitted(hooked, "old")
    await hooked.kube.apply(f"{WEBHOOKS}/retic", configuration(hooked.made.web.port))
    with contextlib.suppress(api.ApiError):
        await hooked.made._bundle.patch()

    async def refused():
        try:
            await hooked.kube.create(f"{ROUTE}?dryRun=All", route("probe", MIRRORED))
        except api.ApiError:
            return True
        return False

    await kube_rig.until(refused)
    await hooked.kube.patch(f"{ROUTE}/old", {"metadata": {"labels": {"more": "yes"}}})


async def until_admitted(hooked, name):
    async def admitted():
        try:
            await hooked.kube.create(ROUTE, route(name, MIRRORED))
        except api.ApiError as error:
            return error.status == 409
        return True

    await kube_rig.until(admitted)


async def test_its_outage_blocks_nobody(hooked):
    await hooked.made.web.close()
    await hooked.kube.create(ROUTE, route("unjudged", MIRRORED))


async def test_the_port_itself(hooked):
    context = ssl.create_default_context(cadata=hooked.signer.bundle().decode())
    async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{hooked.made.web.port}") as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/other")).status_code == 404
        assert (await http.get("/validate")).status_code == 405
        assert (await http.post("/validate", content=b"{}")).status_code == 400
        assert (await http.post("/validate", content=b"[" * 100_000)).status_code == 400
        assert (await http.post("/validate", content=b" " * (9 << 20))).status_code == 413
        deep = {"request": {"uid": "1", "operation": "CREATE", "object": route("x", GOOD)}}
        answer = (await http.post("/validate", json=deep)).json()
        assert answer["response"] == {"uid": "1", "allowed": True}
    reader, writer = await asyncio.open_connection("localhost", hooked.made.web.port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
    await reader.read()
    writer.close()
