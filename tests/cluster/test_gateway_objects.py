"""What is made for Gateways, as a real API server takes it."""

import json

import kube_rig

GATEWAY = """
apiVersion: v1
kind: Namespace
metadata: {name: SPACE}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME, namespace: SPACE, annotations: {retic.dev/replicas: "2"}}
spec:
  gatewayClassName: retic
  infrastructure: {labels: {team: edge}, annotations: {note: kept}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: other, port: 80, protocol: HTTP, hostname: a.example.com}
  - {name: more, port: 8080, protocol: HTTP}
"""


async def there(rig, path):
    """An object once it is there."""

    async def found():
        try:
            return await rig.kube.get(path)
        except kube_rig.api.ApiError as error:
            if error.status != 404:
                raise
            return None

    return await kube_rig.until(found)


async def gone(rig, path):
    async def missing():
        try:
            found = await rig.kube.get(path)
        except kube_rig.api.ApiError as error:
            return error.status == 404
        return "deletionTimestamp" in found["metadata"]

    await kube_rig.until(missing)


def core(space, plural, name="edge-retic"):
    return f"/api/v1/namespaces/{space}/{plural}/{name}"


def gateway(space, name="edge"):
    return f"{kube_rig.GATEWAYS}/namespaces/{space}/gateways/{name}"


async def test_everything_is_made(rig):
    space = "objects-a"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge"))
    deployment = await there(rig, f"/apis/apps/v1/namespaces/{space}/deployments/edge-retic")
    account = await there(rig, core(space, "serviceaccounts"))
    service = await there(rig, core(space, "services"))
    config = await there(rig, core(space, "configmaps"))
    budget = await there(rig, f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets/edge-retic")
    owner = (await rig.kube.get(gateway(space)))["metadata"]["uid"]
    for each in (deployment, account, service, config, budget):
        assert each["metadata"]["labels"]["team"] == "edge"
        assert each["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "edge"
        assert each["metadata"]["annotations"]["note"] == "kept"
        assert [o["uid"] for o in each["metadata"]["ownerReferences"]] == [owner]
    assert deployment["spec"]["replicas"] == 2
    assert [p["port"] for p in service["spec"]["ports"]] == [80, 8080]
    assert service["spec"]["type"] == "LoadBalancer"
    agent = json.loads(config["data"]["agent.json"])
    controller = (await rig.kube.get("/api/v1/namespaces/retic-system/services/retic-controller"))["spec"]["clusterIP"]
    assert agent["control"] == f"{controller}:15010"
    assert agent["identities"] == [f"spiffe://cluster.local/ns/{space}/sa/edge-retic"]
    assert config["data"]["root.pem"].startswith("-----BEGIN CERTIFICATE-----")
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["retic.dev/role"] == "gateway"
    assert template["metadata"]["labels"]["team"] == "edge"


async def test_what_is_changed_by_others_is_mended_and_what_is_wanted_no_more_goes(rig):
    space = "objects-b"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge"))
    budget = f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets/edge-retic"
    await there(rig, budget)
    service = core(space, "services")
    await there(rig, service)
    await rig.kube.patch(service, {"spec": {"selector": {"gateway.networking.k8s.io/gateway-name": "stolen"}}})

    async def mended():
        found = await rig.kube.get(service)
        return found["spec"]["selector"]["gateway.networking.k8s.io/gateway-name"] == "edge"

    await kube_rig.until(mended)
    change = {"metadata": {"annotations": {"retic.dev/replicas": None}}, "spec": {"infrastructure": None}}
    await rig.kube.patch(gateway(space), change)
    await gone(rig, budget)

    async def bare():
        found = await rig.kube.get(service)
        return "team" not in found["metadata"]["labels"] and "note" not in found["metadata"]["annotations"]

    await kube_rig.until(bare)


async def test_at_rest_nothing_is_written(rig):
    space = "objects-c"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge"))
    deployment = f"/apis/apps/v1/namespaces/{space}/deployments/edge-retic"
    paths = [core(space, "services"), core(space, "configmaps"), deployment]
    await there(rig, f"/apis/policy/v1/namespaces/{space}/poddisruptionbudgets/edge-retic")
    await rig.made.gateways.queue.quiet()
    before = [(await rig.kube.get(path))["metadata"]["resourceVersion"] for path in paths]
    rig.made.gateways.queue.add(kube_rig.tables.Key(space, "edge"))
    await rig.made.gateways.queue.quiet()
    assert [(await rig.kube.get(path))["metadata"]["resourceVersion"] for path in paths] == before


async def test_long_names(rig):
    space, name = "objects-d", "a" * 60 + ".b" * 90 + "-end"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", name))

    async def made():
        found = await rig.kube.get(f"/api/v1/namespaces/{space}/services")
        return [each for each in found["items"] if each["metadata"]["annotations"]["retic.dev/gateway"] == name]

    (service,) = await kube_rig.until(made)
    assert len(service["metadata"]["name"]) <= 63


async def test_parameters_that_nobody_reads_are_refused(rig):
    space = "objects-e"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge").replace(
        "infrastructure: {", "infrastructure: {parametersRef: {group: example.com, kind: Sizes, name: big}, ",
    ))  # fmt: skip

    async def refused():
        found = await rig.kube.get(gateway(space))
        return kube_rig.condition((found.get("status") or {}).get("conditions"), "Accepted") == (
            "False", "InvalidParameters",
        )  # fmt: skip

    await kube_rig.until(refused)
    found = await rig.kube.get(f"/apis/apps/v1/namespaces/{space}/deployments")
    assert found["items"] == []


async def test_static_addresses(rig):
    space = "objects-f"
    text = GATEWAY.replace("SPACE", space).replace("NAME", "edge")
    asked = "[{type: Hostname, value: a.example.com}, {value: 192.0.2.9}, {value: 10.43.77.7}]"
    await rig.apply(text.replace("listeners:", f"addresses: {asked}\n  listeners:"))

    async def status(kind, wanted):
        async def has():
            found = await rig.kube.get(gateway(space))
            conditions = (found.get("status") or {}).get("conditions") or ()
            done = kube_rig.condition(conditions, kind) == wanted
            latest = all(c.get("observedGeneration") == found["metadata"]["generation"] for c in conditions)
            return found["status"] if done and latest else None

        return await kube_rig.until(has)

    await status("Accepted", ("False", "UnsupportedAddress"))
    await rig.kube.patch(gateway(space), {"spec": {"addresses": [{"value": "192.0.2.9"}, {"value": "10.43.77.7"}]}})
    await status("Accepted", ("True", "Accepted"))
    await status("Programmed", ("False", "AddressNotUsable"))
    await rig.kube.patch(gateway(space), {"spec": {"addresses": [{"value": "10.43.77.7"}]}})
    found = await status("Programmed", ("False", "Pending"))
    assert found["addresses"] == [{"type": "IPAddress", "value": "10.43.77.7"}]
    assert (await rig.kube.get(core(space, "services")))["spec"]["clusterIP"] == "10.43.77.7"


async def test_the_account_of_somebody_else_is_not_taken_over(rig):
    space = "objects-g"
    await rig.apply(f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {space}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: edge-retic, namespace: {space}}}
""")
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge"))

    async def told():
        found = await rig.kube.get(gateway(space))
        conditions = (found.get("status") or {}).get("conditions")
        return kube_rig.condition(conditions, "Programmed") == ("False", "NoResources")

    await kube_rig.until(told)
    account = await rig.kube.get(core(space, "serviceaccounts"))
    assert "ownerReferences" not in account["metadata"]


async def test_events_tell_errors_once(rig):
    space = "objects-h"
    await rig.apply(GATEWAY.replace("SPACE", space).replace("NAME", "edge").replace(
        "{name: more, port: 8080, protocol: HTTP}", "{name: more, port: 8080, protocol: TCP}"
    ))  # fmt: skip

    async def told():
        found = await rig.kube.get(f"/apis/events.k8s.io/v1/namespaces/{space}/events")
        return found["items"]

    (event,) = await kube_rig.until(told)
    assert (event["reason"], event["regarding"]["name"], event["type"]) == ("RT0303", "edge", "Warning")
    rig.made.events.queue.add(kube_rig.findings.Ref("Gateway", space, "edge"))
    await rig.made.events.queue.quiet()
    assert len(await told()) == 1
