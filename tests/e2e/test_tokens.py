"""RequestAuthentication through a real mesh: tokens of every kind, keys that change, claims in policies and routes.

On a machine of the test's own, whose outside address has the issuers' keys: the control plane fetches none from the
machine itself.
"""

import json
import pathlib
import subprocess
import sys
import time

import live
import machine_mesh
import pod_session
import pytest

from retic.testing import issuer, key_server, machine, tls_pairs, wait

HERE = pathlib.Path(__file__).parent / "tokens"
DOOR = "http://127.0.0.1:18511"
STEADY = ("listener_modified", "listener_in_place_updated", "total_filter_chains_draining", "listener_removed")

FIRST = issuer.Issuer("https://first.example", issuer.Key("ES256", "a"), issuer.Key("RS256", "b"))
SECOND = issuer.Issuer("https://second.example", issuer.Key("RS256", "s1"))
LOST = issuer.Issuer("https://lost.example")
INSIDE = issuer.Issuer("https://inside.example")
METADATA = issuer.Issuer("https://metadata.example")


def authentication(keys, *more, **fields):
    """What the pods that look at tokens are given; `keys` is where those of three issuers are fetched from."""
    rules = [
        {"issuer": FIRST.name, "jwks": FIRST.jwks(), "outputPayloadToHeader": "x-payload", "outputClaimToHeaders": [
            {"header": "x-role", "claim": "role"}, {"header": "X-Deep", "claim": "realm.name"},
        ]},
        {"issuer": SECOND.name, "jwksUri": f"{keys}/second", "audiences": ["web"], "forwardOriginalToken": True},
        {"issuer": LOST.name, "jwksUri": f"{keys}/lost", "timeout": "1s"},
        {"issuer": INSIDE.name, "jwksUri": "https://10.96.0.10/keys"},
        {"issuer": METADATA.name, "jwksUri": "https://169.254.169.254/keys"},
        *more,
    ]  # fmt: skip
    return {
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "tokens"},
        "spec": {"selector": {"matchLabels": {"tokens": "looked-at"}}, "jwtRules": rules, **fields},
    }  # fmt: skip


AT_THE_DOOR = {
    "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
    "metadata": {"name": "door", "namespace": "edge"},
    "spec": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "door"}],
        "jwtRules": [{
            "issuer": FIRST.name, "jwks": FIRST.jwks(), "forwardOriginalToken": True,
            "outputClaimToHeaders": [{"header": "x-role", "claim": "role"}],
        }],
    },
}  # fmt: skip

# For the ports that one Service leads to.
OF_A_SERVICE = {
    "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "plain"},
    "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "plain"}],
        "jwtRules": [{"issuer": FIRST.name, "jwks": FIRST.jwks()}],
    },
}  # fmt: skip


class Served:
    """Keys on the machine's outside address; `folder` has what is answered."""

    def __init__(self, host, folder):
        self.host, self.folder, self.process, self.port = host, folder, None, 0
        private = tls_pairs.key()
        self.pair = folder / "pair.pem"
        self.pair.write_bytes(tls_pairs.chain(private, machine.OUTSIDE) + tls_pairs.pem(private))
        host.more["SSL_CERT_FILE"] = str(self.pair)

    @property
    def url(self):
        return f"https://{machine.OUTSIDE}:{self.port}"

    def start(self):
        line = [sys.executable, "-m", "retic.testing.key_server", f"{machine.OUTSIDE}:{self.port}", str(self.folder)]
        self.process = self.host.popen([*line, str(self.pair)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def asked(self):
        return (self.folder / "asked").read_text().splitlines()


class Pod(pod_session.Session):
    """A session inside a pod of a mesh on a machine."""

    def __init__(self, mesh, name):
        self.name = name
        line = mesh.line("exec", "-i", "-n", "default", name, "--", sys.executable, str(pod_session.PROBES))
        piped = subprocess.PIPE
        self.running = mesh.machine.popen(line, stdin=piped, stdout=piped, stderr=piped, text=True)


@pytest.fixture(scope="module")
def world():
    with machine.on(machine.users()[0]) as host:
        folder = host.runtime / "keys"
        folder.mkdir()
        folder.chmod(0o777)
        served = Served(host, folder)
        key_server.write(folder, "second", SECOND.jwks(), cache_control="max-age=1")
        served.start()
        mesh = machine_mesh.Mesh(host)
        (mesh.folder / "mesh.yaml").write_text((HERE / "mesh.yaml").read_text())
        live.write(mesh, "tokens.yaml", authentication(served.url), AT_THE_DOOR, OF_A_SERVICE)
        mesh.bring_up()
        client = Pod(mesh, "client")
        yield mesh, client, served
        client.close()
        assert mesh.command("down").returncode == 0
        served.stop()


def bearer(text, **headers):
    return {"authorization": f"Bearer {text}", **headers}


def ask(world, path="/", headers=None, service="open"):
    """Status, and what the server saw of the request."""
    answer = world[1].http(f"http://{service}{path}", headers=headers)
    seen = answer.get("json", {})
    return answer["status"], seen


def steady(mesh):
    proxies = [mesh.stats(proxy) for proxy in ("node-1", "gateway/edge/door")]
    return [{name: stats[f"listener_manager.{name}"] for name in STEADY} for stats in proxies]


def test_a_request_without_a_token_passes_where_no_policy_asks_for_one(world):
    status, seen = ask(world, headers={"x-role": "admin", "x_role": "admin", "X-Payload": "e30", "x-other": "1"})
    assert status == 200
    assert {"x-role", "x_role", "x-payload"} & set(seen["headers"]) == set()
    assert seen["headers"]["x-other"] == "1"
    assert ask(world, "/any", service="closed")[0] == 403
    assert ask(world, "/nobody", service="closed")[0] == 200


def test_a_valid_token_passes_and_says_its_claims_in_headers(world):
    good = FIRST.token(role="user", realm={"name": "shop"})
    status, seen = ask(world, headers=bearer(good, **{"x-role": "admin", "x_role": "admin"}))
    assert (status, seen["headers"]["x-role"], seen["headers"]["x-deep"]) == (200, "user", "shop")
    assert "x-payload" in seen["headers"]
    assert {"authorization", "x_role"} & set(seen["headers"]) == set()
    for key in FIRST.keys:
        assert ask(world, headers=bearer(FIRST.token(key=key)))[0] == 200
    status, seen = ask(world, f"/p?access_token={good}&q=1")
    assert (status, seen["path"], seen["query"]) == (200, "/p", "q=1")
    status, seen = ask(world, headers=bearer(SECOND.token(aud=["x", "web"])))
    assert (status, seen["headers"]["authorization"].split()[0]) == (200, "Bearer")


def wrong_tokens():
    """Tokens that do not hold, made now: tests may be run long after they were collected."""
    now = int(time.time())
    return {
        "expired": FIRST.token(exp=now - 120),
        "not yet valid": FIRST.token(nbf=now + 3000),
        "unsigned": issuer.unsigned(FIRST.claims()),
        "without its signature": FIRST.token().rpartition(".")[0] + ".",
        "of another key": FIRST.token(key=issuer.Key("ES256", "a")),
        "of another issuer's key": FIRST.token(key=SECOND.keys[0]),
        "for another audience": SECOND.token(aud="app"),
        "of another issuer": issuer.Issuer("https://stranger.example").token(),
        "with the public key as shared secret": issuer.shared(FIRST.keys[1].pem(), FIRST.claims(), "b"),
        "changed": FIRST.token()[:-6] + "AAAAAA",
        "malformed": "e30.e30",
        "no token": "word",
        "of an issuer whose keys are not found": LOST.token(),
        "of an issuer whose keys would be in the mesh": INSIDE.token(),
        "of an issuer whose keys would be a machine's own": METADATA.token(),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(wrong_tokens()))
def test_a_token_that_does_not_hold_is_refused(world, name):
    text, refused = wrong_tokens()[name], (403,) if name == "for another audience" else (401,)
    assert ask(world, headers=bearer(text))[0] in refused
    assert ask(world, f"/?access_token={text}")[0] in refused
    assert ask(world, "/nobody", headers=bearer(text), service="closed")[0] in refused


def test_an_oversized_token_is_refused_and_nothing_falls_over(world):
    status, _ = ask(world, headers=bearer(FIRST.token(x="y" * 70_000)))
    assert status in (0, 431)
    assert ask(world, headers=bearer(FIRST.token()))[0] == 200


def test_two_tokens_are_refused(world):
    good, bad = FIRST.token(), wrong_tokens()["expired"]
    for one, other in ((good, bad), (bad, good), (good, good)):
        assert ask(world, f"/?access_token={one}", bearer(other))[0] == 401
        assert ask(world, f"/?access_token={one}&access%5Ftoken={other}")[0] == 401
    lines = "".join(f"authorization: Bearer {each}\r\n" for each in (good, bad))
    said = world[1].raw("open", 80, f"GET / HTTP/1.1\r\nhost: open\r\nconnection: close\r\n{lines}\r\n")
    assert said.startswith("HTTP/1.1 401")


CLAIMS = [
    ("/any", {}, 200),
    ("/one", {}, 200),
    ("/one", {"sub": "another"}, 403),
    ("/not", {}, 200),
    ("/not", {"sub": "banned"}, 403),
    ("/nobody", {}, 403),
    ("/group", {"groups": ["users", "admins"]}, 200),
    ("/group", {"groups": "owners"}, 200),
    ("/group", {"groups": ["users"]}, 403),
    ("/group", {}, 403),
    ("/deep", {"realm": {"roles": ["reader", "writer"]}}, 200),
    ("/deep", {"realm": {"roles": ["reader"]}}, 403),
    ("/deep", {"realm": "writer"}, 403),
    ("/deep", {"roles": ["writer"]}, 403),
    ("/notdeep", {"realm": {"roles": ["reader"]}}, 200),
    ("/notdeep", {"realm": {"roles": ["reader", "writer"]}}, 403),
    ("/audience", {"aud": "web"}, 200),
    ("/audience", {"aud": ["app", "web"]}, 200),
    ("/audience", {"aud": "app"}, 403),
    ("/presenter", {"azp": "console"}, 200),
    ("/presenter", {}, 403),
    ("/scope", {"scope": "write read"}, 200),
    ("/scope", {"scope": "readwrite"}, 403),
]


@pytest.mark.parametrize(("path", "claims", "status"), CLAIMS)
def test_policies_decide_by_claims(world, path, claims, status):
    assert ask(world, path, bearer(FIRST.token(**claims)), "closed")[0] == status


def at_door(world, **headers):
    options = [word for name, value in headers.items() for word in ("-H", f"{name.replace('_', '-')}: {value}")]
    done = world[0].machine.run(["curl", "-s", "-m", "10", "-w", "\n%{http_code}", *options, DOOR])
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body)["headers"] if status == "200" else body


def test_a_claim_chooses_a_gateways_route_and_cannot_be_forged(world):
    wait.until(lambda: at_door(world)[0] == 200, "the gateway answers", 20)
    admin, user = (f"Bearer {FIRST.token(role=role)}" for role in ("admin", "user"))
    assert at_door(world)[1]["x-lane"] == "others"
    status, seen = at_door(world, Authorization=admin)
    assert (status, seen["x-lane"], seen["x-role"]) == (200, "admins", "admin")
    assert at_door(world, Authorization=user)[1]["x-lane"] == "others"
    for forged in ({}, {"Authorization": user}):
        status, seen = at_door(world, X_Role="admin", **forged)
        assert (status, seen["x-lane"], seen.get("x-role")) == (200, "others", "user" if forged else None)
    assert at_door(world, Authorization=f"Bearer {wrong_tokens()['expired']}", X_Role="admin")[0] == 401


def test_rules_for_a_service_are_carried_out_at_its_ports(world):
    assert ask(world, service="plain")[0] == 200
    assert ask(world, headers=bearer(FIRST.token()), service="plain")[0] == 200
    assert ask(world, headers=bearer(wrong_tokens()["expired"]), service="plain")[0] == 401


def found(mesh):
    return {f["code"]: f["message"] for f in mesh.ps()["findings"]}


def test_findings_say_why_keys_could_not_be_fetched(world):
    said = [f for f in world[0].ps()["findings"] if f["code"] == "RT0414"]
    messages = sorted(f["message"].partition(":")[0] + f["message"].partition(":")[2] for f in said)
    assert len(said) == 3, messages
    assert any("answered 404" in text for text in messages)
    assert any("a link-local or metadata address" in text for text in messages)
    assert any("the mesh's own network" in text for text in messages)
    assert all(f["line"] and f["file"].endswith("tokens.yaml") for f in said)


def test_keys_are_changed_at_their_server_and_nothing_drains(world):
    mesh, client, served = world
    before, old = steady(mesh), SECOND.keys[0]
    client.hold("kept", "open", 80)
    version = client.get("kept", "open")
    new = issuer.Key("EdDSA", "s2")
    both = issuer.Issuer(SECOND.name, old, new)
    assert ask(world, headers=bearer(both.token(key=new, aud="web")))[0] == 401
    key_server.write(served.folder, "second", both.jwks(), cache_control="max-age=1")
    passes = lambda key: ask(world, headers=bearer(both.token(key=key, aud="web")))[0] == 200  # noqa: E731
    wait.until(lambda: passes(new), "the new key is taken", 20, every=0.2)
    assert passes(old)
    key_server.write(served.folder, "second", issuer.Issuer(SECOND.name, new).jwks(), cache_control="max-age=1")
    wait.until(lambda: not passes(old), "the old key is taken no longer", 20, every=0.2)
    assert passes(new)

    key_server.write(served.folder, "second", "<html>", cache_control="max-age=1")
    wait.until(lambda: "RT0415" in found(mesh), "what is no JWKS is a finding", 20, every=0.2)
    served.stop()
    assert passes(new), "the last good keys stay"
    served.start()
    key_server.write(served.folder, "second", both.jwks(), cache_control="max-age=1")
    wait.until(lambda: passes(old), "the server is asked again", 30, every=0.2)
    assert "RT0415" not in found(mesh)

    rule = {"issuer": LOST.name, "jwks": LOST.jwks()}
    changed = authentication(served.url)
    changed["spec"]["jwtRules"][2] = rule
    live.write(mesh, "tokens.yaml", changed, AT_THE_DOOR, OF_A_SERVICE)
    wait.until(lambda: ask(world, headers=bearer(LOST.token()))[0] == 200, "an edit is live", 15)
    assert sum("/lost" in line for line in served.asked()) >= 1
    assert client.get("kept", "open") == version, "the connection from before is open"
    assert steady(mesh) == before
    text = pathlib.Path(mesh.state / "logs").glob("*.log")
    assert not any("eyJ" in file.read_text(errors="replace") for file in text), "no token is in a log"
