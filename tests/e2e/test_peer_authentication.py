"""PeerAuthentication through real Envoys: each mode at each scope, port by port, and changes that lose nothing."""

import json
import pathlib
import shutil
import time

import live
import pod_probes
import pod_session
import pytest
import rough_load as load
from test_attacks import KNOCK

from retic.testing import outsider, running, wait

STEADY = ("total_filter_chains_draining", "total_listeners_draining", "listener_removed")
FORGED = "URI=spiffe://cluster.local/ns/default/sa/admin"
IDENTITY = {"x-forwarded-client-cert": FORGED, "X_Forwarded_Client_Cert": FORGED, "x-retic-port": "8090"}
CALLER = "spiffe://cluster.local/ns/default/sa/default"


class World:
    """The mesh, somebody in it (`inside`) and somebody beside it (`beside`)."""

    def __init__(self, mesh, inside, beside, stranger):
        self.mesh, self.inside, self.beside, self.stranger = mesh, inside, beside, stranger
        self.address = {p["name"].rpartition("-")[0].rpartition("-")[0]: p["ip"] for p in mesh.ps()["pods"]}

    def plaintext(self, name, port=8080):
        """What somebody beside the mesh gets: "open" or "closed"."""
        got = self.beside.http(f"http://{self.address[name]}:{port}/", headers=IDENTITY, timeout=4)
        assert "admin" not in got.get("text", ""), got["text"]
        return {200: "open", 0: "closed"}.get(got["status"], got["status"])

    def called(self, url):
        """How a caller of the mesh reaches it: by "mtls" or in "plaintext", or what went wrong."""
        got = self.inside.http(url, headers=IDENTITY)
        if got["status"] != 200:
            return str(got)
        assert "admin" not in got["text"], got["text"]
        said = got["json"]["headers"].get("x-forwarded-client-cert", "")
        return {"": "plaintext"}.get(said, "mtls" if CALLER in said else said)

    def steady(self):
        stats = self.mesh.stats("node-1")
        return {key: stats[f"listener_manager.{key}"] for key in STEADY}

    def updates(self):
        return self.mesh.stats("node-1")["listener_manager.listener_in_place_updated"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer") / "manifests"
    shutil.copytree(pathlib.Path(__file__).parent / "peer", folder)
    with (
        running.mesh(folder, nodes=2) as mesh,
        pod_session.Pod(mesh, "caller") as inside,
        outsider.stranger(outsider.place(mesh.ps(), "agent", "node-1")) as stranger,
        pod_session.Session("stranger", stranger.line) as beside,
    ):
        yield World(mesh, inside, beside, stranger)


def policy(name, mode, namespace="default", labels=None, ports=None):
    spec = {"mtls": {"mode": mode}} if mode else {}
    if labels:
        spec["selector"] = {"matchLabels": labels}
    if ports:
        spec["portLevelMtls"] = {str(port): {"mode": said} for port, said in ports.items()}
    return {
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }  # fmt: skip


def test_each_scope_has_its_mode(world):
    seen = {
        "mesh": (world.plaintext("third"), world.called("http://third.third/")),
        "namespace over mesh": (world.plaintext("aside"), world.called("http://aside.aside/")),
        "another namespace": (world.plaintext("plain"), world.called("http://plain/")),
        "workload over namespace": (world.plaintext("web"), world.called("http://web/")),
        "port over workload": (world.plaintext("web", 8090), world.called("http://web:90/")),
    }
    assert seen == {
        "mesh": ("open", "mtls"),
        "namespace over mesh": ("closed", "mtls"),
        "another namespace": ("open", "plaintext"),
        "workload over namespace": ("closed", "mtls"),
        "port over workload": ("open", "plaintext"),
    }


def test_calls_to_a_pods_own_address_go_by_the_mode_of_the_port(world):
    web, plain = world.address["web"], world.address["plain"]
    seen = [world.called(f"http://{address}/") for address in (f"{web}:8080", f"{web}:8090", f"{plain}:8080")]
    assert seen == ["mtls", "plaintext", "plaintext"]


def test_endpoints_of_one_service_each_have_theirs(world):
    """A STRICT and a DISABLE pod behind one Service, on connections that are kept."""
    found = {(got["json"]["version"], "x-forwarded-client-cert" in got["json"]["headers"]) for got in (
        world.inside.http("http://mixed/", headers=IDENTITY) for _ in range(30)
    )}  # fmt: skip
    assert found == {("web", True), ("plain", False)}


def test_gateways_call_as_pods_do(world):
    seen = [pod_probes.http(f"http://127.0.0.1:18521/{path}", headers=IDENTITY) for path in ("", "other")]
    assert [(got["status"], got["json"]["version"]) for got in seen] == [(200, "web"), (200, "other")]
    identities = [got["json"]["headers"].get("x-forwarded-client-cert", "") for got in seen]
    assert "URI=spiffe://cluster.local/ns/default/sa/door" in identities[0]
    assert identities[1] == ""
    assert all("admin" not in got["text"] for got in seen)


def test_ports_without_http_have_modes_too(world):
    banner = world.beside.say(world.address["web"], 7001)["lines"]
    assert outsider.STRANGER in banner[0], "PERMISSIVE: plaintext passes"
    assert world.inside.say("web", 7001)["lines"][0].endswith("ready\n")
    assert world.inside.say(world.address["web"], 7001)["lines"][0].endswith("ready\n")


def test_the_meshs_tls_is_not_ended_where_it_is_disabled(world, tmp_path):
    """Not even for a certificate that is good: it is bytes for the application, as any other TLS."""
    key, chain = outsider.Forger(tmp_path, live.state.folder(world.mesh.name) / "ca").pair(CALLER)
    own = {"key": key, "chain": chain, "tls": "TLSv1_3", "alpn": "retic-http", "host": world.address["web"]}
    tries = {"STRICT": {**own, "port": 8080}, "DISABLE": {**own, "port": 8090}}
    got = world.stranger.python(KNOCK, json.dumps(tries))
    assert {name: answer[:12] for name, answer in got.items()} == {"STRICT": "HTTP/1.1 200", "DISABLE": ""}


def test_policies_hold_for_plaintext_and_nobody_is_anybody_there(world):
    """By principal nobody is let in without TLS, whatever headers say; by other attributes as ever."""
    allow = {
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "only"},
        "spec": {"rules": [
            {"from": [{"source": {"principals": ["cluster.local/ns/default/sa/*"]}}]},
            {"from": [{"source": {"ipBlocks": [outsider.STRANGER]}}], "to": [{"operation": {"paths": ["/open"]}}]},
        ]},
    }  # fmt: skip
    with live.file(world.mesh, "only.yaml", allow):
        url = f"http://{world.address['web']}:8090"
        wait.until(lambda: world.beside.http(url, headers=IDENTITY)["status"] == 403, "DISABLE: refused", 10)
        assert world.beside.http(f"{url}/open", headers=IDENTITY)["status"] == 200
        # The pod `plain` is called in plaintext from inside as well: nobody has a principal there.
        assert world.inside.http("http://plain/", headers=IDENTITY)["status"] == 403
        assert world.inside.http("http://web/")["status"] == 200
        said = world.beside.say(world.address["web"], 7001, text="hello\n", lines=2, timeout=4)
        assert "hello" not in str(said["lines"]), "TCP in plaintext: no byte of the caller's reaches the server"
        assert world.inside.say("web", 7001)["lines"][0].endswith("ready\n")
        third = {**allow, "metadata": {"name": "only", "namespace": "third"}}
        with live.file(world.mesh, "third.yaml", third):
            plain = f"http://{world.address['third']}:8080/"
            wait.until(lambda: world.beside.http(plain, headers=IDENTITY)["status"] == 403, "PERMISSIVE: refused", 10)
            assert world.called("http://third.third/") == "mtls"
    wait.until(lambda: world.plaintext("web", 8090) == "open" and world.plaintext("third") == "open", "as before", 10)


def test_what_strict_would_refuse_is_counted_where_plaintext_is_an_exception(world):
    def counted(name):
        uid = next(p["uid"] for p in pods if p["name"].startswith(name))
        stats = world.mesh.stats("node-1")
        return sum(v for k, v in stats.items() if f".strict.{uid}.shadow_denied" in k)

    pods = [{"name": p.metadata.name, "uid": p.metadata.uid} for p in live.objects(world.mesh, "Pod")]
    before = {name: counted(name) for name in ("third-", "plain-", "web-")}
    assert world.plaintext("third") == world.plaintext("plain") == world.plaintext("web", 8090) == "open"
    assert world.beside.say(world.address["web"], 7001)["lines"][0]
    more = {name: counted(name) - number for name, number in before.items()}
    assert more == {"third-": 1, "plain-": 0, "web-": 1}, "of web's ports only the permissive one"


def test_strict_and_permissive_change_at_once_under_open_connections(world):
    world.inside.hold("lines", "web", 7001)
    world.inside.talk("lines", "")
    world.inside.hold("requests", "third.third", 80)
    world.beside.hold("outside", world.address["third"], 8080)
    assert world.beside.get("outside", "third") == "third"
    before, updates = world.steady(), world.updates()
    with live.file(world.mesh, "change.yaml", policy("now", "STRICT", "third")):
        wait.until(lambda: world.plaintext("third") == "closed", "plaintext is refused", 20)
        assert world.beside.get("outside", "third") == "403", "on a connection that was open, request by request"
        assert world.inside.get("requests", "third") == "third"
    wait.until(lambda: world.plaintext("third") == "open", "plaintext passes again", 20)
    assert world.inside.get("requests", "third") == "third"
    assert world.inside.talk("lines", "a\n").endswith("a\n")
    assert world.steady() == before
    assert world.updates() >= updates + 2, "the table changed in place"


def test_no_request_is_lost_on_the_way_to_disable_and_back(world):
    """STRICT to DISABLE and back, to PERMISSIVE and back, at ports under load by Service, by address and with new
    connections; held connections go on."""
    web = world.address["web"]
    kinds = {
        "HTTP/1": ["http://web/"],
        "a connection each": ["http://web/", "--new-connections"],
        "by address": [f"http://{web}:8080/"],
        "TCP": ["tcp://web:7002"],
    }
    labels = {"app": "web"}
    ways = (("DISABLE", "plaintext"), ("STRICT", "mtls"), ("PERMISSIVE", "mtls"), ("STRICT", "mtls"))
    world.inside.hold("older", "web", 7001)
    world.inside.talk("older", "")
    restarts = [p["restarts"] for p in live.pods(world.mesh, "web-")]
    before = world.steady()
    begin = time.monotonic()
    running_load = load.Load(world.mesh, load.LONG, pod="caller", kinds=kinds, node="node-2")
    try:
        for mode, how in ways:
            ports = {8080: mode, 8090: "DISABLE", 7001: mode, 7002: mode}
            live.write(world.mesh, "web-policy.yaml", policy("web", "STRICT", labels=labels, ports=ports))
            _written(world, mode)
            wait.until(lambda want=how: world.called("http://web/") == want, f"{mode}: {how}", 15)
            wanted = "closed" if mode == "STRICT" else "open"
            wait.until(lambda want=wanted: world.plaintext("web") == want, f"{mode}: {wanted}", 15)
            assert world.called(f"http://{web}:8080/") == how
            print(f"{mode} after {time.monotonic() - begin:.1f} s")
            assert world.inside.talk("older", "still\n").endswith("still\n")
        assert running_load.running(), "the load went on throughout"
        results = running_load.end()
    finally:
        running_load.close()
    assert {kind: one["failed"] for kind, one in results.items()} == dict.fromkeys(kinds, 0), results
    assert world.steady() == before
    assert [p["restarts"] for p in live.pods(world.mesh, "web-")] == restarts, "probes passed in every mode"


def _written(world, mode):
    """Wait until the mesh knows of the mode."""
    def known():
        (found,) = live.objects(world.mesh, "PeerAuthentication", "web")
        return getattr(found.spec.port_level_mtls.get("8080"), "mode", None) == mode

    wait.until(known, f"the mesh knows {mode}", 20)
