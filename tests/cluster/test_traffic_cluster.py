"""What passes through a mesh on a cluster: `top`, `tap` and `explain response`, by its agents' containers."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
import yaml
from tests.cluster import strict_objects as objects
from tests.cluster.installed import IMAGE

from retic.testing import wait

GATEWAY_API = "gateway.networking.k8s.io/v1"
LABELS = {"app": "server"}
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ASK = """
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)
for each in sys.argv[2:]:
    c.request("GET", each)
    answer = c.getresponse()
    answer.read()
    print(answer.status, answer.headers.get("x-retic-id", "-"))
"""
AGAIN = """
import http.client, time
c = http.client.HTTPConnection("server", 80, timeout=20)
end = time.monotonic() + 60
while time.monotonic() < end:
    c.request("GET", "/often")
    c.getresponse().read()
    time.sleep(0.02)
"""
SWITCHED = """
import asyncio, json, pathlib
from retic.node import admin
found = json.loads(asyncio.run(admin.get(pathlib.Path("/run/retic/admin.sock"), "/runtime")))["entries"]
print(*(key for key, value in found.items() if key.startswith("retic.report.") and value["final_value"]))
"""
ASKING = """
import pathlib
found = 0
for one in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        found += b"retic.node.asked" in one.read_bytes().split(bytes(1))
    except OSError:
        pass
print(found)
"""
EVERYTHING = {"apiGroups": ["*"], "verbs": ["get", "list", "watch"]}
KINDS = [
    "namespaces", "serviceaccounts", "nodes", "pods", "services", "endpointslices", "gatewayclasses", "gateways",
    "httproutes", "grpcroutes", "referencegrants", "authorizationpolicies", "peerauthentications",
    "requestauthentications", "destinationrules", "virtualservices", "authorizationproviders", "ratelimits",
    "telemetries", "telemetryproviders", "configmaps", "servicecidrs",
]  # fmt: skip


@pytest.fixture(scope="module")
def shop(installed, nodes):
    """A caller, a server on another node, a Service without pods, and a Gateway before the server."""
    server = objects.sleeper("server", IMAGE, nodes[-1])
    server["metadata"]["labels"] = LABELS
    server["spec"]["containers"][0] |= {
        "command": ["python", "-m", "retic.testing.apps.echo_http", "--port", "8080"],
        "imagePullPolicy": "IfNotPresent", "readinessProbe": {"tcpSocket": {"port": 8080}},
    }  # fmt: skip
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    with installed.namespace() as kube:
        kube.apply(
            server, objects.sleeper("web", IMAGE, nodes[0]),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
             "spec": {"selector": LABELS, "ports": ports}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gone"},
             "spec": {"selector": {"app": "nobody"}, "ports": ports}},
            {"apiVersion": GATEWAY_API, "kind": "Gateway",
             "metadata": {"name": "front", "annotations": {"retic.dev/service-type": "ClusterIP"}},
             "spec": {"gatewayClassName": "retic", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}},
            {"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": "front"},
             "spec": {"parentRefs": [{"name": "front"}], "rules": [{"backendRefs": [{"name": "server", "port": 80}]}]}},
        )  # fmt: skip
        kube.ready("server", "web")
        installed.retic("wait", "-n", kube.namespace, "--timeout", "90")
        wait.until(lambda: captured(installed, kube) == {"server", "web"}, "both pods in the mesh", 60)
        wait.until(lambda: asked(kube, "server", "/") == [("200", "-")], "the server answers", 60)
        yield kube


def captured(installed, kube):
    found = json.loads(installed.retic("ps", "-n", kube.namespace, "-o", "json"))
    return {one["name"] for one in found["pods"] if one["mesh"] == "captured"}


def asked(kube, host, *paths):
    """Statuses and ids of the answers that web gets."""
    said = kube.run("exec", "web", "--", "python3", "-c", ASK, host, *paths)
    return [tuple(line.split()) for line in said.splitlines()]


def uid(kube, pod):
    return kube.get("pod", pod)["metadata"]["uid"]


def switched(installed):
    """The pods that report every request, by what the Envoys of all nodes were told."""
    found = set()
    system = installed.kubectl()
    for agent in system.get("pods", "-l", "app.kubernetes.io/component=node")["items"]:
        code = ("python", "-c", SWITCHED)
        said = system.run("exec", agent["metadata"]["name"], "-c", "agent", "--", *code)
        found |= {key.removeprefix("retic.report.") for key in said.split()}
    return found


def asking(installed):
    """The commands that answer somebody in the agents' containers."""
    system = installed.kubectl()
    pods = system.get("pods", "-l", "app.kubernetes.io/component=node")["items"]
    counts = (
        system.run("exec", pod["metadata"]["name"], "-c", "agent", "--", "python", "-c", ASKING) for pod in pods
    )
    return sum(map(int, counts))


class Tap:
    """A running `retic tap -o json`."""

    def __init__(self, installed, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retic.cli", "tap", "-o", "json", *options],
            env={**os.environ, "KUBECONFIG": str(installed.kubeconfig), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.rows, self.said = [], []
        self._threads = [
            threading.Thread(target=lambda: self.rows.extend(map(json.loads, self.process.stdout))),
            threading.Thread(target=lambda: self.said.extend(self.process.stderr)),
        ]
        for thread in self._threads:
            thread.start()

    def looking(self):
        assert self.process.poll() is None, self.said
        return any("looking at" in text for text in self.said)

    def end(self, number):
        """Its exit code."""
        self.process.send_signal(number)
        self.process.wait(30)
        for thread in self._threads:
            thread.join()
        return self.process.returncode


@contextlib.contextmanager
def tapping(installed, *options):
    made = Tap(installed, *options)
    try:
        wait.until(made.looking, "looking", seconds=60)
        yield made
    finally:
        made.end(signal.SIGKILL)


def test_top_shows_who_calls_whom(installed, shop):
    with concurrent.futures.ThreadPoolExecutor() as beside:
        calls = beside.submit(shop.python, "web", AGAIN)
        rows = json.loads(installed.retic("top", "-n", shop.namespace, "--window", "8", "-o", "json"))["rows"]
        calls.result(110)
    space = shop.namespace
    (row,) = [row for row in rows if row["service"] == f"{space}/server"]
    assert (row["source"], row["destination"], row["protocol"]) == (f"{space}/web", f"{space}/server", "http")
    assert row["identity"] == f"spiffe://cluster.local/ns/{space}/sa/default"
    assert 1 < row["rps"] < 60
    assert row["success"] == 1.0
    assert (row["p50_ms"] or 0) > 0
    wait.until(lambda: asking(installed) == 0, "no command runs on", 60)


def test_tap_shows_what_passes_meanwhile_and_nothing_afterwards(installed, shop):
    asked(shop, "server", "/before")
    with tapping(installed, "-n", shop.namespace, "--from", "pod/web") as tap:
        assert switched(installed) == {uid(shop, "web")}
        asked(shop, "server", "/seen?token=s3cr3t")
        wait.until(lambda: tap.rows, "a line", 20)
        (row,) = tap.rows
        assert (row["source"], row["destination"]) == (f"{shop.namespace}/web", f"{shop.namespace}/server")
        assert (row["path"], row["code"], row["method"]) == ("/seen?token=[redacted]", 200, "GET")
        assert tap.end(signal.SIGINT) == 0
    wait.until(lambda: not switched(installed), "switched off", 60)
    asked(shop, "server", "/after")
    assert len(tap.rows) == 1


def test_a_tap_that_is_killed_leaves_nothing_on(installed, shop):
    with tapping(installed, "-n", shop.namespace) as tap:
        assert switched(installed) >= {uid(shop, "web"), uid(shop, "server")}
        tap.end(signal.SIGKILL)
    wait.until(lambda: not switched(installed), "switched off", 60)
    wait.until(lambda: asking(installed) == 0, "no command runs on", 60)


def test_tap_looks_into_a_gateway(installed, shop):
    with tapping(installed, "-n", shop.namespace, "--from", "gateway/front") as tap:
        assert asked(shop, "front-retic", "/by-the-gateway") == [("200", "-")]
        wait.until(lambda: tap.rows, "a line", 20)
        assert {(row["path"], row["proxy"]) for row in tap.rows} == {("/by-the-gateway", "gateway")}


def test_a_header_that_no_proxy_reports_is_refused(installed, shop):
    done = installed.attempt("tap", "-n", shop.namespace, "--show-header", "x-user")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"proxies of namespace {shop.namespace} do not report the header x-user" in done.stderr


def test_a_failed_request_is_explained_by_its_id(installed, shop, nodes):
    ((status, wanted),) = asked(shop, "gone", "/away")
    assert (status, bool(ID.fullmatch(wanted))) == ("503", True)
    found = json.loads(installed.retic("explain", "response", wanted, "-o", "json"))
    seen = found["seen"][0]
    assert (seen["code"], seen["proxy"], seen["path"]) == ("RT1101", nodes[0], "/away")
    assert seen["caller"]["pod"] == f"{shop.namespace}/web"
    listed = json.loads(
        installed.retic("explain", "response", "--last", "10", "-n", shop.namespace, "--from", "pod/web", "-o", "json")
    )
    assert wanted in {one["id"] for one in listed["seen"]}
    assert listed["unanswered"] == []
    done = installed.attempt("explain", "response", "00000000-0000-4000-8000-000000000000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no proxy of this mesh has an entry" in done.stderr


@pytest.fixture
def looker(installed, shop, tmp_path):
    """The installation as somebody meets it who may read everything and run nothing."""
    name = f"{shop.namespace}-looker"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    shop.apply(
        {**role, "kind": "ClusterRole", "rules": [{**EVERYTHING, "resources": KINDS}]},
        {**role, "kind": "ClusterRoleBinding",
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
         "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]},
    )  # fmt: skip
    config = yaml.safe_load(installed.kubeconfig.read_text())
    for user in config["users"]:
        user["user"]["as"] = name
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    file.chmod(0o600)
    yield type(installed)(file)
    for kind in ("clusterrolebinding", "clusterrole"):
        shop.run("delete", kind, name)


@pytest.mark.parametrize(("words", "code"), [
    (("top", "--window", "1"), 1), (("tap",), 1), (("explain", "response", "--last", "1"), 2),
])  # fmt: skip
def test_whoever_may_run_nothing_is_told_which_right_is_missing(looker, shop, words, code):
    done = looker.attempt(*words, "-n", shop.namespace)
    assert (done.returncode, done.stdout) == (code, "")
    assert "it takes the right to get and create pods/exec in namespace retic-system" in done.stderr
    assert f"pods/exec in namespace {shop.namespace}" in done.stderr, "its Gateway's pods are there"
    assert "Traceback" not in done.stderr
