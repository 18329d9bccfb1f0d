"""Statuses as a real API server takes them, with the CRDs' own validation."""

import asyncio

import kube_rig
from tests.cluster import security_api

from retic import graph
from retic.install import unmarking
from retic.install.parts import definitions
from retic.kube import status_writer
from retic.mesh import network, tables
from retic.sources import api

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: SPACE}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: SPACE}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: SPACE, annotations: {retic.dev/service-type: ClusterIP}}
spec:
  gatewayClassName: retic
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: raw, port: 9000, protocol: TCP}
  - name: secure
    port: 443
    protocol: HTTPS
    tls: {certificateRefs: [{name: absent}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: SPACE}
spec:
  parentRefs:
  - {name: edge, sectionName: http}
  - {group: "", kind: Service, name: web}
  - {name: edge, sectionName: absent}
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""


POD = """
apiVersion: v1
kind: Pod
metadata:
  name: edge
  namespace: SPACE
  labels: {gateway.networking.k8s.io/gateway-name: edge}
  annotations: {retic.dev/role: gateway}
spec:
  serviceAccountName: edge-retic
  containers: [{name: proxy, image: none}]
"""


POLICIES = """
apiVersion: v1
kind: Namespace
metadata: {name: SPACE, labels: {retic.dev/mesh: enabled}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: SPACE}
spec: {rules: [{from: [{source: {namespaces: [SPACE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: unread, namespace: SPACE}
spec: {actoin: DENY}
---
apiVersion: retic.dev/v1alpha1
kind: RateLimit
metadata: {name: web, namespace: SPACE}
spec: {targetRefs: [{kind: Service, name: web}], limits: [{requests: 10, per: second}]}
"""


def parents(route, **wanted):
    """The entry of a route's status for a parentRef."""
    for each in (route.get("status") or {}).get("parents", ()):
        if all(each["parentRef"].get(k) == v for k, v in wanted.items()):
            return {c["type"]: (c["status"], c["reason"]) for c in each["conditions"]}
    return {}


async def get(rig, plural, space, name):
    return await rig.kube.get(f"{kube_rig.GATEWAYS}/namespaces/{space}/{plural}/{name}")


async def test_the_class_is_accepted(rig):
    async def accepted():
        found = await rig.kube.get(f"{kube_rig.GATEWAYS}/gatewayclasses/retic")
        status = found.get("status", {})
        if kube_rig.condition(status.get("conditions"), "SupportedVersion") != ("True", "SupportedVersion"):
            return None
        return status

    status = await kube_rig.until(accepted)
    assert kube_rig.condition(status["conditions"], "Accepted") == ("True", "Accepted")
    names = [each["name"] for each in status["supportedFeatures"]]
    assert names == sorted(names)
    assert "Mesh" in names


async def test_gateway_and_routes(rig):
    await rig.apply(SHOP.replace("SPACE", "status-a"))

    async def pending():
        found = await get(rig, "gateways", "status-a", "edge")
        conditions = found.get("status", {}).get("conditions")
        done = kube_rig.condition(conditions, "Accepted") == ("True", "ListenersNotValid")
        return found if done and found["status"]["listeners"][0]["attachedRoutes"] == 1 else None

    found = await kube_rig.until(pending)
    by_name = {each["name"]: each for each in found["status"]["listeners"]}
    http, raw, secure = by_name["http"], by_name["raw"], by_name["secure"]
    assert kube_rig.condition(http["conditions"], "Accepted") == ("True", "Accepted")
    assert [k["kind"] for k in http["supportedKinds"]] == ["GRPCRoute", "HTTPRoute"]
    assert kube_rig.condition(raw["conditions"], "Accepted") == ("False", "UnsupportedProtocol")
    assert raw["supportedKinds"] == []
    assert kube_rig.condition(secure["conditions"], "ResolvedRefs") == ("False", "InvalidCertificateRef")
    assert kube_rig.condition(secure["conditions"], "Programmed") == ("False", "Invalid")
    assert kube_rig.condition(found["status"]["conditions"], "Programmed")[0] == "False"

    proxy = await rig.proxy("gateway/status-a/edge")
    assert kube_rig.condition(found["status"]["conditions"], "Programmed")[0] == "False"
    await rig.apply(POD.replace("SPACE", "status-a"))

    async def programmed():
        found = await get(rig, "gateways", "status-a", "edge")
        done = kube_rig.condition(found["status"]["conditions"], "Programmed") == ("True", "Programmed")
        return found["status"] if done else None

    status = await kube_rig.until(programmed)
    assert kube_rig.condition(status["listeners"][0]["conditions"], "Programmed") == ("True", "Programmed")
    assert status["addresses"][0]["value"].startswith("10.43.")
    assert kube_rig.condition(status["conditions"], "retic.dev/Live") == ("True", "Live")
    assert proxy.held

    async def routed():
        found = await get(rig, "httproutes", "status-a", "web")
        return found if parents(found, sectionName="http").get("retic.dev/Live") == ("True", "Live") else None

    route = await kube_rig.until(routed)
    assert parents(route, sectionName="http")["Accepted"] == ("True", "Accepted")
    assert parents(route, sectionName="absent")["Accepted"] == ("False", "NoMatchingParent")
    mesh = parents(route, kind="Service")
    assert mesh["Accepted"] == ("True", "Accepted")
    assert mesh["retic.dev/Live"][0] != "True"


async def test_a_status_at_rest_is_not_written(rig):
    await rig.apply(SHOP.replace("SPACE", "status-b"))
    await rig.proxy("gateway/status-b/edge")
    await rig.proxy("node/one")

    async def done():
        found = await get(rig, "httproutes", "status-b", "web")
        live = [parents(found, sectionName="http"), parents(found, kind="Service")]
        return all(each.get("retic.dev/Live") == ("True", "Live") for each in live)

    await kube_rig.until(done)
    before = (await get(rig, "httproutes", "status-b", "web"))["metadata"]["resourceVersion"]
    rig.made.status.follow(tuple(rig.store.objects))
    await rig.made.status.queue.quiet()
    assert (await get(rig, "httproutes", "status-b", "web"))["metadata"]["resourceVersion"] == before


def policy_path(plural, space, name):
    group = "retic.dev/v1alpha1" if plural == "ratelimits" else f"{security_api.GROUP}/v1"
    return f"/apis/{group}/namespaces/{space}/{plural}/{name}"


async def stands(rig, plural, space, name):
    """The types of conditions with what they say, by the present generation."""
    found = await rig.kube.get(policy_path(plural, space, name))
    generation = found["metadata"]["generation"]
    return {
        c["type"]: (c["status"], c["reason"])
        for c in (found.get("status") or {}).get("conditions", ()) if c["observedGeneration"] == generation
    }  # fmt: skip


async def has_policies(kube):
    """The API server knows the kinds."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    every = [*(security_api.crd(*each) for each in security_api.KINDS.items()), definitions.rate_limit()]
    for each in every:
        await kube.apply(f"{crds}/{each['metadata']['name']}", each)

    async def served():
        try:
            for plural in (*security_api.KINDS.values(), "ratelimits"):
                await kube.get(policy_path(plural, "default", "").rstrip("/"))
        except api.ApiError:
            return False
        return True

    await kube_rig.until(served, 120)


async def test_policies(gateway_api, tmp_path):
    await has_policies(gateway_api)
    space = "status-p"
    async with kube_rig.Rig(gateway_api, tmp_path) as rig:
        labelled = network.Settings(enrolment="labelled")
        rig.mesh.commit([graph.Set(tables.SETTINGS, tables.ONE, labelled)])
        await rig.proxy("node/one")
        await rig.apply(POLICIES.replace("SPACE", space))

        async def said(plural, name, wanted):
            found = await stands(rig, plural, space, name)
            return found == wanted

        live = {"retic.dev/Accepted": ("True", "Accepted"), "retic.dev/Live": ("True", "Live")}
        await kube_rig.until(lambda: said("authorizationpolicies", "web", live))
        refused = {**live, "retic.dev/Accepted": ("False", "Invalid")}
        await kube_rig.until(lambda: said("authorizationpolicies", "unread", refused))
        unaimed = {**live, "retic.dev/Accepted": ("False", "TargetNotFound")}
        await kube_rig.until(lambda: said("ratelimits", "web", unaimed))
        # What it is for comes: the object itself has not changed.
        await rig.apply(SHOP.split("---")[1].replace("SPACE", space))
        await kube_rig.until(lambda: said("ratelimits", "web", live), 2 * status_writer.AGAIN)

        before = (await rig.kube.get(policy_path("ratelimits", space, "web")))["metadata"]["resourceVersion"]
        rig.made.status.follow(tuple(rig.store.objects))
        await rig.made.status.policies.quiet()
        assert (await rig.kube.get(policy_path("ratelimits", space, "web")))["metadata"]["resourceVersion"] == before

        # The namespace leaves the mesh, and nobody says any more that the mesh cares.
        await rig.kube.patch(f"/api/v1/namespaces/{space}", {"metadata": {"labels": {"retic.dev/mesh": None}}})
        await kube_rig.until(lambda: said("authorizationpolicies", "web", {}))
        await kube_rig.until(lambda: said("ratelimits", "web", {}))


async def test_an_uninstallation_takes_our_conditions_off_policies(gateway_api):
    await has_policies(gateway_api)
    space, now = "status-u", "2030-01-01T00:00:00Z"
    await gateway_api.apply(f"/api/v1/namespaces/{space}", {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space},
    })  # fmt: skip
    path = policy_path("authorizationpolicies", space, "web")
    made = {"apiVersion": f"{security_api.GROUP}/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "web"}}
    await gateway_api.apply(path, made)
    stood = [
        {"type": each, "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": now}
        for each in ("retic.dev/Accepted", "example.com/Other", "retic.dev/Live")
    ]
    await gateway_api.replace(f"{path}/status", {**await gateway_api.get(path), "status": {"conditions": stood}})
    said = []
    await unmarking.policies(gateway_api, said.append)
    assert said == []
    assert (await gateway_api.get(path))["status"] == {"conditions": stood[1:2]}


async def test_entries_of_others_stay_and_ours_of_gone_parents_go(rig):
    await rig.apply(SHOP.replace("SPACE", "status-c"))

    async def there():
        found = await get(rig, "httproutes", "status-c", "web")
        return found if parents(found, sectionName="absent") else None

    route = await kube_rig.until(there)
    other = {
        "parentRef": {"name": "edge"}, "controllerName": "example.com/other",
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }],
    }  # fmt: skip
    path = f"{kube_rig.GATEWAYS}/namespaces/status-c/httproutes/web"
    while True:
        route = await rig.kube.get(path)
        route["status"]["parents"].insert(0, other)
        try:
            await rig.kube.replace(f"{path}/status", route)
            break
        except api.ApiError as error:
            if error.status != 409:
                raise
    await rig.kube.patch(path, {"spec": {"parentRefs": [{"name": "edge", "sectionName": "http"}]}})

    async def gone():
        found = await get(rig, "httproutes", "status-c", "web")
        return found if not parents(found, kind="Service") else None

    found = await kube_rig.until(gone)
    assert [each["controllerName"] for each in found["status"]["parents"]] == [
        "example.com/other", "retic.dev/gateway-controller",
    ]  # fmt: skip
    generation = found["metadata"]["generation"]
    assert all(c["observedGeneration"] == generation for c in found["status"]["parents"][1]["conditions"])


async def test_a_second_controller_is_given_way_to(rig):
    await rig.apply(SHOP.replace("SPACE", "status-d"))
    path = f"{kube_rig.GATEWAYS}/namespaces/status-d/httproutes/web"

    async def there():
        return parents(await rig.kube.get(path), sectionName="http")

    await kube_rig.until(there)

    undone = 0

    async def fight():
        """Undo whatever is written, at once."""
        nonlocal undone
        while True:
            route = await rig.kube.get(path)
            if route["status"]["parents"]:
                route["status"]["parents"] = []
                try:
                    await rig.kube.replace(f"{path}/status", route)
                    undone += 1
                except api.ApiError as error:
                    if error.status != 409:
                        raise
            await asyncio.sleep(0.01)

    enemy = asyncio.create_task(fight())
    try:
        async def noticed():
            return [f for f in rig.made.found if f.object == "HTTPRoute status-d/web"]

        found = await kube_rig.until(noticed)
        assert found[0].code == "RT0602"
        before = undone
        await asyncio.sleep(1)
        assert undone - before <= 1
    finally:
        enemy.cancel()
        await asyncio.gather(enemy, return_exceptions=True)
