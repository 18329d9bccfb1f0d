"""`retic explain request` as users call it: of a mesh that runs, and of the same manifests alone."""

import json

import differential_rounds as rounds
import pytest

CANARY = {
    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "c", "namespace": "alpha"},
    "spec": {
        "parentRefs": [{"group": "", "kind": "Service", "name": "shop"}],
        "rules": [
            {
                "matches": [{"headers": [{"name": "x-canary", "value": "yes"}]}],
                "backendRefs": [{"name": "two", "port": 80}],
            },
            {"backendRefs": [{"name": "one", "port": 80}]},
        ],
    },
}  # fmt: skip
DENY = {
    "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
    "metadata": {"name": "d", "namespace": "alpha"},
    "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["DELETE"]}}]}]},
}  # fmt: skip
WORDS = ("explain", "request", "-n", "alpha", "--from", "pod/a", "--to", "shop:80")


@pytest.fixture
def live(mesh):
    mesh.write("command", [CANARY, DENY, rounds.marker("command")])
    return mesh.mesh


def asked(mesh, *words, files=False):
    more = ("-f", str(mesh.folder)) if files else ()
    done = mesh.command(*WORDS, *more, *words)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("files", [False, True], ids=["running", "files"])
def test_in_json(live, files):
    code, out, _ = asked(live, "GET", "/x", "-H", "X-Canary: yes", "-o", "json", files=files)
    found = json.loads(out)
    assert (code, list(found)) == (0, ["allowed", "status", "backends", "route", "policy", "steps"])
    assert (found["allowed"], found["status"], found["policy"]) == (True, None, None)
    assert found["backends"] == [{"service": "alpha/two", "port": 80, "weight": 100}]
    assert found["route"]["object"] == "HTTPRoute alpha/c"
    assert (found["route"]["file"].endswith("round.yaml"), found["route"]["line"]) == (True, 1)


@pytest.mark.parametrize("files", [False, True], ids=["running", "files"])
def test_in_words(live, files):
    code, out, _ = asked(live, "DELETE", "/x", files=files)
    assert code == 1
    first, *_, last = out.splitlines()
    assert first.startswith("from ")
    assert last.split(None, 1) == ["verdict", "refused, the proxy answers 403"]
    (policy,) = (line for line in out.splitlines() if line.startswith("policy "))
    assert "DENY rule 1 matches: refused" in policy
    assert policy.endswith("round.yaml:3)")


@pytest.mark.parametrize("files", [False, True], ids=["running", "files"])
def test_of_what_is_not_there(live, files):
    code, out, error = asked(live, "--to", "gone:80", files=files)
    assert (code, out) == (2, "")
    assert "there is no Service gone" in error


def test_what_it_says_is_what_happens(live):
    status, body = live.curl("a", "http://shop/x", "-H", "x-canary: yes", namespace="alpha")
    assert (status, json.loads(body)["target"]) == (200, "/x")
    assert live.curl("a", "http://shop/x", "-X", "DELETE", namespace="alpha")[0] == 403
