"""Policies on trial and AUDIT: nothing is refused, and `retic policies` counts what would have been."""

import json

import live
import pod_session
import pytest
import yaml

from retic.testing import running, wait

WEB = {"matchLabels": {"app": "web"}}
RAW = {"matchLabels": {"app": "raw"}}


def policy(name, action, *rules, dry=False, selector=WEB, **more):
    meta = live.meta(name, annotations={"istio.io/dry-run": "true"} if dry else {})
    spec = {"selector": selector, "action": action, "rules": list(rules), **more}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}


def to(**operation):
    return {"to": [{"operation": {key: [value] for key, value in operation.items()}}]}


OBJECTS = (
    {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta("client"),
     "spec": {"nodeName": "node-1", "containers": [{"name": "c", "command": ["sleep", "infinity"]}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta("web", labels={"app": "web"}),
     "spec": {"nodeName": "node-1", "containers": [live.echo("1")]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": live.meta("raw", labels={"app": "raw"}),
     "spec": {"nodeName": "node-1", "containers": [
         {"name": "raw", "command": ["python3", "-m", "retic.testing.apps.echo_tcp", "--port", "7000"]},
     ]}},
    live.service("web", {"app": "web"}, {"name": "http", "port": 80, "targetPort": 8080}),
    live.service("raw", {"app": "raw"}, {"name": "tcp", "port": 7000}),
    {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": live.meta("door"),
     "spec": {"gatewayClassName": "retic", "listeners": [{"name": "http", "port": 18552, "protocol": "HTTP"}]}},
    live.route("door", {"name": "door"}, {"backendRefs": [live.to("web")]}),
    policy("a.audit", "AUDIT", to(paths="/seen*", ports="8080")),
    policy("audit-tried", "AUDIT", to(paths="/seen*", ports="8080"), dry=True),
    policy("deny", "DENY", to(paths="/refused", ports="8080")),
    policy("deny-tried", "DENY", to(paths="/seen/a", ports="8080"), dry=True),
    policy("raw-tried", "DENY", to(ports="7000"), selector=RAW, dry=True),
    policy("raw-audit", "AUDIT", to(ports="7000"), selector=RAW),
    policy("raw-allow", "ALLOW", to(ports="7001"), selector=RAW, dry=True),
    policy("deny-tried-too", "DENY", to(paths="/seen/*", ports="8080"), dry=True),
    policy("allow-tried", "ALLOW", to(paths="/seen*", ports="8080"), to(paths="/free", ports="8080"), dry=True),
    policy("ask-tried", "CUSTOM", to(methods="POST", ports="8080"), dry=True, provider={"name": "nobody"}),
    policy("door", "AUDIT", to(methods="GET"), selector=None,
           targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "door"}]),
    policy("nobody", "AUDIT", {}, selector={"matchLabels": {"app": "none"}}),
)  # fmt: skip


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dry")
    (folder / "all.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    with running.mesh(folder) as started:
        yield started


@pytest.fixture(scope="module")
def client(mesh):
    with pod_session.Pod(mesh, "client") as pod:
        yield pod


def listed(mesh, *more):
    done = mesh.command("policies", "-o", "json", *more)
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)}


def counts(mesh):
    return {name: (p["matched"], p["would_deny"], p["would_allow"]) for name, p in listed(mesh).items()}


def test_for_whom_each_policy_is(mesh):
    found = listed(mesh)
    assert {name: (p["pods"], p["gateways"]) for name, p in found.items() if (p["pods"], p["gateways"]) != (1, 0)} == {
        "door": (0, 1), "nobody": (0, 0),
    }  # fmt: skip
    tried = found["deny-tried"]
    assert (tried["action"], tried["dry_run"], tried["provider"]) == ("DENY", True, "")
    assert (found["ask-tried"]["provider"], found["deny"]["dry_run"]) == ("nobody", False)
    assert tried["file"].endswith("all.yaml")
    assert tried["line"] > 1
    assert listed(mesh, "-n", "other") == {}


def test_what_policies_on_trial_would_have_done_is_counted_and_not_done(mesh, client):
    for path, status in (("/seen/a", 200), ("/seen/b", 200), ("/free", 200), ("/other", 200), ("/refused", 403)):
        assert client.http(f"http://web{path}")["status"] == status
    assert client.http("http://web/other", method="POST")["status"] == 200
    assert client.say("raw", 7000, "hello\n")["lines"]
    address = wait.until(lambda: mesh.ps()["gateways"][0]["listeners"][0]["address"], "the gateway's address")
    import pod_probes

    assert pod_probes.http(f"http://{address}/free")["status"] == 200
    wanted = {
        "a.audit": (2, None, None),
        "audit-tried": (2, None, None),
        "deny": (None, None, None),
        "deny-tried": (None, 1, None),
        "deny-tried-too": (None, 2, None),
        # /seen/a, /seen/b, /free and once more by the gateway; not /other twice; /refused was.
        "allow-tried": (None, 2, 4),
        "raw-tried": (None, 1, None),
        "raw-audit": (1, None, None),
        "raw-allow": (None, 1, 0),
        "ask-tried": (1, None, None),
        "door": (1, None, None),
        "nobody": (0, None, None),
    }
    def as_wanted():
        found = counts(mesh)
        assert found == wanted
        return True

    wait.until(as_wanted, "the counts", seconds=60, every=0.5)


def test_the_table_names_what_was_counted(mesh):
    done = mesh.command("policies")
    assert done.returncode == 0, done.stderr
    head = done.stdout.split("\n")[0].split()
    assert head[:3] == ["NAMESPACE", "NAME", "ACTION"]
    assert any(line.split()[:4] == ["default", "deny-tried", "DENY", "yes"] for line in done.stdout.split("\n"))
