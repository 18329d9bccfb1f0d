"""Plaintext at pods: nothing but declared probes in STRICT, everything in PERMISSIVE, and the way between them."""

import json
import pathlib
import shutil

import msgspec
import pod_session
import pytest
import rough_load as load

from retic.control import config
from retic.local import state
from retic.testing import outsider, running, wait

STEADY = ("total_filter_chains_draining", "total_listeners_draining", "listener_removed")
FORGED = "URI=spiffe://cluster.local/ns/default/sa/admin"

# Texts sent to the pod, each on a connection of its own or several on one, and all that comes back within a while;
# "refused" where there is no connection.
SEND = """
import concurrent.futures, json, socket, sys
host, tries = sys.argv[1], json.loads(sys.argv[2])
def read(s):
    got = b""
    try:
        while b"\\r\\n\\r\\n" not in got and (piece := s.recv(65536)):
            got += piece
        head, _, body = got.partition(b"\\r\\n\\r\\n")
        length = [l.split(b":")[1] for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length:")]
        while length and len(body) < int(length[0]) and (piece := s.recv(65536)):
            body += piece; got += piece
    except OSError:
        pass
    return got
def send(port, *texts):
    try:
        with socket.create_connection((host, port), 3) as s:
            s.settimeout(3)
            got = b""
            for text in texts:
                try:
                    s.sendall(text.encode("latin-1"))
                except OSError:
                    break
                got += read(s)
            return got.decode("latin-1")
    except ConnectionRefusedError:
        return "refused"
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(dict(zip(tries, pool.map(lambda t: send(*t), tries.values())))))
"""
H2 = """
import httpx, json, sys
host, version, tries = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
found = {}
with httpx.Client(http1=version == "1", http2=version == "2", verify=False, trust_env=False) as client:
    for name, (method, url) in tries.items():
        try:
            found[name] = client.request(method, url.replace("POD", host)).status_code
        except httpx.HTTPError as error:
            found[name] = 0
print(json.dumps(found))
"""


def get(target, *, method="GET", host="pod", more=""):
    return f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n"


class Modes:
    """The mesh, and the way to change what holds for the whole of it: its control plane is started anew."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.file = state.folder(mesh.name) / "control.json"
        self.address = next(p["ip"] for p in mesh.ps()["pods"] if p["name"].startswith("web-"))

    def set(self, **fields):
        told = {**json.loads(self.file.read_bytes()), **fields}
        msgspec.convert(told, config.Config, dec_hook=lambda wanted, value: wanted(value))
        self.file.write_text(json.dumps(told))
        old = load.processes(self.mesh)["control", "control"]
        load.kill(old)
        load.new_pid(self.mesh, "control", "control", old)
        load.settled(self.mesh)

    def steady(self):
        stats = self.mesh.stats("node-1")
        return {key: stats[f"listener_manager.{key}"] for key in STEADY}

    def requests(self):
        """How many requests and connections the applications have had from their proxy."""
        stats = self.mesh.stats("node-1")
        wanted = ("upstream_cx_total", "upstream_rq_total")
        return sum(stats.get(f"cluster.{c}.{w}", 0) for c in ("application", "application-tls") for w in wanted)


@pytest.fixture(scope="module")
def modes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes") / "manifests"
    shutil.copytree(pathlib.Path(__file__).parent / "modes", folder)
    key, chain = outsider.Forger(folder.parent, folder.parent / "ca").pair("spiffe://cluster.local/ns/default/sa/own")
    data = {"tls.key": pathlib.Path(key).read_text(), "tls.crt": pathlib.Path(chain).read_text()}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "pair"}}
    (folder / "secret.yaml").write_text(json.dumps({**secret, "stringData": data}))
    with running.mesh(folder, nodes=2) as mesh:
        yield Modes(mesh)


@pytest.fixture(scope="module")
def places(modes):
    ps = modes.mesh.ps()
    node = outsider.place(ps, "agent", "node-1")
    with outsider.stranger(node) as beside:
        yield {"node-1": node, "node-2": outsider.place(ps, "agent", "node-2"), "stranger": beside}


@pytest.fixture
def inside(modes):
    with pod_session.Pod(modes.mesh, "caller") as pod:
        yield pod


@pytest.fixture
def beside(places):
    with pod_session.Session("stranger", places["stranger"].line) as session:
        yield session


def send(place, modes, tries):
    return place.python(SEND, modes.address, json.dumps(tries))


PROBES = {
    "by HTTP": (8080, get("/ready?full=1")),
    "by HTTP, again on the connection": (8080, get("/ready?full=1"), get("/ready?full=1")),
    "where no Service declares HTTP": (8090, get("/live")),
}


def test_declared_probes_pass_in_strict(modes, places):
    answers = send(places["node-1"], modes, PROBES)
    assert {name: answer[:12] for name, answer in answers.items()} == dict.fromkeys(PROBES, "HTTP/1.1 200")
    assert answers["by HTTP, again on the connection"].count("HTTP/1.1 200") == 2
    tls = {"by HTTPS": ("GET", "https://POD:8443/secure")}
    assert places["node-1"].python(H2, modes.address, "1", json.dumps(tls)) == {"by HTTPS": 200}
    node = pod_session.Session("node-1", places["node-1"].line)
    try:
        checked = node.grpc(f"{modes.address}:9000", "Check", service="grpc.health.v1.Health")
    finally:
        node.close()
    assert checked["code"] == "OK"


def test_a_port_is_open_where_the_application_listens_and_nowhere_else(modes, places):
    tries = {"a server": (7001,), "nobody": (7002,), "nobody, at a low port": (81,)}
    for place in places.values():
        answers = send(place, modes, tries)
        assert answers == {"a server": "", "nobody": "refused", "nobody, at a low port": "refused"}


def test_probes_from_elsewhere_get_nothing_in_strict(modes, places):
    before = modes.requests()
    for where in ("node-2", "stranger"):
        answers = send(places[where], modes, PROBES)
        assert answers == dict.fromkeys(PROBES, ""), where
        tls = {"by HTTPS": ("GET", "https://POD:8443/secure")}
        assert places[where].python(H2, modes.address, "1", json.dumps(tls)) == {"by HTTPS": 0}
    assert modes.requests() <= before + 40, "the kubelet's own go on inside the pod, and nothing else does"


def test_nothing_but_probes_passes_from_the_node_in_strict(modes, places):
    ready = "/ready?full=1"
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: eA==\r\nsec-websocket-version: 13\r\n"
    settings = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    tries = {
        "another path": (8080, get("/")),
        "the path of another port": (8080, get("/live")),
        "another query": (8080, get("/ready?full=0")),
        "more of a query": (8080, get("/ready?full=1&x=1")),
        "no query": (8080, get("/ready")),
        "two slashes": (8080, get(f"/{ready}")),
        "a way back": (8080, get("/ready/..?full=1")),
        "a way there": (8080, get(f"/x/..{ready}")),
        "encoded": (8080, get("/%72eady?full=1")),
        "an encoded slash": (8080, get("/x%2f..%2fready?full=1")),
        "a longer path": (8080, get("/ready/admin?full=1")),
        "a fragment": (8080, get("/ready?full=1#/admin")),
        "parameters": (8080, get("/ready;x=1?full=1")),
        "a null": (8080, get("/ready%00?full=1")),
        "POST": (8080, get(ready, method="POST", more="content-length: 0\r\n")),
        "HEAD": (8080, get(ready, method="HEAD")),
        "OPTIONS": (8080, get(ready, method="OPTIONS")),
        "CONNECT": (8080, get("pod:8080", method="CONNECT")),
        "a WebSocket": (8080, get(ready, more=upgrade)),
        "an absolute form": (8080, get("http://pod:8080/admin")),
        "an absolute form without a path": (8080, get("http://pod:8080")),
        "another path in a header": (8080, get(ready, more="x-original-url: /admin\r\n")),
        "two lengths": (8080, get(ready, more="content-length: 5\r\ncontent-length: 6\r\n") + "hello"),
        "a length and chunks": (
            8080, get(ready, more="content-length: 3\r\ntransfer-encoding: chunked\r\n") + f"0\r\n\r\n{get('/admin')}",
        ),
        "nothing HTTP": (8080, "hello\r\n\r\n"),
        "a TCP probe's port": (7001, "hello\n"),
        "a TCP probe's port, as HTTP": (7001, get("/")),
        "a gRPC probe's port": (9000, get("/grpc.health.v1.Health/Check")),
        "another port's server": (8443, get("/secure")),
    }  # fmt: skip
    answers = send(places["node-1"], modes, tries)
    assert {n: a for n, a in answers.items() if a and not a.startswith(("HTTP/1.1 403", "HTTP/1.1 400"))} == {}
    after = {
        "a second request": (8080, get(ready), get("/admin")),
        "a second request in the same segment": (8080, get(ready) + get("/admin"), ""),
        "a body, and in it a request": (
            8080, get(ready, more=f"content-length: {len(get('/admin'))}\r\n") + get("/admin"), "",
        ),
        "an upgrade to HTTP/2": (8080, get(ready, more=settings), get("/admin")),
    }  # fmt: skip
    answers = send(places["node-1"], modes, after)
    assert {n: a for n, a in answers.items() if "/admin" in a.replace("/ready", "")} == {}
    assert {n: a for n, a in answers.items() if a.count("HTTP/1.1 200") > 1} == {}
    frames = {
        "right": ("GET", f"http://POD:8080{ready}"),
        "another path": ("GET", "http://POD:8080/admin"),
        "two slashes": ("GET", f"http://POD:8080/{ready}"),
        "POST": ("POST", f"http://POD:8080{ready}"),
    }
    found = places["node-1"].python(H2, modes.address, "2", json.dumps(frames))
    # That the probe itself is answered 502 or so is the server's doing, which knows no HTTP/2.
    assert {name: status for name, status in found.items() if name != "right"} == dict.fromkeys(list(frames)[1:], 403)
    tls = {
        "another path": ("GET", "https://POD:8443/"),
        "another method": ("POST", "https://POD:8443/secure"),
        "TLS where there is none": ("GET", f"https://POD:8080{ready}"),
    }
    found = places["node-1"].python(H2, modes.address, "1", json.dumps(tls))
    assert found == {"another path": 403, "another method": 403, "TLS where there is none": 0}
    node = pod_session.Session("node-1", places["node-1"].line)
    try:
        assert node.grpc(f"{modes.address}:9000", "Unary")["code"] == "PERMISSION_DENIED"
        watched = node.grpc(f"{modes.address}:9000", "Stream", service="grpc.health.v1.Health")
        assert watched["code"] == "PERMISSION_DENIED"
    finally:
        node.close()


def test_the_mode_changes_under_open_connections(modes, inside, beside, places):
    node = pod_session.Session("node-1", places["node-1"].line)
    try:
        _there_and_back(modes, inside, beside, node)
    finally:
        node.close()


def _there_and_back(modes, inside, beside, node):
    url, address = f"http://{modes.address}:8080/", modes.address
    inside.hold("lines", "web", 7001)
    inside.talk("lines", "")
    inside.hold("requests", "web", 80)
    assert inside.get("requests", "web") == "web"
    before = modes.steady()
    assert beside.http(url)["status"] == 0

    modes.set(mode="PERMISSIVE")
    got = wait.until(lambda: (a := beside.http(url, headers=forged()))["status"] == 200 and a, "plaintext passes", 40)
    assert got["json"]["peer"].startswith(f"{outsider.STRANGER}:"), "the caller's address is kept"
    assert "admin" not in got["text"]
    assert "x-retic-ip" not in got["json"]["headers"]
    assert "x-forwarded-client-cert" not in got["json"]["headers"]
    other = beside.http(f"http://{address}:8090/", headers=forged())
    assert "admin" in other["text"], "what nobody declares HTTP is passed on as it is"
    banner = beside.say(address, 7001, lines=1)
    print(f"a server that speaks first did so after {banner['seconds']:.2f} s")
    assert outsider.STRANGER in banner["lines"][0]
    assert banner["seconds"] < 6
    tls = beside.say(address, 8443, text="GET / HTTP/1.0\r\n\r\n", tls=True)
    assert tls["lines"][0].startswith("HTTP/1.0 200"), "TLS of the application's own passes"
    counted = {k: v for k, v in modes.mesh.stats("node-1").items() if ".strict." in k and k.endswith("shadow_denied")}
    assert len(counted) == 2, f"of requests and of connections: {counted}"
    print(f"what STRICT would refuse: {counted}")
    assert all(counted.values()), counted
    assert "200" in node.say(address, 8443, text="GET / HTTP/1.0\r\n\r\n", tls=True)["lines"][0]
    beside.hold("lines", address, 7001)
    beside.talk("lines", "")
    beside.hold("requests", address, 8080)
    assert beside.get("requests", "web") == "web"
    assert inside.get("requests", "web") == "web"

    modes.set(mode="STRICT")
    wait.until(lambda: beside.http(url)["status"] == 0, "plaintext is refused", 40)
    assert beside.say(address, 7001, timeout=4)["lines"] in ([""], [])
    assert beside.talk("lines", "b\n").endswith("b\n"), "a connection that was open goes on"
    assert beside.get("requests", "web") == "403", "and its requests are refused, one by one"
    assert inside.talk("lines", "a\n").endswith("a\n")
    assert inside.get("requests", "web") == "web"
    assert modes.steady() == before


def forged():
    return {"x-forwarded-client-cert": FORGED, "X_Forwarded_Client_Cert": FORGED, "x-retic-ip": "admin"}


def test_pods_become_captured_and_released_under_load(modes, inside):
    """Whether pods are reached by mTLS or in plaintext changes for every cluster at once, and no request is lost."""
    modes.set(mode="PERMISSIVE")
    kinds = {
        "HTTP/1": ["http://web/"],
        "HTTP/1, a connection each": ["http://web/", "--new-connections"],
        "by address": [f"http://{modes.address}:8080/"],
    }
    inside.hold("older", "web", 7001)
    inside.talk("older", "")
    running_load = load.Load(modes.mesh, load.LONG, pod="caller", kinds=kinds, node="node-2")
    try:
        for enrolment in ("labelled", "all", "labelled", "all"):
            modes.set(enrolment=enrolment)
            assert inside.talk("older", "still\n").endswith("still\n"), "a connection that is open goes on"
            secured = modes.mesh.stats("node-1").get("http.plaintext.downstream_rq_total", 0)
            print(f"{enrolment}: {secured} requests in plaintext so far")
        assert running_load.running(), "the load went on throughout"
        results = running_load.end()
    finally:
        running_load.close()
    plaintext = modes.mesh.stats("node-1")["http.plaintext.downstream_rq_total"]
    assert plaintext > 100, "pods that are not captured are reached in plaintext"
    assert {kind: one["failed"] for kind, one in results.items()} == dict.fromkeys(kinds, 0), results
