"""The demo on a cluster, as its README says: applied in one go, in the mesh, on both nodes, reached at its Gateway."""

import collections
import json
import pathlib
import urllib.request

import pytest
import yaml

from retic.install import names
from retic.testing import wait

DEMO = pathlib.Path(__file__).parents[2] / "demo"
GET = "import urllib.request as r; print(r.urlopen('http://{}', timeout=20).read().decode())"


@pytest.fixture(scope="module")
def shop(installed):
    kube = installed.kubectl("shop")
    kube.run("delete", "-f", str(DEMO), "--ignore-not-found", seconds=180)
    kube.run("apply", "-f", str(DEMO))
    try:
        for deployment in kube.get("deployments")["items"]:
            kube.run("rollout", "status", f"deployment/{deployment['metadata']['name']}", "--timeout=120s")
        kube.run("wait", "gateway/front", "--for=condition=Programmed", "--timeout=120s")
        yield kube
    finally:
        kube.run("delete", "-f", str(DEMO), "--ignore-not-found", seconds=180)


def pods(shop):
    return [pod for pod in shop.get("pods")["items"] if not pod["metadata"].get("deletionTimestamp")]


def conditions(pod):
    return {one["type"]: one["status"] for one in pod["status"]["conditions"]}


def test_what_is_in_a_namespace_comes_after_it():
    """kubectl takes a folder's files by their names; routes come after the Services that they name, or they warn."""
    order = [
        value["kind"]
        for file in sorted(DEMO.glob("*.yaml"))
        for value in yaml.safe_load_all(file.read_text())
    ]
    assert order[0] == "Namespace"
    assert max(i for i, kind in enumerate(order) if kind == "Service") < order.index("HTTPRoute")


def test_it_is_applied_without_a_warning(shop):
    done = shop.attempt("apply", "-f", str(DEMO))
    assert done.returncode == 0
    assert done.stderr == ""


def test_every_pod_is_in_the_mesh_on_both_nodes_with_one_envoy_each(shop, installed):
    def captured():
        workloads = [pod for pod in pods(shop) if "retic.dev/role" not in pod["metadata"].get("annotations", {})]
        return all(conditions(pod).get(names.CAPTURED) == "True" for pod in workloads) and workloads

    workloads = wait.until(captured, "every pod is captured", 110)
    assert sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in workloads) == 0
    assert {len(pod["spec"]["containers"]) for pod in workloads} == {1}, "no sidecar"
    nodes = {pod["spec"]["nodeName"] for pod in workloads}
    assert len(nodes) == len(shop.get("nodes")["items"])
    system = installed.kubectl()
    for agent in system.get("pods", "-l", "app.kubernetes.io/component=node")["items"]:
        name = agent["metadata"]["name"]
        wait.until(lambda name=name: int(system.python(name, ENVOYS)) == 1, "one Envoy of this agent", 90)


ENVOYS = """
import os, pathlib
mine = os.readlink('/proc/self/ns/mnt')
found = 0
for one in pathlib.Path('/proc').glob('[0-9]*'):
    try:
        found += os.readlink(one / 'ns/mnt') == mine and (one / 'comm').read_text().strip() == 'envoy'
    except OSError:
        pass
print(found)
"""


def test_the_gateway_answers_at_its_address(shop):
    address = shop.get("gateway", "front")["status"]["addresses"][0]["value"]
    asked = GET.format(f"{address}:8080/api")
    seen = wait.until(lambda: json.loads(shop.python("deploy/web", asked)), "the gateway answers", 90)
    assert set(seen) >= {"catalog", "orders"}, seen
    with (
        shop.forwarded("service/front-retic", 8080) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=20) as answer,
    ):
        assert answer.status == 200


def test_weights_and_headers_choose_the_catalog(shop):
    code = """
import collections, json, urllib.request as r
def ask(**headers):
    return json.load(r.urlopen(r.Request('http://catalog/items', headers=headers), timeout=10))['version']
print(json.dumps([collections.Counter(ask() for _ in range(200)), collections.Counter(
    ask(**{'x-preview': 'yes'}) for _ in range(20))]))
"""
    plain, preview = map(collections.Counter, json.loads(shop.python("deploy/web", code)))
    assert preview == {"v2": 20}
    assert 5 <= plain["v2"] <= 50, plain


def test_its_traffic_sees_every_service(shop):
    def fine():
        lines = shop.run("logs", "deploy/traffic", "--tail=5").splitlines()
        return lines and not any("error" in line.lower() for line in lines) and lines

    assert wait.until(fine, "the traffic is answered", 90)


def test_check_finds_nothing(shop, installed):
    def well():
        found = json.loads(installed.attempt("check", "-o", "json").stdout)
        assert [one for one in found if not one["ok"]] == []
        return True

    wait.until(well, "retic check says that all is well", 90)
