"""A pod that cheats, with root in its own namespace: it gets what it may have, and its neighbours go on."""

import json
import pathlib
import subprocess
import sys

import live
import pytest
import test_attacks

from retic.local import state
from retic.testing import outsider

FLOODS = pathlib.Path(__file__).with_name("flood_client.py")
KNOCK = test_attacks.KNOCK
FORGED = "URI=spiffe://cluster.local/ns/default/sa/admin"


@pytest.fixture(scope="module")
def ps(mesh):
    return mesh.ps()


@pytest.fixture(scope="module")
def address(ps):
    """The address of the pod whose name begins so."""
    return lambda name: next(p["ip"] for p in ps["pods"] if p["name"].startswith(name))


def envoy(mesh):
    return next(p["pid"] for p in mesh.ps()["processes"] if (p["role"], p["name"]) == ("envoy", "node-1"))


def neighbour(mesh):
    return [mesh.curl("c1", "http://echo-http/")[0] for _ in range(3)]


def overflows(mesh):
    """Connections refused on node-1: those of a listener that had its share, and those nobody had room for."""
    stats = mesh.stats("node-1")
    return [
        sum(v for k, v in stats.items() if k.startswith("listener.") and k.endswith(f".{name}"))
        for name in ("downstream_cx_overflow", "downstream_global_cx_overflow")
    ]


# Opens connections, a line and its echo on each, until 50 in a row were refused; then holds them till told.
HOARD = """
import resource, socket, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, refused = [], 0
while refused < 50 and len(held) < min(9000, most - 100):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect((sys.argv[1], 7000)); s.sendall(b"x\\n")
        answer = s.recv(100)
    except OSError:
        answer = b""
    if answer:
        held.append(s); refused = 0
    else:
        s.close(); refused += 1
print(len(held), flush=True)
sys.stdin.readline()
"""


def test_a_pod_that_hoards_connections_leaves_room_for_its_neighbours(mesh):
    before = overflows(mesh)
    line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", mesh.name, "c4", "--"]
    with subprocess.Popen(
        [*line, "python3", "-c", HOARD, "echo-tcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as hoard:
        try:
            held = int(hoard.stdout.readline())
            assert neighbour(mesh) == [200] * 3
            tries = {"the same server": {"host": "echo-tcp", "port": 7000, "say": "x\n"}}
            done = mesh.exec("c1", "python3", "-c", KNOCK, json.dumps(tries))
            assert all(json.loads(done.stdout).values()), "the server that it hoards has room as well"
        finally:
            hoard.stdin.close()
            hoard.wait(20)
    share, nobody = (now - then for now, then in zip(overflows(mesh), before, strict=True))
    assert held > 100
    assert share >= 50
    assert nobody == 0


# The pod's own rules send what its proxy sends back to the proxy: one connection becomes as many as there may be.
LOOP = """
import socket, subprocess, sys
rules = ("table inet loop {\\n chain output {\\n type nat hook output priority -101\\n"
         " ip daddr 10.244.0.0/16 tcp dport 7000 redirect to :15001\\n }\\n}\\n")
subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
try:
    with socket.create_connection((sys.argv[1], 7000), 20) as s:
        s.sendall(b"x\\n")
        try:
            print(repr(s.recv(100)))
        except ConnectionResetError:
            print("b''")
finally:
    subprocess.run(["nft", "delete", "table", "inet", "loop"], check=True)
"""


def test_a_pod_that_loops_its_own_proxy_meets_its_share(mesh, address):
    pid, before = envoy(mesh), overflows(mesh)
    done = mesh.exec("c5", "env", "PATH=/usr/sbin:/sbin:/usr/bin:/bin", "python3", "-c", LOOP, address("echo-tcp"))
    assert done.stdout.strip() == "b''", done.stderr
    share, nobody = (now - then for now, then in zip(overflows(mesh), before, strict=True))
    assert share >= 1
    assert nobody == 0
    assert envoy(mesh) == pid
    assert neighbour(mesh) == [200] * 3


# What leaves for 192.0.2.N has another destination on the wire, the Nth of `targets`.
WIRE = """
import subprocess, sys
via, *targets = sys.argv[1:]
rules = ["table ip wire {", " chain out {", "  type filter hook postrouting priority 300", " }",
         " chain back {", "  type filter hook prerouting priority -400", " }", "}"]
for n, target in enumerate(targets):
    rules[3:3] = [f"  ip daddr 192.0.2.{n} ip daddr set {target}"]
    rules[-2:-2] = [f"  iifname eth0 ip saddr {target} ip saddr set 192.0.2.{n}"]
subprocess.run(["ip", "route", "add", "192.0.2.0/24", "via", via], check=True)
subprocess.run(["nft", "-f", "-"], input="\\n".join(rules) + "\\n", text=True, check=True)
print("true")
"""


def test_what_listens_on_a_pods_loopback_is_reached_by_nobody_else(mesh, ps, address, tmp_path):
    server = address("echo-http")
    key, chain = outsider.Forger(tmp_path, state.folder(mesh.name) / "ca").pair("spiffe://cluster.local/ns/default/sa/c0")
    with outsider.stranger(outsider.place(ps, "agent", "node-1"), "10.244.1.201", "stranger1") as pod:
        assert pod.python(WIRE, server, server, "127.0.0.1", "127.8.8.8")
        tls = {"port": 8080, "tls": "TLSv1_3", "key": key, "chain": chain, "wait": 1}
        tries = {
            f"{n} {alpn}": {"host": f"192.0.2.{n}", "alpn": alpn, **tls}
            for n in range(3) for alpn in ("retic-http", "retic-tcp")
        }  # fmt: skip
        answers = pod.python(KNOCK, json.dumps(tries))
    assert {name for name, answer in answers.items() if answer.startswith("HTTP/1.1 200")} == {
        "0 retic-http", "0 retic-tcp",
    }  # fmt: skip
    assert [answer for name, answer in answers.items() if answer and name[0] != "0"] == []


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_the_callers_identity_cannot_be_written_with_underscores(mesh, version):
    names = ["x_forwarded_client_cert", "X-Forwarded_Client-Cert", "x_forwarded-client_cert"]
    options = [word for name in names for word in ("-H", f"{name}: {FORGED}")]
    status, body = mesh.curl("c1", "http://echo-h2/" if "2" in version else "http://echo-http/", version, *options)
    assert status == 200
    said = {k: v for k, v in json.loads(body)["headers"].items() if "client" in k}
    assert list(said) == ["x-forwarded-client-cert"]
    assert said["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/default/sa/c1")


SMUGGLED = {
    "both lengths": "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG",
    "an unknown coding": "content-length: 6\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\nG",
    "a space before the colon": "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "content-length: 6\r\ncontent-length: 5\r\n\r\nabcdef",
    "a signed length": "content-length: +6\r\n\r\nabcdef",
    "a line feed in a chunk's extension": 'transfer-encoding: chunked\r\n\r\n3;a="\nb"\r\nabc\r\n0\r\n\r\n',
    "a zero byte": "x-a: b\0c\r\n\r\n",
    "a header of 65 kB": f"x-a: {'a' * 65_000}\r\n\r\n",
    "1,000 headers": "a: 1\r\n" * 1000 + "\r\n",
}


def test_what_two_servers_could_read_differently_is_refused(mesh):
    tries = {
        name: {"host": "echo-http", "port": 80, "say": f"POST /x HTTP/1.1\r\nhost: x\r\n{text}"}
        for name, text in SMUGGLED.items()
    }
    tunnels = {
        "connect": "CONNECT 10.96.0.10:53 HTTP/1.1\r\nhost: 10.96.0.10:53\r\n\r\n",
        "upgrade": "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: else\r\n\r\n",
    }
    tries |= {name: {"host": "echo-http", "port": 80, "say": text} for name, text in tunnels.items()}
    done = mesh.exec("c2", "python3", "-c", KNOCK, json.dumps(tries))
    statuses = {name: answer.partition(" ")[2][:3] for name, answer in json.loads(done.stdout).items()}
    wanted = {name: "431" if name[0] == "1" or "kB" in name else "400" for name in SMUGGLED}
    assert statuses == wanted | dict.fromkeys(tunnels, "403")


def test_floods_of_http2_leave_the_proxy_and_its_neighbours_as_they_were(mesh):
    pid = envoy(mesh)
    flood = mesh.start("c3", sys.executable, str(FLOODS), "echo-h2", "80")
    seen = neighbour(mesh)
    out, err = flood.communicate(timeout=60)
    answers = json.loads(out or "null")
    assert flood.returncode == 0, err
    assert {name for name, closed in answers["forged"].items() if not closed} == set()
    assert answers["floods"]["resets"], "a connection that resets its streams as fast as it opens them is closed"
    assert seen + neighbour(mesh) == [200] * 6
    assert envoy(mesh) == pid


# Asks for a certificate as node-1, with tokens of so many bytes.
ENROL = """
import grpc, json, sys
root, size = sys.argv[1].encode(), int(sys.argv[2])
options = [("grpc.ssl_target_name_override", "control.retic.internal"), ("grpc.enable_http_proxy", 0)]
with grpc.secure_channel("172.31.255.1:15011", grpc.ssl_channel_credentials(root), options) as channel:
    ask = json.dumps({"client_id": "node/node-1", "token": "0" * size, "request": "x"}).encode()
    try:
        channel.unary_unary("/retic.v1.Authority/Enroll")(ask, timeout=10); print("OK")
    except grpc.RpcError as error:
        print(error.code().name)
"""


@pytest.mark.parametrize(("size", "code"), [(64, "PERMISSION_DENIED"), (3_000_000, "RESOURCE_EXHAUSTED")])
def test_a_pod_can_neither_enrol_nor_fill_the_control_plane(mesh, size, code):
    root = (state.folder(mesh.name) / "ca" / "root.pem").read_text()
    done = mesh.exec("c2", sys.executable, "-c", ENROL, root, str(size))
    assert done.stdout.strip() == code, done.stderr


# Asks for names that are not there, as fast as it can, till told to end.
ASK = """
import socket, struct, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.96.0.10", 53))
tail = b"\\x07default\\x03svc\\x07cluster\\x05local\\0\\0\\1\\0\\1"
print("asking", flush=True)
number = 0
while not ended.is_set() and number < 2_000_000:
    label = b"x%d" % number
    try:
        s.send(struct.pack("!HHHHHH", number & 65535, 256, 1, 0, 0, 0) + bytes([len(label)]) + label + tail)
    except OSError:
        pass
    number += 1
"""


def test_a_pod_that_asks_for_names_without_end_leaves_answers_to_its_neighbours(mesh, near):
    line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", mesh.name, "c4", "--"]
    with subprocess.Popen(
        [*line, "python3", "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        try:
            assert asker.stdout.readline() == "asking\n"
            answers = [near.ask_again("echo-http.default.svc.cluster.local") for _ in range(60)]
        finally:
            asker.stdin.close()
            asker.wait(20)
    assert {a["rcode"] for a in answers} == {"NOERROR"}
    assert sum(a["times"] > 1 for a in answers) <= 20


@pytest.mark.parametrize("how", ["keeps silent", "begins with an empty line", "writes http in lower case"])
@pytest.mark.parametrize("by", ["service", "address"])
def test_who_is_not_taken_for_http_forges_no_identity(near, address, how, by):
    """What a port that is declared HTTP receives was parsed as HTTP by its own proxy, whatever the caller's saw."""
    head = f"GET /who HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: {FORGED}\r\nconnection: close\r\n\r\n"
    text, silent = {
        "keeps silent": (head, 0.3),
        "begins with an empty line": ("\r\n" + head, 0.0),
        "writes http in lower case": (head.replace("HTTP/1.1", "http/1.1"), 0.0),
    }[how]
    host, port = ("echo-http", 80) if by == "service" else (address("echo-http"), 8080)
    answer = near.raw(host, port, text, silent=silent)
    status = answer.split(" ", 2)[1]
    assert FORGED not in answer
    if status != "400":
        assert status == "200", answer
        assert json.loads(answer.partition("\r\n\r\n")[2])["headers"]["x-forwarded-client-cert"].endswith("/sa/c0")


def test_case_hides_no_header_of_the_proxys(near):
    forged = "X-ENVOY-INTERNAL: true\r\nX-Retic-Vip: vip/default/evil\r\nX-Forwarded-Client-CERT: " + FORGED
    text = near.raw("echo-http", 80, f"GET / HTTP/1.1\r\nhost: x\r\n{forged}\r\nconnection: close\r\n\r\n")
    headers = json.loads(text.partition("\r\n\r\n")[2])["headers"]
    assert [name for name in headers if name.lower().startswith(("x-retic", "x-envoy"))] == []
    assert headers["x-forwarded-client-cert"].endswith("/sa/c0")


# With a client's certificate and a node id of the asker's choice: which names are answered with something.
SPY = """
import asyncio, contextlib, json, sys
from retic.envoy import names
from retic.identity import client
from retic.testing import discovery, wait
root, key, chain = (open(path, "rb").read() for path in sys.argv[1:4])
asked = json.loads(sys.argv[5])
async def main():
    channel = client.Channel("172.31.255.1:15010", root, key, chain)
    spy = discovery.Client(channel.channel, sys.argv[4])
    spy.reading.clear()  # it acknowledges later: a stream takes one message at a time
    await spy.connect()
    refused = asyncio.ensure_future(spy.failure())
    with contextlib.suppress(asyncio.InvalidStateError):
        for name in asked:
            await spy.subscribe(names.parse(name).type_url, name)
    spy.reading.set()
    done = lambda: {one for r in spy.log for one in [*(x.name for x in r.resources), *r.removed]} >= set(asked)
    await wait.until_async(lambda: done() or refused.done(), "everything is answered", seconds=10)
    told = sorted(name for (_, name), content in spy.held.items() if b"nowhere" not in content)
    print(json.dumps(refused.result()[0].name if refused.done() else told))
    await spy.disconnect()
    await channel.close()
asyncio.run(main())
"""


def test_a_nodes_certificate_opens_no_other_nodes_names(mesh, ps, address, tmp_path):
    folder = state.folder(mesh.name) / "ca"
    forger = outsider.Forger(tmp_path, folder)
    fabric = outsider.place(ps, "cluster", "cluster")
    (guest,) = live.objects(mesh, "Pod", "guest")
    web = next(s for s in ps["services"] if s["name"] == "echo-http")
    asked = [
        "routes/other", f"vip/other/{web['address']}:80", f"ip/other/{address('echo-http')}",
        "service/other/default/echo-http/80", "grpc/other/default/echo-http/80",
        *(f"{kind}/{guest.metadata.uid}" for kind in ("inbound", "outbound", "opaque", "filter/plaintext")),
    ]  # fmt: skip

    def told(identity, said):
        key, chain = forger.pair(f"spiffe://cluster.local/retic/{identity}")
        for _ in range(5):
            answer = fabric.python(SPY, str(folder / "root.pem"), key, chain, said, json.dumps(asked))
            if answer != "INTERNAL":  # gRPC's word where a stream ends before its client has written all
                break
        return answer

    assert told("node/node-2", "node/node-2") == sorted(asked), "that node has a pod of the namespace"
    assert told("node/node-1", "node/node-1") == []
    assert told("gateway/default/front", "gateway/default/front") == []
    for own in ("node/node-1", "gateway/default/front"):
        assert told(own, "node/node-2") == "PERMISSION_DENIED", "nobody is who it says, but who its certificate says"
