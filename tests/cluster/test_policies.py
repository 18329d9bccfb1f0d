"""Policies on a cluster: each of security.istio.io's kinds is enforced, edited, told by commands, and taken away.

Their definitions come to the cluster when Retic and the pods run already.
"""

import json

import pytest
from tests.cluster import security_api
from tests.cluster import strict_objects as objects
from tests.cluster.installed import IMAGE

from retic.testing import issuer, wait

API = f"{security_api.GROUP}/v1"
SERVER = {"matchLabels": {"app": "server"}}
LOGIN = issuer.Issuer("https://login.example", issuer.Key("ES256", "a"))
ASK = """
import sys, http.client
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=8)
try:
    c.request("GET", "/", headers=dict(x.split("=", 1) for x in sys.argv[3:]))
    print(c.getresponse().status)
except OSError:
    print(0)
"""


def account(name):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def server(node):
    made = objects.sleeper("server", IMAGE, node)
    made["metadata"]["labels"] = {"app": "server"}
    command = ["python", "-m", "retic.testing.apps.echo_http", "--port", "8080"]
    made["spec"]["containers"][0] |= {
        "command": command, "imagePullPolicy": "IfNotPresent", "readinessProbe": {"tcpSocket": {"port": 8080}},
    }  # fmt: skip
    return made


@pytest.fixture(scope="module")
def shop(installed, nodes):
    """A server, two callers of accounts of their own, and the kinds, which come last."""
    with installed.namespace() as kube:
        service = {"selector": SERVER["matchLabels"], "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        kube.apply(
            *map(account, ("web", "spy")), server(nodes[0]),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": service},
            *(objects.sleeper(name, IMAGE, nodes[-1], serviceAccountName=name) for name in ("web", "spy")),
        )  # fmt: skip
        kube.ready("server", "web", "spy")
        wait.until(lambda: captured(installed, kube) == {"server", "web", "spy"}, "the pods in the mesh", 110)
        wait.until(lambda: asked(kube) == {"web": 200, "spy": 200}, "the server answers both", 110)
        with security_api.on(installed.kubectl()):
            yield kube


@pytest.fixture(scope="module")
def stranger(installed, nodes):
    """A pod that is not in the mesh."""
    with installed.namespace({}) as kube:
        kube.apply(objects.sleeper("stranger", IMAGE, nodes[-1]))
        kube.ready("stranger")
        yield kube


def captured(installed, kube):
    found = json.loads(installed.retic("ps", "-n", kube.namespace, "-o", "json"))
    return {one["name"] for one in found["pods"] if one["mesh"] == "captured"}


def status(kube, pod, host, port, **headers):
    given = [f"{name}={value}" for name, value in headers.items()]
    return int(kube.run("exec", pod, "--", "python3", "-c", ASK, host, str(port), *given))


def asked(kube, **headers):
    return {name: status(kube, name, "server", 80, **headers) for name in ("web", "spy")}


def explained(installed, kube, name):
    done = installed.attempt("explain", "request", "-n", kube.namespace, "--from", f"pod/{name}", "--to", "server:80",
                             "GET", "/", "-o", "json")  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    return 200 if found["allowed"] else found["status"], (found["policy"] or {}).get("object", "")


def listed(installed, kube):
    return json.loads(installed.retic("policies", "-n", kube.namespace, "-o", "json"))


def policy(*accounts, **spec):
    rules = [{"from": [{"source": {"serviceAccounts": list(accounts)}}]}]
    return {"apiVersion": API, "kind": "AuthorizationPolicy", "metadata": {"name": "server"},
            "spec": {"selector": SERVER, "rules": rules, **spec}}  # fmt: skip


def test_an_authorization_policy_is_enforced_edited_told_and_taken_away(installed, shop):
    assert listed(installed, shop) == []
    assert explained(installed, shop, "spy") == (200, "")
    shop.apply(policy("web"))
    # The first object of a kind that nobody knew when Retic began.
    shop.run("wait", "authorizationpolicy/server", "--for=condition=retic.dev/Live", "--timeout=110s")
    wait.until(lambda: asked(shop) == {"web": 200, "spy": 403}, "web alone is let in", 110)
    assert "AuthorizationPolicy" in installed.retic("wait", "-n", shop.namespace, "ap/server", "--timeout", "110")
    named = f"AuthorizationPolicy {shop.namespace}/server"
    assert explained(installed, shop, "web") == (200, named)
    assert explained(installed, shop, "spy") == (403, named)
    (shown,) = listed(installed, shop)
    assert (shown["name"], shown["action"], shown["pods"], shown["unread"]) == ("server", "ALLOW", 1, [])

    shop.apply(policy("web", action="DENY"))
    wait.until(lambda: asked(shop) == {"web": 403, "spy": 200}, "web alone is refused", 110)
    assert (explained(installed, shop, "web"), explained(installed, shop, "spy")[0]) == ((403, named), 200)
    assert listed(installed, shop)[0]["action"] == "DENY"

    def misspelt():
        """The webhook lets pass what it has no time for."""
        given = json.dumps(policy("web", actoin="DENY"))
        done = shop.attempt("apply", "--server-side", "--dry-run=server", "-f", "-", given=given)
        return done.returncode and done.stderr

    said = wait.until(misspelt, "a misspelt field is refused where it is written", 90)
    assert "RT0433" in said
    assert "did you mean action?" in said

    shop.run("delete", "authorizationpolicy", "server")
    wait.until(lambda: asked(shop) == {"web": 200, "spy": 200}, "everybody is let in again", 110)
    assert listed(installed, shop) == []


def test_a_workload_is_strict_by_a_peer_authentication(shop, stranger):
    address = shop.get("pod", "server")["status"]["podIP"]
    assert status(stranger, "stranger", address, 8080) == 200, "the mesh takes plaintext"
    spec = {"selector": SERVER, "mtls": {"mode": "STRICT"}}
    shop.apply({"apiVersion": API, "kind": "PeerAuthentication", "metadata": {"name": "server"}, "spec": spec})
    wait.until(lambda: status(stranger, "stranger", address, 8080) == 0, "plaintext is refused", 110)
    assert asked(shop) == {"web": 200, "spy": 200}
    shop.run("delete", "peerauthentication", "server")
    wait.until(lambda: status(stranger, "stranger", address, 8080) == 200, "plaintext is taken again", 110)


def test_tokens_are_looked_at_by_a_request_authentication(shop):
    rules = [{"issuer": LOGIN.name, "jwks": LOGIN.jwks()}]
    shop.apply({"apiVersion": API, "kind": "RequestAuthentication", "metadata": {"name": "server"},
                "spec": {"selector": SERVER, "jwtRules": rules}})  # fmt: skip

    def with_token(token):
        return status(shop, "web", "server", 80, authorization=f"Bearer {token}")

    wait.until(lambda: with_token("a.b.c") == 401, "a token that is none is refused", 110)
    assert with_token(LOGIN.token()) == 200
    assert asked(shop) == {"web": 200, "spy": 200}
    shop.run("delete", "requestauthentication", "server")
    wait.until(lambda: with_token("a.b.c") == 200, "tokens are not looked at any more", 110)


def test_a_rate_limit_shows_how_far_it_is(shop):
    spec = {"targetRefs": [{"kind": "Service", "name": "server"}], "limits": [{"requests": 1000, "per": "second"}]}
    made = {"apiVersion": "retic.dev/v1alpha1", "kind": "RateLimit", "metadata": {"name": "server"}, "spec": spec}
    shop.apply(made)
    shop.run("wait", "ratelimit/server", "--for=condition=retic.dev/Live", "--timeout=110s")
    head, row = shop.run("get", "ratelimits").splitlines()
    assert head.split() == ["NAME", "REQUESTS", "PER", "ACCEPTED", "LIVE", "AGE"]
    assert row.split()[:5] == ["server", "1000", "second", "True", "True"]

    spec["targetRefs"][0]["name"] = "absent"
    shop.apply(made)
    shop.run("wait", "ratelimit/server", "--for=condition=retic.dev/Accepted=False", "--timeout=110s")
    said = next(c for c in shop.get("ratelimit", "server")["status"]["conditions"] if c["type"] == "retic.dev/Accepted")
    assert (said["reason"], said["observedGeneration"]) == ("TargetNotFound", 2)
    assert "RT0571 spec.targetRefs[0].name: there is no Service" in said["message"]
    shop.run("delete", "ratelimit", "server")
