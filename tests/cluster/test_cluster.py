"""What Retic takes for granted of a cluster, seen with ordinary pods and no mesh."""

import base64
import json
import pathlib
import urllib.request

import pytest
from tests.cluster import kubectl, pods
from tools.cluster import certificates

from retic.testing import wait

ECHO = {"app": "echo"}


@pytest.fixture(scope="module")
def pair(kube: kubectl.Kubectl, nodes: list[str]) -> dict[str, str]:
    """The pods `here` and `there`, on two nodes, behind the Service `echo`; their addresses."""
    kube.apply(
        *(pods.echo(name, node=node, labels=ECHO) for name, node in zip(("here", "there"), nodes, strict=True)),
        pods.service("echo", ECHO, 80, "http"),
    )
    kube.ready("here", "there")
    kube.run("wait", "endpointslice", "-l", "kubernetes.io/service-name=echo", "--for=create", "--timeout=30s")
    return {name: kube.get("pod", name)["status"]["podIP"] for name in ("here", "there")}


def fetch(url: str) -> str:
    return f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())"


def fetch_all(url: str, wanted: int) -> str:
    """Ask until there were `wanted` different answers, at most for 20 seconds: kube-proxy follows in its own time."""
    return f"""
import time, urllib.request
answers, end = set(), time.monotonic() + 20
while len(answers) < {wanted} and time.monotonic() < end:
    try:
        answers.add(urllib.request.urlopen("{url}", timeout=5).read().decode())
    except OSError:
        pass
print(*sorted(answers), sep="\\n")
"""


def test_two_nodes_are_ready_and_a_pod_runs_on_each(kube: kubectl.Kubectl, nodes: list[str], pair: dict[str, str]):
    assert len(set(nodes)) == 2
    assert [kube.get("pod", name)["spec"]["nodeName"] for name in ("here", "there")] == nodes
    assert len(set(pair.values())) == 2


def test_pods_of_two_nodes_reach_each_other_and_see_their_addresses(kube: kubectl.Kubectl, pair: dict[str, str]):
    assert kube.python("here", fetch(f"http://{pair['there']}:8080")) == f"there {pair['here']}"
    assert kube.python("there", fetch(f"http://{pair['here']}:8080")) == f"here {pair['there']}"


def test_service_address_leads_to_every_pod_from_every_pod(kube: kubectl.Kubectl, pair: dict[str, str]):
    address = kube.get("service", "echo")["spec"]["clusterIP"]
    for name, own in pair.items():
        answers = kube.python(name, fetch_all(f"http://{address}/", 2)).splitlines()
        assert {answer.split()[0] for answer in answers} == {"here", "there"}  # itself too
        other = "there" if name == "here" else "here"
        assert f"{other} {own}" in answers


def test_names_resolve(kube: kubectl.Kubectl, pair: dict[str, str]):
    address = kube.get("service", "echo")["spec"]["clusterIP"]
    for name in ("echo", f"echo.{kube.namespace}", f"echo.{kube.namespace}.svc.cluster.local"):
        assert kube.python("there", f"import socket; print(socket.gethostbyname('{name}'))") == address
    assert kube.python("here", fetch("http://echo/")).split()[0] in pair


def test_exec_and_logs(kube: kubectl.Kubectl, pair: dict[str, str]):
    assert [kube.run("exec", name, "--", "cat", "/etc/hostname").strip() for name in pair] == list(pair)
    kube.python("here", fetch(f"http://{pair['there']}:8080/noted"))
    wait.until(lambda: "asked for /noted" in kube.run("logs", "there"), "it is in the log", 20)


@pytest.mark.parametrize("name", ["here", "there"])
def test_port_forward(kube: kubectl.Kubectl, pair: dict[str, str], name: str):
    with kube.forwarded(f"pod/{name}", 8080) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert answer.read().decode().split()[0] == name


def test_projected_token_is_bound_to_pod_and_node(kube: kubectl.Kubectl, nodes: list[str], pair: dict[str, str]):
    made = pods.python("token", "import signal; signal.pause()", node=nodes[1])
    token = {"serviceAccountToken": {"audience": "retic.dev", "expirationSeconds": 600, "path": "token"}}
    made["spec"]["volumes"] = [{"name": "token", "projected": {"sources": [token]}}]
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "token", "mountPath": "/run/token"}]
    kube.apply(made)
    kube.ready("token")
    value = kube.run("exec", "token", "--", "cat", "/run/token/token")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": value, "audiences": ["retic.dev"]},
    }
    status = json.loads(kube.run("create", "-f", "-", "-o", "json", given=json.dumps(review)))["status"]
    assert status["authenticated"]
    assert status["user"]["username"] == f"system:serviceaccount:{kube.namespace}:default"
    extra = status["user"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["token"]
    assert extra["authentication.kubernetes.io/node-name"] == [nodes[1]]


def test_api_server_asks_a_webhook_in_a_pod(
    kube: kubectl.Kubectl, nodes: list[str], pair: dict[str, str], tmp_path: pathlib.Path
):
    authority = certificates.Authority(tmp_path, "webhook-ca")
    served = authority.issue("webhook", "refuser", hosts=[f"refuser.{kube.namespace}.svc"])
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "refuser"},
        "stringData": {"tls.crt": served.certificate.read_text(), "tls.key": served.key.read_text()},
    }
    made = pods.python("refuser", _REFUSER, node=nodes[1], labels={"app": "refuser"})
    made["spec"]["volumes"] = [{"name": "tls", "secret": {"secretName": "refuser"}}]
    made["spec"]["containers"][0] |= {
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    kube.apply(secret, made, pods.service("refuser", {"app": "refuser"}, 443, 8443))
    kube.ready("refuser")
    path = "{.endpoints[0].conditions.ready}"
    slices = ["endpointslice", "-l", "kubernetes.io/service-name=refuser"]
    kube.run("wait", *slices, f"--for=jsonpath={path}=true", "--timeout=30s")
    kube.apply(_webhook(kube.namespace, authority.pair.certificate))
    create = ["create", "configmap", "any"]

    def asks() -> bool:
        return "not on my watch" in kube.attempt(*create, "--dry-run=server").stderr

    try:
        wait.until(asks, "the API server asks the webhook", 30, every=0.2)
        refused = kube.attempt(*create)
        assert refused.returncode != 0
        assert "not on my watch" in refused.stderr
    finally:
        kube.run("delete", "validatingwebhookconfiguration", kube.namespace)


def _webhook(namespace: str, trust: pathlib.Path) -> dict[str, object]:
    hook = {
        "name": "refuser.retic.dev",
        "clientConfig": {
            "service": {"namespace": namespace, "name": "refuser", "path": "/validate"},
            "caBundle": base64.b64encode(trust.read_bytes()).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [hook],
    }


_REFUSER = """
import http.server, json, ssl
class Refuser(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "not on my watch"}}
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("", 8443), Refuser)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
