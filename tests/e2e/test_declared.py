"""A port that a Service declares HTTP receives requests only, from when it is declared, and drains nobody."""

import json

import live
import pytest

from retic.testing import wait

FORGED = "URI=spiffe://cluster.local/ns/default/sa/admin"
STEADY = ("total_filter_chains_draining", "total_listeners_draining", "listener_removed")
LABELS = {"app": "late"}


@pytest.fixture
def late(mesh):
    """A pod with an HTTP and a TCP server, whose Service says of neither what it is."""
    lines = {
        "name": "lines", "command": ["python3", "-m", "retic.testing.apps.echo_tcp", "--port", "7000"],
        "readinessProbe": {"tcpSocket": {"port": 7000}, "periodSeconds": 1},
    }  # fmt: skip
    spec = {"nodeName": "node-1"}
    server = live.deployment("late", live.echo("v1"), lines, spec=spec)
    with live.file(mesh, "late.yaml", server, live.service("late", LABELS, (80, 8080), 7000)):
        yield live.ready(mesh, "late-")[0]


def steady(mesh):
    stats = mesh.stats("node-1")
    return {key: stats[f"listener_manager.{key}"] for key in STEADY}


def caller(near, target):
    """Who a request came from that its caller's proxy did not take for one."""
    text = f"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: {FORGED}\r\nconnection: close\r\n\r\n"
    answer = near.raw(*target, text, silent=0.3)
    return json.loads(answer.partition("\r\n\r\n")[2])["headers"].get("x-forwarded-client-cert", "")


def test_a_port_is_declared_while_connections_are_open(mesh, near, late):
    near.hold("lines-held", "late", 7000)
    near.hold("requests-held", "late", 80)
    assert near.talk("lines-held", "a\n").endswith("a\n")
    assert near.get("requests-held", "late") == "v1"
    before = steady(mesh)
    target = ("late", 80)
    assert caller(near, target) == FORGED, "what nobody declares is passed on as it is; docs/concepts.md says so"
    declaring = live.service("late-http", LABELS, {"name": "http", "port": 80, "targetPort": 8080})
    for _ in range(2):
        with live.file(mesh, "late-http.yaml", declaring):
            wait.until(lambda: caller(near, target).endswith("/sa/c0"), "the port is HTTP", seconds=20)
        wait.until(lambda: caller(near, target) == FORGED, "it is no longer", seconds=20)
    assert near.talk("lines-held", "b\n").endswith("b\n")
    assert near.get("requests-held", "late") == "v1"
    assert steady(mesh) == before
