"""Misspelt policies through a real Envoy: what cannot be read of one lets in nobody that it may have kept out."""

import json
import pathlib

import authorization_lab
import live
import pod_session
import pytest
import yaml

from retic.testing import issuer, outsider, running, wait

MANY = pathlib.Path(__file__).with_name("many_ports.py")
LOGIN = issuer.Issuer("https://login.example", issuer.Key("ES256", "a"))
FIRST, TCP = 20000, 20100
ME, NOBODY = "cluster.local/ns/default/sa/default", "cluster.local/ns/default/sa/nobody"


def rule(**fields):
    return {"from": [{"source": fields}]}


def operation(**fields):
    return {"to": [{"operation": fields}]}


NOWHERE = {"when": [{"key": "source.ip", "values": ["192.0.2.1"]}]}
# Each is for a port of its own: its spec, and what the client gets there.
SPECS = {
    "none": (None, 200),
    "source": ({"rules": [rule(princpals=[NOBODY])]}, 403),
    "operation": ({"rules": [operation(methdos=["POST"])]}, 403),
    "condition": ({"rules": [{"when": [{"key": "source.ip", "valeus": ["192.0.2.1"]}]}]}, 403),
    "number": ({"rules": [operation(ports=[20000])]}, 403),
    "empty": ({"rules": [rule(principals=[])]}, 403),
    "other-rule": ({"rules": [rule(princpals=[NOBODY]), rule(principals=[ME])]}, 200),
    "action": ({"action": "ALOW", "rules": [{}]}, 403),
    "refuses": ({"action": "DENY", "rules": [operation(pahts=["/admin"])]}, 403),
    "refuses-others": ({"action": "DENY", "rules": [operation(pahts=["/admin"]) | NOWHERE]}, 200),
    "asks": ({"action": "CUSTOM", "provider": {"naem": "x"}, "rules": [{}]}, 403),
    "spec": ({"actoin": "DENY", "rules": [{}]}, 403),
    "trial": ({"action": "DENY", "rules": [rule(princpals=[NOBODY])]}, 200),
}
CONNECTIONS = {"tcp": {"rules": [rule(princpals=[NOBODY])]}, "tcp-none": None}
PORTS = {name: FIRST + i for i, name in enumerate(SPECS)} | {name: TCP + i for i, name in enumerate(CONNECTIONS)}


def kind(of, name, spec, namespace="default", **meta):
    return {"apiVersion": "security.istio.io/v1", "kind": of, "metadata": live.meta(name, namespace, **meta),
            "spec": spec}  # fmt: skip


def authorization(name, spec):
    target = {"targetRefs": [{"group": "", "kind": "Service", "name": name}]}
    trial = {"annotations": {"istio.io/dry-run": "true"}} if name == "trial" else {}
    return kind("AuthorizationPolicy", name, {**spec, **target}, **trial)


def server(name, namespace="default"):
    words = [str(MANY), str(FIRST), str(len(SPECS)), str(TCP), str(len(CONNECTIONS))]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": live.meta(name, namespace, labels={"app": name}),
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "command": ["python3", *words],
                 "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]},
    }  # fmt: skip


def objects():
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta("client"),
           "spec": {"nodeName": "node-1", "containers": [{"name": "c", "command": ["sleep", "infinity"]}]}}  # fmt: skip
    yield server("server")
    yield from (server(name, "wide") for name in ("one", "two"))
    yield server("strict", "modes")
    for name, port in PORTS.items():
        proto = "tcp" if port >= TCP else "http"
        yield live.service(name, {"app": "server"}, {"name": proto, "port": port})
        spec = CONNECTIONS[name] if port >= TCP else SPECS[name][0]
        if spec is not None:
            yield authorization(name, spec)
    yield live.service("one", {"app": "one"}, {"name": "http", "port": 8080}, namespace="wide")
    yield live.service("token", {"app": "server"}, {"name": "http", "port": 8080})
    yield kind("AuthorizationPolicy", "wide", {
        "selecter": {"matchLabels": {"app": "two"}}, "rules": [rule(principals=[ME])]}, "wide")  # fmt: skip
    yield kind("PeerAuthentication", "mesh", {"mtls": {"mode": "PERMISSIVE"}}, "retic-system")
    strict = {"selector": {"matchLabels": {"app": "strict"}}, "mtls": {"mode": "STRIC"}}
    yield kind("PeerAuthentication", "strict", strict, "modes")
    yield kind("RequestAuthentication", "token", {
        "targetRefs": [{"group": "", "kind": "Service", "name": "token"}],
        "jwtRules": [{"issuer": LOGIN.name, "jwks": LOGIN.jwks(), "audience": ["shop"]}]})  # fmt: skip


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects()))
    with running.mesh(folder) as started:
        yield started


@pytest.fixture(scope="module")
def client(mesh):
    with pod_session.Pod(mesh, "client") as pod:
        yield pod


def asked(client, *names, **how):
    text = authorization_lab.request(**how)
    return client.statuses({name: [f"{name}.default", PORTS[name], text] for name in names})


def explained(mesh, name, port, *more):
    done = mesh.command("explain", "request", "--from", "pod/client", "--to", f"{name}:{port}", "GET", "/", *more,
                        "-o", "json")  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def test_what_cannot_be_read_of_a_rule_is_decided_against_the_caller(client):
    assert asked(client, *SPECS) == {name: status for name, (_, status) in SPECS.items()}


def test_explain_says_the_same_and_why(mesh):
    found = {name: explained(mesh, name, PORTS[name]) for name in SPECS}
    assert {name: 200 if one["allowed"] else 403 for name, one in found.items()} == {
        name: status for name, (_, status) in SPECS.items()
    }
    said = " ".join(step["text"] for step in found["refuses"]["steps"])
    assert "spec.rules[0].to[0].operation.pahts cannot be read, and counts against the caller" in said
    said = " ".join(step["text"] for step in found["action"]["steps"])
    assert "it cannot be read, so that it stands against everybody: refused" in said
    assert found["action"]["policy"]["object"] == "AuthorizationPolicy default/action"


def test_a_connection_is_refused(client):
    said = {name: client.say(f"{name}.default", PORTS[name], "hi\n", timeout=5) for name in CONNECTIONS}
    assert {name: bool(one["lines"] and one["lines"][0]) for name, one in said.items()} == {
        "tcp": False, "tcp-none": True,
    }  # fmt: skip


def test_a_policy_that_does_not_say_for_whom_it_is_is_for_its_namespace(mesh, client):
    text = authorization_lab.request()
    assert client.status("one.wide", 8080, text) == 403
    assert not explained(mesh, "one.wide", 8080)["allowed"]


def test_a_mode_that_cannot_be_read_is_strict(mesh):
    address = {pod["name"]: pod["ip"] for pod in mesh.ps()["pods"]}
    with outsider.stranger(outsider.place(mesh.ps(), "agent", "node-1")) as stranger:
        beside = pod_session.Session("stranger", stranger.line)
        try:
            text = authorization_lab.request()
            assert beside.status(address["server"], PORTS["none"], text) == 200, "plaintext is taken in this mesh"
            assert beside.status(address["strict"], PORTS["none"], text) == 0
        finally:
            beside.close()


def test_tokens_of_an_issuer_that_cannot_be_read_are_refused(client):
    def status(**headers):
        return client.status("token.default", 8080, authorization_lab.request(headers=headers))

    assert status() == 200
    assert status(authorization=f"Bearer {LOGIN.token(aud='shop')}") == 401


def test_policies_names_what_cannot_be_read(mesh):
    done = mesh.command("policies", "-A", "-o", "json")
    assert done.returncode == 0, done.stderr
    listed = {one["name"]: one for one in json.loads(done.stdout)}
    assert listed["source"]["unread"] == ["spec.rules[0].from[0].source.princpals"]
    assert (listed["source"]["action"], listed["source"]["closed"]) == ("ALLOW", False)
    assert (listed["action"]["action"], listed["action"]["closed"]) == ("DENY", True)
    assert listed["wide"]["pods"] == 2
    table = mesh.command("policies", "-n", "wide").stdout
    assert "wide/wide: spec.selecter cannot be read: it refuses every call to whom it is for" in table


def test_at_an_edit_what_was_before_stays_and_after_a_good_one_holds(mesh, client):
    def told():
        return [one for one in mesh.ps()["findings"] if one["object"] == "AuthorizationPolicy default/none"]

    def holds(status):
        wait.until(lambda: asked(client, "none")["none"] == status, f"{status} is answered", every=0.05)

    live.write(mesh, "edit.yaml", authorization("none", {"rules": [rule(principals=[NOBODY])]}))
    holds(403)
    live.write(mesh, "edit.yaml", authorization("none", {"rules": [rule(princpals=[ME])]}))
    (found,) = wait.until(told, "a finding")
    assert found["message"].endswith("is not a field of Source; its last good state stays")
    assert asked(client, "none")["none"] == 403
    live.write(mesh, "edit.yaml", authorization("none", {"rules": [rule(principals=[ME])]}))
    holds(200)
    assert not told()
