"""Every command that asks an API server, at a real one: for administrators, and for users with less."""

import asyncio
import json
import os
import subprocess
import sys
import time

import kube_rig
import kubelet
import pytest
import yaml
from tests.cluster import security_api

from retic.install import manifest, names, record, values
from retic.testing import wait

SHOP = "cmd-shop"
ROUTES = f"{kube_rig.GATEWAYS}/namespaces/{SHOP}/httproutes"
RBAC = "/apis/rbac.authorization.k8s.io/v1"

OBJECTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {SHOP}, labels: {{retic.dev/mesh: enabled}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: cmd-office}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {SHOP}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: phone, namespace: cmd-office}}
spec: {{ports: [{{port: 53, protocol: UDP}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: {SHOP}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: wrong, namespace: {SHOP}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{backendRefs: [{{name: gone, port: 80}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: far, namespace: {SHOP}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: web}}]
  rules: [{{backendRefs: [{{name: phone, namespace: cmd-office, port: 53}}]}}]
"""

# Who may see one namespace, as `kubectl create rolebinding --clusterrole=view` gives, with the Gateway API's kinds.
VIEWER = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: cmd-viewer, namespace: {SHOP}}}
rules:
- {{apiGroups: [""], resources: [pods, services, serviceaccounts, events, namespaces], verbs: [get, list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}}
- {{apiGroups: [gateway.networking.k8s.io], resources: ["*"], verbs: [get, list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: cmd-viewer, namespace: {SHOP}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: cmd-viewer}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: viewer}}]
"""


async def apply(cluster, text):
    for each in yaml.safe_load_all(text):
        resource = await cluster.resource(each["apiVersion"], each["kind"])
        path = resource.path(each["metadata"].get("namespace", ""), each["metadata"]["name"])
        await cluster.apply(path, each, manager="kubectl-client-side-apply")


async def pod(cluster, name, **spec):
    where = f"/api/v1/namespaces/{SHOP}/pods"
    spec = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0, **spec}
    body = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}
    made = await cluster.create(where, body)
    status = {"status": {"phase": "Running", "podIP": "10.42.0.7"}}
    await cluster.patch(f"{where}/{name}/status", status, kind="strategic")
    return made["metadata"]["uid"]


async def install(cluster):
    """What commands read of an installation; nothing of it runs."""
    rendered = [one for one in manifest.render(values.Values()) if one["kind"] in ("Namespace", "ConfigMap")]
    for one in rendered:
        resource = await cluster.resource(one["apiVersion"], one["kind"])
        path = resource.path(one["metadata"].get("namespace", ""), one["metadata"]["name"])
        await cluster.apply(path, one)
    await record.write(cluster, record.Record(values.VERSION, record.State.INSTALLED, {}, record.items(rendered)))


async def remove(cluster):
    for kind in ("pods", "services"):
        for space in (SHOP, "cmd-office"):
            await cluster.delete(f"/api/v1/namespaces/{space}/{kind}")
    await cluster.delete(ROUTES)
    for name in (names.CONFIG, names.RECORD, names.NODES):
        await cluster.delete(f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{name}")
    for kind in ("rolebindings", "roles"):
        await cluster.delete(f"{RBAC}/namespaces/{SHOP}/{kind}/cmd-viewer")
    await cluster.patch(f"/api/v1/namespaces/{SHOP}", {"metadata": {"labels": {names.MESH_LABEL: None}}})


@pytest.fixture
async def shop(gateway_api):
    await install(gateway_api)
    await apply(gateway_api, OBJECTS)
    uid = await pod(gateway_api, "web-1", nodeName="node-1")
    await pod(gateway_api, "web-2", nodeName="node-1")
    await kubelet.captured(gateway_api, SHOP, "web-1", "True")
    old = [{"uid": uid, "connections": 3}]
    await kubelet.report(gateway_api, captured=1, plaintext=old, envoy="1.40.0", retic="0.1.0")
    yield gateway_api
    await remove(gateway_api)


@pytest.fixture
def retic(apiserver, tmp_path):
    """Runs the command as the administrator, or (`user`) as somebody who has only the rights given to them."""

    def run(*words, user=None, namespace=None):
        config = yaml.safe_load(apiserver.read_text())
        if user is not None:
            config["users"][0]["user"]["as"] = user
        if namespace is not None:
            config["contexts"][0]["context"]["namespace"] = namespace
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        return subprocess.run(
            [sys.executable, "-m", "retic.cli", *words, "--kubeconfig", str(file)], capture_output=True, text=True,
            timeout=120, check=False, env={**os.environ, "HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def rows(done):
    return [line.split() for line in done.stdout.splitlines()]


async def test_ps(shop, retic):
    done = await asyncio.to_thread(retic, "ps")
    assert (done.returncode, done.stderr) == (0, "")
    assert [SHOP, "web-1", "no", "Running", "captured", "3", "0", "node-1", "default"] in rows(done)
    assert [SHOP, "web-2", "no", "Running", "waiting", "-", "0", "node-1", "default"] in rows(done)
    assert ["node-1", "0.1.0", "1.40.0", "1", "3", "-"] in rows(done)
    assert "error RT0201 HTTPRoute cmd-shop/wrong: there is no Service cmd-shop/gone" in done.stdout
    assert "cmd-office  phone" not in done.stdout
    everything = await asyncio.to_thread(retic, "ps", "-A", "-o", "json")
    found = json.loads(everything.stdout)
    assert {"cmd-office", SHOP} <= {one["namespace"] for one in found["services"]}
    assert found["unseen"] == found["unjudged"] == []
    mine = [one for one in found["pods"] if one["namespace"] == SHOP]
    assert [(one["name"], one["mesh"], one["plaintext"]) for one in mine] == [
        ("web-1", "captured", 3), ("web-2", "waiting", 0),
    ]
    one = await asyncio.to_thread(retic, "ps", "-n", "cmd-office")
    assert "phone" in one.stdout
    assert SHOP not in one.stdout


async def test_events_of_a_pod_that_waits(shop, retic):
    event = {
        "metadata": {"name": "web-2.1"}, "type": "Warning", "reason": "FailedCreatePodSandBox",
        "message": "the node's agent\n is away", "lastTimestamp": "2030-01-01T00:00:00Z",
        "involvedObject": {"kind": "Pod", "namespace": SHOP, "name": "web-2"},
    }  # fmt: skip
    await shop.create(f"/api/v1/namespaces/{SHOP}/events", event)
    done = await asyncio.to_thread(retic, "ps")
    assert "EVENTS\ncmd-shop/web-2: FailedCreatePodSandBox: the node's agent is away\n" in done.stdout
    await shop.delete(f"/api/v1/namespaces/{SHOP}/events/web-2.1")


async def test_analyze(shop, retic):
    done = await asyncio.to_thread(retic, "analyze")
    assert done.returncode == 1
    assert "error RT0201 HTTPRoute cmd-shop/wrong: there is no Service cmd-shop/gone" in done.stdout
    assert "RT0109" not in done.stdout  # of a namespace that has nothing to do with the mesh
    assert "RT0109 Service cmd-office/phone" in (await asyncio.to_thread(retic, "analyze", "-A")).stdout
    for name in ("wrong", "far"):
        await shop.delete(f"{ROUTES}/{name}")
    done = await asyncio.to_thread(retic, "analyze", "-n", SHOP)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_why(shop, retic):
    done = await asyncio.to_thread(retic, "why", f"routes/{SHOP}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "HTTPRoute cmd-shop/web (by kubectl-client-side-apply, 20" in done.stdout
    done = await asyncio.to_thread(retic, "why", "nonsense")
    assert (done.returncode, done.stderr[:40]) == (1, "retic: 'nonsense' is no resource's name;")
    done = await asyncio.to_thread(retic, "why", f"routes/{SHOP}", "-o", "json")
    assert all(one["file"] == "" for one in json.loads(done.stdout)["sources"])


ASKED = ("explain", "request", "-n", SHOP, "--from", "pod/web-1", "--to", "web:80", "-o", "json")


SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{SHOP}/endpointslices"
SLICE = {
    "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
    "ports": [{"name": "http", "port": 80}],
    "endpoints": [{"addresses": ["10.42.0.7"], "conditions": {"ready": True}, "nodeName": "node-1",
                   "targetRef": {"kind": "Pod", "namespace": SHOP, "name": "web-1"}}],
}  # fmt: skip


@pytest.fixture
async def policies(shop):
    """The kinds of policies, and one policy with a misspelt field, which this server lets pass."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for kind, plural in security_api.KINDS.items():
        made = security_api.crd(kind, plural)
        await shop.apply(f"{crds}/{made['metadata']['name']}", made, manager="test")
    path = f"/apis/{security_api.GROUP}/v1/namespaces/{SHOP}/authorizationpolicies"

    async def served():
        return all([await shop.resource(f"{security_api.GROUP}/v1", kind) for kind in security_api.KINDS])

    await wait.until_async(served, "the kinds are served")
    spec = {"rules": [{"from": [{"source": {"princpals": ["cluster.local/ns/cmd-shop/sa/default"]}}]}]}
    body = {"apiVersion": f"{security_api.GROUP}/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "web", "namespace": SHOP}, "spec": spec}  # fmt: skip
    await shop.apply(f"{path}/web", body, manager="test")
    yield
    for plural in security_api.KINDS.values():
        await shop.delete(f"{crds}/{plural}.{security_api.GROUP}")


async def test_without_the_kinds_there_are_no_policies(shop, retic):
    done = await asyncio.to_thread(retic, "policies")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no authorization policies\n", "")


async def test_a_misspelt_policy_that_the_server_let_pass(shop, retic, policies):
    done = await asyncio.to_thread(retic, "policies", "-o", "json")
    (found,) = json.loads(done.stdout)
    field = "spec.rules[0].from[0].source.princpals"
    assert (found["name"], found["action"], found["unread"], found["pods"]) == ("web", "ALLOW", [field], 2)
    done = await asyncio.to_thread(retic, "analyze", "-n", SHOP)
    assert f"error RT0433 AuthorizationPolicy {SHOP}/web: {field} is not a field of Source" in done.stdout
    for name in ("wrong", "far"):  # so that requests get as far as the pod
        await shop.delete(f"{ROUTES}/{name}")
    await shop.create(SLICES, SLICE)
    done = await asyncio.to_thread(retic, *ASKED)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["allowed"], answer["status"]) == (1, False, 403)
    assert answer["policy"]["object"] == f"AuthorizationPolicy {SHOP}/web"
    # Who may not read policies is told that the verdict is without them.
    await apply(shop, VIEWER)
    done = await asyncio.to_thread(retic, *ASKED, user="viewer", namespace=SHOP)
    assert json.loads(done.stdout)["policy"] is None
    assert "list authorizationpolicies.security.istio.io" in done.stderr
    done = await asyncio.to_thread(retic, "policies", user="viewer", namespace=SHOP)
    assert "list authorizationpolicies.security.istio.io" in done.stderr
    await shop.delete(f"{SLICES}/web-1")


async def test_whoever_sees_one_namespace_is_told_what_there_is_not(shop, retic):
    await apply(shop, VIEWER)
    done = await asyncio.to_thread(retic, "ps", user="viewer", namespace=SHOP)
    assert done.returncode == 0
    assert [SHOP, "web-1", "no", "Running", "captured", "?", "0", "node-1", "default"] in rows(done)
    assert [SHOP, "web-2", "no", "Running", "waiting", "?", "0", "node-1", "default"] in rows(done)
    assert "cmd-office" not in done.stdout
    assert f"in all namespaces (so only namespace {SHOP} is shown)" in done.stderr
    assert "get configmaps/retic-config in namespace retic-system (the mesh's settings: defaults stand)" in done.stderr
    assert "get configmaps/retic-nodes in namespace retic-system" in done.stderr
    # What is certain is told, and what is not is not: `far` leads where this user cannot look.
    assert "RT0201 HTTPRoute cmd-shop/wrong" in done.stdout
    assert "HTTPRoute cmd-shop/far:" not in done.stdout
    assert "not judged, since what they refer to may not be read: HTTPRoute cmd-shop/far" in done.stderr
    chosen = await asyncio.to_thread(retic, "ps", "-n", SHOP, user="viewer")
    assert chosen.stdout == done.stdout
    found = await asyncio.to_thread(retic, "analyze", user="viewer", namespace=SHOP)
    assert found.returncode == 1
    assert (await asyncio.to_thread(retic, "why", f"routes/{SHOP}", user="viewer", namespace=SHOP)).returncode == 0


async def test_whoever_sees_nothing_is_told_which_rights_are_missing(shop, retic):
    for words in (("ps",), ("analyze",), ("policies",), ("wait",), ("top",), ("tap",)):
        done = await asyncio.to_thread(retic, *words, user="nobody")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("retic: you may not list ")
        assert done.stderr.count("\n") == 1
    done = await asyncio.to_thread(retic, "proxy", "node-1", user="nobody")
    assert done.returncode == 1
    assert 'User "nobody" cannot list resource "pods"' in done.stderr
    done = await asyncio.to_thread(retic, "version", user="nobody")
    assert done.returncode == 0
    assert 'User "nobody" cannot get resource' in done.stdout


async def test_rights_to_look_and_not_to_run_commands(shop, retic):
    agent = {
        "metadata": {"name": "retic-node-x", "labels": names.labels("node")},
        "spec": {
            "nodeName": "node-1", "containers": [{"name": "agent", "image": "i"}], "terminationGracePeriodSeconds": 0,
        },
    }  # fmt: skip
    where = f"/api/v1/namespaces/{names.NAMESPACE}"
    await shop.create(f"{where}/pods", agent)
    await shop.patch(f"{where}/pods/retic-node-x/status", {"status": {"phase": "Running"}}, kind="strategic")
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    roles = f"{RBAC}/namespaces/{names.NAMESPACE}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules}
    await shop.apply(f"{roles}/roles/cmd-looker", {**role, "metadata": {"name": "cmd-looker"}})
    await shop.apply(f"{roles}/rolebindings/cmd-looker", {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "cmd-looker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cmd-looker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "looker"}],
    })  # fmt: skip
    try:
        done = await asyncio.to_thread(retic, "proxy", "node-1", user="looker")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "retic: you may not look into retic-node-x: it takes the right to get and create pods/exec in namespace "
            "retic-system\n"
        )
        done = await asyncio.to_thread(retic, "proxy", "node-7", user="looker")
        assert "no agent runs on a node node-7: there are node-1" in done.stderr
    finally:
        for path in (f"{where}/pods/retic-node-x", f"{roles}/rolebindings/cmd-looker",
                     f"{roles}/roles/cmd-looker"):  # fmt: skip
            await shop.delete(path)


async def test_wait(shop, retic):
    def entry(live):
        said = (("Accepted", "True", ""), ("retic.dev/Live", str(live == 2), f"live on {live} of 2 proxies"))
        conditions = [
            {"type": kind, "status": status, "reason": "R", "message": text, "observedGeneration": 1,
             "lastTransitionTime": "2030-01-01T00:00:00Z"}
            for kind, status, text in said
        ]  # fmt: skip
        parent = {"group": "", "kind": "Service", "name": "web"}
        controller = "retic.dev/gateway-controller"
        return {"status": {"parents": [{"controllerName": controller, "parentRef": parent, "conditions": conditions}]}}

    await shop.patch(f"{ROUTES}/web/status", entry(1))
    done = await asyncio.to_thread(retic, "wait", "-n", SHOP, "httproute/web", "--timeout", "10")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "retic: not live after 10 s:\n  HTTPRoute cmd-shop/web: live on 1 of 2 proxies\n"
    waiting = asyncio.create_task(asyncio.to_thread(retic, "wait", "-n", SHOP, "httproute/web"))
    await shop.patch(f"{ROUTES}/web/status", entry(2))
    done = await waiting
    assert (done.returncode, done.stdout) == (0, "HTTPRoute cmd-shop/web: live on 2 of 2 proxies\n")


async def test_nothing_is_installed(shop, retic):
    for name in (names.CONFIG, names.RECORD):
        await shop.delete(f"/api/v1/namespaces/{names.NAMESPACE}/configmaps/{name}")
    done = await asyncio.to_thread(retic, "ps")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Retic is not installed on this cluster (context " in done.stderr
    done = await asyncio.to_thread(retic, "analyze")
    assert "RT0201 HTTPRoute cmd-shop/wrong" in done.stdout
    assert "judged as with its defaults" in done.stderr
    assert "cluster: Retic is not installed (context " in (await asyncio.to_thread(retic, "version")).stdout


async def test_a_thousand_services(shop, retic):
    limit = asyncio.Semaphore(24)

    async def make(number):
        async with limit:
            body = {"metadata": {"name": f"s{number}"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
            await shop.create(f"/api/v1/namespaces/{SHOP}/services", body)
            spec = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0}
            body = {"metadata": {"name": f"p{number}"}, "spec": {"nodeName": "node-1", **spec}}
            await shop.create(f"/api/v1/namespaces/{SHOP}/pods", body)

    await asyncio.gather(*(make(number) for number in range(1000)))
    begin = time.monotonic()
    done = await asyncio.to_thread(retic, "ps")
    seconds = time.monotonic() - begin
    assert done.returncode == 0
    assert sum(row[:2] == [SHOP, f"s{row[1][1:]}"] for row in rows(done) if len(row) > 1) == 1000
    print(f"ps with 1,000 Services and 1,000 pods: {seconds:.1f} s")


def test_no_server(tmp_path, retic, apiserver):
    nobody = tmp_path / "config"
    nobody.write_text(apiserver.read_text().replace("https://127.0.0.1:", "https://127.0.0.1:1/"))
    done = subprocess.run(
        [sys.executable, "-m", "retic.cli", "ps", "--kubeconfig", str(nobody)], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


