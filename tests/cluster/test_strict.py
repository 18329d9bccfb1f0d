"""STRICT on a cluster: what a kubelet asks by a pod's own spec passes, and nothing else without the mesh's TLS does."""

import datetime
import json
import pathlib
import re

import pytest
from tests.cluster import strict_objects as objects
from tests.cluster.installed import IMAGE
from tools.cluster import whole

from retic.node import ports
from retic.testing import outsider, wait

ALPNS = ("retic-http", "retic-h2", "retic-tcp")


@pytest.fixture(scope="module")
def strict(installed):
    with installed.values(mode="STRICT"):
        yield installed


@pytest.fixture(scope="module")
def mesh(strict, nodes):
    """The probed pod on the first node and a caller in the mesh on the second, in a namespace of the mesh."""
    with strict.namespace() as kube:
        kube.apply(objects.pair(), objects.services(), objects.probed(IMAGE, nodes[0]))
        kube.apply(*objects.failing(IMAGE, nodes[0]))
        kube.apply(objects.sleeper("caller", IMAGE, nodes[1]))
        kube.ready("probed", "caller")
        yield kube


@pytest.fixture(scope="module")
def places(mesh, strict, nodes):
    """Where somebody who is not in the mesh calls from: pods by name, None for the cluster's host."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    with strict.namespace(labels) as kube:
        kube.apply(
            objects.sleeper("host-here", IMAGE, nodes[0], hostNetwork=True),
            objects.sleeper("host-there", IMAGE, nodes[1], hostNetwork=True),
            objects.sleeper("stranger-here", IMAGE, nodes[0]),
            objects.sleeper("stranger-there", IMAGE, nodes[1]),
        )
        names = ["host-here", "host-there", "stranger-here", "stranger-there"]
        kube.ready(*names)
        yield kube, names if whole.given() else [*names, None]


def address(mesh):
    return mesh.get("pod", "probed")["status"]["podIP"]


def cluster_address(mesh):
    return mesh.get("service", "probed")["spec"]["clusterIP"]


def node_ports(mesh, nodes):
    """(address, port, port of the Service) of every NodePort at both nodes."""
    found = mesh.get("service", "probed")["spec"]["ports"]
    hosts = {
        entry["address"]
        for node in mesh.get("nodes")["items"]
        if node["metadata"]["name"] in nodes
        for entry in node["status"]["addresses"]
        if entry["type"] == "InternalIP"
    }
    return [(host, one["nodePort"], one["port"]) for host in sorted(hosts) for one in found]


def test_every_probe_passes_and_the_pod_stays_ready(mesh):
    def ran():
        """Long enough for liveness to end a container whose probes are refused."""
        states = [one["state"] for one in mesh.get("pod", "probed")["status"]["containerStatuses"]]
        begun = [datetime.datetime.fromisoformat(one["running"]["startedAt"]) for one in states if "running" in one]
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=40)
        return len(begun) == len(states) and max(begun) < before

    wait.until(ran, "every container has run for 40 s", 150, every=0.5)
    pod = mesh.get("pod", "probed")
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0] * len(pod["spec"]["containers"])
    assert all(one["ready"] and one["started"] for one in pod["status"]["containerStatuses"])
    logs = mesh.run("get", "events", "--field-selector=involvedObject.name=probed,reason=Killing")
    assert "Killing" not in logs


def test_a_mesh_pod_calls_it(mesh):
    tries = {
        "http": ("probed", 80, objects.http("/any"), None),
        "lines": ("probed", objects.LINES, "hello\n", None),
        "first": ("probed", objects.FIRST, "", None),
    }

    def known():
        seen = objects.call(mesh, "caller", tries, 10)
        assert seen["http"].startswith("HTTP/1.1 200"), seen
        assert seen["lines"].endswith("hello\n"), seen
        assert seen["first"].endswith("ready\n"), seen
        return True

    wait.until(known, "the Service's ports answer", 110)


def test_a_failing_probe_still_fails(mesh):
    def told():
        events = mesh.get("events", "--field-selector=reason=Unhealthy")["items"]
        said = {one["involvedObject"]["name"] for one in events}
        return said >= {"answers-503", "closed-port", "no-grpc", "closes"} and said

    wait.until(told, "each failing probe has failed", 90, every=0.5)
    for name in ("answers-503", "closed-port", "no-grpc", "closes"):
        conditions = mesh.get("pod", name)["status"]["conditions"]
        assert next(one["status"] for one in conditions if one["type"] == "Ready") == "False", name


def test_nothing_passes_from_outside_the_mesh(mesh, places, nodes):
    kube, names = places
    pod, service = address(mesh), cluster_address(mesh)
    where = {"pod": pod, "service": service}
    tries = {}
    for name, host in where.items():
        for port in (objects.HTTP, objects.UNDECLARED, objects.TLS, 8091) if host == pod else (80, objects.UNDECLARED):
            tries[f"{name}:{port} GET"] = (host, port, objects.http("/admin"), None)
            tries[f"{name}:{port} POST to the probe's path"] = (
                host, port, objects.http("/ready?full=1", "POST", "content-length: 0\r\n"), None,
            )  # fmt: skip
            tries[f"{name}:{port} TLS"] = (host, port, objects.http("/admin"), {})
        for port in (objects.LINES, objects.FIRST, objects.GRPC):
            tries[f"{name}:{port} lines"] = (host, port, "hello\n", None)
    for host, port, of in node_ports(mesh, nodes):
        tries[f"node port of {of} at {host}"] = (host, port, objects.http("/admin"), None)
        tries[f"node port of {of} at {host}, TLS"] = (host, port, objects.http("/admin"), {})
    for name in names:
        answers = objects.call(kube, name, tries)
        passed = {one: answer for one, answer in answers.items() if _reached(answer)}
        assert passed == {}, name


def _reached(answer):
    """Whether the application has answered, not the proxy."""
    refused = answer in ("", "refused", "no handshake") or answer.startswith("no connection")
    return not refused and not re.match(r"HTTP/1\.1 (403|400|426)", answer)


def test_declared_probes_pass_from_their_node_only(mesh, places):
    kube, names = places
    host = address(mesh)
    tries = {
        "http": (host, objects.HTTP, objects.http("/ready?full=1"), None),
        "startup": (host, objects.HTTP, objects.http("/started"), None),
        "undeclared": (host, objects.UNDECLARED, objects.http("/live"), None),
        "https": (host, objects.TLS, objects.http("/secure"), {}),
    }
    for name in names:
        answers = objects.call(kube, name, tries, 20 if name == "host-here" else 4)
        if name == "host-here":
            assert all("HTTP/1.1 200" in one or "HTTP/1.0 200" in one for one in answers.values()), answers
        else:
            assert not any(map(_reached, answers.values())), (name, answers)


def test_probes_by_way_of_a_node_port_carry_no_more(mesh, places, nodes):
    """The node that has the pod makes of such a connection one of its own: a GET of the probe's path and no more."""
    kube, names = places
    for name in names:
        tries = {}
        for host, port, of in node_ports(mesh, nodes):
            if of == 80:
                tries[host] = (host, port, objects.http("/ready?full=1") + objects.http("/admin"), None)
        for answer in objects.call(kube, name, tries).values():
            assert '"path": "/admin"' not in answer, (name, answer)


def test_proxy_ports_are_nobodys(mesh, places, nodes):
    kube, names = places
    host = address(mesh)
    tries = {}
    for port in sorted(ports.EVERY):
        tries[f"{port}"] = (host, port, objects.http("/admin"), None)
        for alpn in ALPNS:
            tries[f"{port} {alpn}"] = (host, port, objects.http("/admin"), {"alpn": alpn})
    for name in names:
        answers = objects.call(kube, name, tries)
        assert not any(map(_reached, answers.values())), (name, answers)
        assert all(one.startswith("no connection") or one in ("refused",) for one in answers.values()), (name, answers)
    inside = objects.call(mesh, "caller", tries)
    assert not any(map(_reached, inside.values())), inside


def test_a_foreign_certificate_is_no_identity(mesh, places, tmp_path):
    kube, names = places
    forger = outsider.Forger(tmp_path, tmp_path / "ca")
    own = f"spiffe://cluster.local/ns/{mesh.namespace}/sa/default"
    tries = {}
    for who in (own, "spiffe://cluster.local/retic/control", "spiffe://cluster.local/ns/kube-system/sa/default"):
        key, chain = (pathlib.Path(file).read_text() for file in forger.pair(who))
        for alpn in (*ALPNS, "h2", ""):
            for port in (objects.HTTP, objects.LINES, objects.UNDECLARED):
                tries[f"{who} {alpn} {port}"] = (
                    address(mesh), port, objects.http("/admin"), {"alpn": alpn, "chain": chain + key},
                )  # fmt: skip
    for name in names:
        answers = objects.call(kube, name, tries)
        assert not any(map(_reached, answers.values())), (name, answers)


def test_what_the_node_refuses_is_the_nodes_pods_alone(mesh, places):
    """A pod of the mesh that is called from outside is not open to its own pod's loopback alone: port-forward works."""
    with mesh.forwarded("pod/probed", objects.HTTP) as port:
        answers = objects.call(mesh, None, {"forward": ("127.0.0.1", port, objects.http("/any"), None)}, 20)
    assert answers["forward"].startswith("HTTP/1.1 200")


def test_a_new_pods_first_packet_is_in_the_mesh(mesh, nodes):
    """A pod whose first action is a request to a service of the mesh works, its init container too."""
    code = "import urllib.request as r; print(r.urlopen('http://probed/first', timeout=20).status)"
    ask = {"image": IMAGE, "command": ["python", "-c", code]}
    body = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "first"},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "nodeName": nodes[1],
            "initContainers": [{"name": "init", **ask}], "containers": [{"name": "c", **ask}],
        }}},
    }  # fmt: skip
    mesh.apply(body)
    mesh.run("wait", "--for=condition=Complete", "--timeout=110s", "job/first")


def test_check_says_what_would_be_refused_before_it_is(installed, mesh, strict):
    """In STRICT there is nothing to say."""

    def said():
        checks = json.loads(strict.attempt("check", "-o", "json").stdout)
        assert "strict" not in {one["check"] for one in checks}
        assert [one for one in checks if one["check"] in ("captured", "webhook-ca", "agents-reported")] != []
        assert all(one["ok"] for one in checks if one["check"] in ("captured", "webhook-ca", "agents-reported"))
        return True

    wait.until(said, "check says so", 90, every=1)
