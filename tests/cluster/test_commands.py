"""Commands on a cluster where Retic runs: those of docs/commands-on-a-cluster.md, and what they answer."""

import json
import pathlib
import re
import shlex

import pytest

from retic.testing import wait

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "commands-on-a-cluster.md"
IMAGE = "retic.dev/retic:0.1.0"
CATALOG = {"app": "catalog"}
GATEWAY_API = "gateway.networking.k8s.io/v1"


def pod(name, node, **more):
    command = ["python", "-m", "http.server", "8080"]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": CATALOG, **more},
        "spec": {
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
                            "workingDir": "/tmp"}],
        },
    }  # fmt: skip


def route(name, parent, backend="catalog"):
    return {
        "apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": name},
        "spec": {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": backend, "port": 80}]}]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def nodes(installed):
    """The names of the nodes."""
    return sorted(one["metadata"]["name"] for one in installed.kubectl().get("nodes")["items"])


@pytest.fixture(scope="module")
def shop(installed, nodes):
    """A Service, a Gateway, routes and pods, in a namespace of the mesh."""
    with installed.namespace() as kube:
        service = {"selector": CATALOG, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        kube.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "catalog"}, "spec": service},
            {"apiVersion": GATEWAY_API, "kind": "Gateway",
             "metadata": {"name": "front", "annotations": {"retic.dev/service-type": "ClusterIP"}},
             "spec": {"gatewayClassName": "retic", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]}},
            route("catalog", {"group": "", "kind": "Service", "name": "catalog"}),
            route("front", {"name": "front"}),
            pod("catalog-1", nodes[0]),
            pod("catalog-2", nodes[-1]),
            pod("apart", nodes[0], labels={"retic.dev/mesh": "disabled"}),
        )  # fmt: skip
        kube.ready("catalog-1", "catalog-2", "apart")
        installed.retic("wait", "-n", kube.namespace, "--timeout", "90")
        wait.until(lambda: captured(installed, kube) >= {"catalog-1", "catalog-2"}, "both pods in the mesh", 60)
        yield kube


def captured(installed, kube):
    found = json.loads(installed.retic("ps", "-n", kube.namespace, "-o", "json"))
    return {one["name"] for one in found["pods"] if one["mesh"] == "captured"}


def documented():
    text = PAGE.read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ retic ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_page_has_every_command():
    assert {line.split()[0] for line in documented()} == {
        "ps", "analyze", "policies", "explain", "top", "tap", "wait", "why", "proxy", "version", "metrics",
    }  # fmt: skip


@pytest.mark.parametrize("line", documented())
def test_each_command_of_the_page_runs(installed, shop, nodes, line):
    names = {"shop": shop.namespace, "node-1": nodes[0]}
    words = ["/".join(names.get(part, part) for part in word.split("/")) for word in shlex.split(line)]
    done = installed.attempt(*words)
    known = done.returncode == 1 and words == ["analyze"] and " error " in f" {done.stdout}"  # others' objects
    assert done.returncode == 0 or known, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_ps_shows_what_runs(installed, shop, nodes):
    found = json.loads(installed.retic("ps", "-n", shop.namespace, "-o", "json"))
    by_name = {one["name"]: one for one in found["pods"]}
    assert by_name["catalog-1"]["mesh"] == "captured"
    assert (by_name["apart"]["mesh"], by_name["apart"]["why"]) == ("left out", "its label retic.dev/mesh says so")
    assert [one["mesh"] for name, one in by_name.items() if name.startswith("front-retic-")] == ["gateway"]
    (gateway,) = found["gateways"]
    service = shop.get("service", "front-retic")["spec"]["clusterIP"]
    assert (gateway["name"], gateway["live"], gateway["progress"]) == ("front", True, "live on 1 of 1 proxies")
    assert gateway["listeners"] == [{"port": 8080, "address": f"{service}:8080"}]
    assert {one["name"] for one in found["nodes"]} == set(nodes)
    assert {one["envoy"] for one in found["nodes"]} == {"1.40.0"}
    assert found["findings"] == []
    assert found["unseen"] == []


def test_wait_follows_a_change(installed, shop):
    shop.apply(route("later", {"group": "", "kind": "Service", "name": "catalog"}))
    done = installed.retic("wait", "-n", shop.namespace, "httproute/later")
    assert re.fullmatch(rf"HTTPRoute {shop.namespace}/later: live on (\d+) of \1 proxies\n", done)
    shop.apply(route("later", {"name": "nobody"}))
    done = installed.attempt("wait", "-n", shop.namespace, "httproute/later", "--timeout", "10")
    assert done.returncode == 1
    assert "it is not Retic's to serve" in done.stderr
    shop.run("delete", "httproute", "later")


def test_analyze_finds_what_kubectl_let_pass(installed, shop):
    shop.apply(route("wrong", {"group": "", "kind": "Service", "name": "catalog"}, backend="gone"))
    try:
        done = installed.attempt("analyze", "-n", shop.namespace)
        assert done.returncode == 1
        said = f"error RT0201 HTTPRoute {shop.namespace}/wrong: there is no Service {shop.namespace}/gone"
        assert said in done.stdout
    finally:
        shop.run("delete", "httproute", "wrong")
    done = installed.attempt("analyze", "-n", shop.namespace)
    assert (done.returncode, done.stdout) == (0, "")


def test_explain_says_what_happens(installed, shop):
    done = installed.retic("explain", "request", "-n", shop.namespace, "--from", "pod/catalog-1", "--to", "catalog:80",
                           "-o", "json")  # fmt: skip
    found = json.loads(done)
    assert (found["allowed"], found["policy"]) == (True, None)
    assert found["route"]["object"] == f"HTTPRoute {shop.namespace}/catalog"
    assert found["backends"] == [{"service": f"{shop.namespace}/catalog", "port": 80, "weight": 100}]
    done = installed.attempt("explain", "request", "-n", shop.namespace, "--from", "pod/nobody", "--to", "catalog:80")
    assert (done.returncode, done.stdout) == (2, "")


def test_why_leads_to_the_objects_behind_what_a_proxy_has(installed, shop, nodes):
    have = json.loads(installed.retic("proxy", nodes[0], "routes", "-o", "json"))
    name = f"routes/{shop.namespace}"
    assert name in {one["name"] for one in have}
    shown = installed.retic("why", name)
    assert f"HTTPRoute {shop.namespace}/catalog (by kubectl, 20" in shown
    assert f"Service {shop.namespace}/catalog (by kubectl, 20" in shown


def test_proxy_shows_a_nodes_envoy_and_a_gateways(installed, shop, nodes):
    summary = installed.retic("proxy", nodes[0])
    assert "state: LIVE" in summary
    listeners = installed.retic("proxy", nodes[0], "listeners")
    assert f"{shop.namespace}/catalog-1" in listeners
    gateway = f"gateway/{shop.namespace}/front"
    ports = {
        one["address"]["socket_address"]["port_value"]
        for one in json.loads(installed.retic("proxy", gateway, "listeners", "-o", "json"))
        if "socket_address" in one.get("address", {})  # what is mirrored comes by one without an address
    }
    assert 8080 in ports
    for name in ("catalog", "front-retic:8080"):  # certificates come with the first connection that needs them
        asked = f"import http.client as h; c = h.HTTPConnection('{name}', timeout=20); c.request('GET', '/')"
        found = shop.python("catalog-1", f"{asked}; r = c.getresponse(); print(r.status, r.headers, r.read()[:200])")
        assert found.startswith("200 "), found
    for where in (nodes[0], gateway):
        secrets = installed.retic("proxy", where, "secrets", "-o", "json")
        assert "spiffe://cluster.local/" in secrets
        assert "PRIVATE KEY" not in secrets
    done = installed.attempt("proxy", f"gateway/{shop.namespace}/nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there are gateway/{shop.namespace}/front" in done.stderr


def test_version(installed, shop):
    lines = installed.retic("version").splitlines()
    (cluster,) = [line for line in lines if line.startswith("cluster: ")]
    assert re.match(r"cluster: retic 0\.1\.0, agents 0\.1\.0 on \d+ nodes? \(context ", cluster)
    assert lines[-1] == "envoy 1.40.0"


