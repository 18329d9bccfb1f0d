"""What goes on, what waits and what comes back while a part of the mesh is away."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster import busy, installed, loads
from tools.cluster import control_plane, node, whole

from retic.testing import wait

HOST_PORT = 18099
# Fails unless the answer shows that the call came with the mesh's identity.
_CALL = (
    "import json, sys, urllib.request; "
    "seen = json.load(urllib.request.urlopen(sys.argv[1], timeout=20))['headers']; "
    "print(seen['x-forwarded-client-cert'])"
)
AWAY = {"spec": {"template": {"spec": {"nodeSelector": {"retic.dev/away": "true"}}}}}
BACK = {"spec": {"template": {"spec": {"nodeSelector": {"retic.dev/away": None}}}}}


@pytest.fixture(scope="module")
def shop(installed: installed.Installed) -> Iterator[busy.Shop]:
    with busy.opened(installed) as made:
        yield made


def python(*words: str) -> dict[str, Any]:
    """A container of the image that runs Python so."""
    return {
        "name": "main", "image": loads.IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python", *words],
    }  # fmt: skip


def echo() -> list[dict[str, Any]]:
    """A pod that says what it saw of a request, at a port of its node too, and its Service."""
    container = python("-m", "retic.testing.apps.echo_http")
    container["ports"] = [{"name": "http", "containerPort": 8080, "hostPort": HOST_PORT}]
    container["readinessProbe"] = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    meta = {"name": "echo", "labels": {"app": "echo"}}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": meta["labels"], "ports": ports}},
    ]


def test_jobs_complete_and_their_init_containers_have_the_mesh_and_host_ports_work(shop: busy.Shop):
    shop.back.apply(*echo())
    shop.back.ready("echo")
    shop.captured([shop.back])
    address = f"http://{shop.back.get('service', 'echo')['spec']['clusterIP']}/"
    wait.until(
        lambda: "/sa/" in shop.front.run("exec", "client", "--", "python", "-c", _CALL, address), "echo is known", 110
    )
    spec = {
        "restartPolicy": "Never", "nodeName": shop.front.get("pod", "client")["spec"]["nodeName"],
        "initContainers": [{**python("-c", _CALL, address), "name": "first"}],
        "containers": [python("-c", _CALL, address)],
    }
    job = {"backoffLimit": 0, "template": {"spec": spec}}
    shop.front.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": job})
    shop.front.run("wait", "job/once", "--for=condition=Complete", "--timeout=110s")
    for container in ("first", "main"):
        said = shop.front.run("logs", "job/once", "-c", container)
        assert f"/ns/{shop.front.namespace}/sa/default" in said
    node = shop.back.get("pod", "echo")["status"]["hostIP"]
    script = f"import urllib.request; print(urllib.request.urlopen('http://{node}:{HOST_PORT}/', timeout=10).status)"
    assert shop.front.run("exec", "client", "--", "python", "-c", script).strip() == "200"


def test_pods_that_are_made_while_no_agent_is_there_wait_and_then_run(shop: busy.Shop):
    agents = [shop.agents.of(node) for node in busy.node_names(shop.back)]
    shop.system.patch("daemonset/retic-node", AWAY)
    try:
        shop.system.run("delete", "pod", "--grace-period=1", "--ignore-not-found", *agents)
        shop.front.apply({**loads.client(busy.node_names(shop.back)[0]), "metadata": {"name": "late"}})

        def held() -> bool:
            events = shop.front.get("events", "--field-selector", "involvedObject.name=late")["items"]
            return any("retic" in each["message"] and each["type"] == "Warning" for each in events)

        wait.until(held, "an event that says why the pod waits", 60, every=0.5)
        assert shop.front.get("pod", "late")["status"]["phase"] == "Pending"
    finally:
        shop.system.patch("daemonset/retic-node", BACK)
        shop.system.rolled("daemonset/retic-node")
    shop.front.ready("late")
    shop.captured([shop.front, shop.back])
    shop.back.rolled("deployment/server")
    with shop.load(least=5):
        pass


def test_traffic_goes_on_without_control_plane_and_api_server_and_envoy_comes_back(shop: busy.Shop):
    name = shop.front.get("pod", "client")["spec"]["nodeName"]
    uid = shop.front.get("pod", "client")["metadata"]["uid"]
    (envoy,) = shop.agents.processes(shop.agents.of(name)).envoys  # hostPID, and nodes have no numbers of their own

    def calls() -> bool:
        tried = loads.measured(uid, {"new": (*shop.kinds["new"], "--timeout=2")}, 1)["new"]
        return bool(tried["answered"] and not tried["failed"])

    def alone() -> bool:
        return not shop.system.get("pods", "-l", "app.kubernetes.io/component=controller")["items"]

    with contextlib.ExitStack() as stack:
        ended = stack.enter_context(loads.within(uid, shop.kinds))
        shop.system.run("scale", "deployment/retic-controller", "--replicas=0")
        stack.callback(shop.system.run, "scale", "deployment/retic-controller", "--replicas=2")
        wait.until(alone, "no controller", 60, every=0.5)
        stack.enter_context(control_plane.without_api_server(node.every()[0].place))
        loads.lossless(loads.measured(uid, {"new": shop.kinds["new"]}, 8))
        loads.lossless(ended())
        os.kill(envoy, signal.SIGKILL)
        wait.until(calls, "calls succeed again", 30, every=0.1)
        loads.lossless(loads.measured(uid, shop.kinds, 8))
    shop.system.rolled("deployment/retic-controller")
    with shop.load(least=5):
        shop.back.run("rollout", "restart", "deployment/server")
        shop.back.rolled("deployment/server")


# Only the API server of the cluster made here can be ended.
test_traffic_goes_on_without_control_plane_and_api_server_and_envoy_comes_back.__test__ = not whole.given()
