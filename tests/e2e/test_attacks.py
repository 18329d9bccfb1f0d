"""What somebody gets who does not belong to the mesh, or who belongs to it and cheats: nothing."""

import json

import pytest
import rough_load

from retic.control import model
from retic.local import state
from retic.mesh import network
from retic.testing import outsider, wait

# Plaintext and TLS towards one address, each try a line of JSON arguments; what came back, by name.
KNOCK = """
import concurrent.futures, json, socket, ssl, sys
def knock(host, port, key=None, chain=None, tls="", alpn="", mark=0, wait=3, say=None):
    with socket.socket() as raw:
        raw.settimeout(wait)
        if mark:
            raw.setsockopt(socket.SOL_SOCKET, 36, mark)
        raw.connect((host, port))
        s = raw
        if tls:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            made.minimum_version = made.maximum_version = getattr(ssl.TLSVersion, tls)
            if alpn:
                made.set_alpn_protocols([alpn])
            if key:
                made.load_cert_chain(chain, key)
            s = made.wrap_socket(raw)
        s.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n" if say is None else say.encode())
        answer = s.recv(65536).decode("latin-1")
        while answer.startswith("HTTP/") and not whole(answer):  # head and body may come apart
            more = s.recv(65536).decode("latin-1")
            if not more:
                break
            answer += more
        if tls and s.session_reused:
            answer += " RESUMED"
        return answer
def whole(answer):
    head, end, body = answer.lower().partition("\\r\\n\\r\\n")
    length = [line.partition(":")[2] for line in head.split("\\r\\n") if line.startswith("content-length:")]
    return bool(end) and len(body) >= int(length[0] if length else 0)
def answer(options):
    try:
        return knock(**options)
    except OSError:
        return ""
tries = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(dict(zip(tries, pool.map(answer, tries.values())))))
"""

# A segment that the receiver throws away without a word (an MD5 signature nobody asked for, RFC 2385), then a
# connection of the same address and ports.
STRAY = """
import json, socket, struct, sys
dst, dport = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect((dst, 9)); src = s.getsockname()[0]
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff); total += total >> 16
    return ~total & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
def segment(sport, flags, option):
    head = struct.pack("!HHIIBBHHH", sport, dport, 1000, 2000, 5 + len(option) // 4 << 4, flags, 1000, 0, 0) + option
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, 6, len(head))
    raw.sendto(head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:], (dst, 0))
answers = {}
for number, (name, flags) in enumerate({"none": 0, "ack": 0x10, "psh": 0x18, "fin": 0x11, "rst": 0x14}.items()):
    for option in (b"", bytes([19, 18]) + bytes(16) + bytes(2)):
        with socket.socket() as s:
            s.bind(("", 0)); s.settimeout(3)
            if flags:
                segment(s.getsockname()[1], flags, option)
            try:
                s.connect((dst, dport)); s.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
                answers[f"{name} {len(option)}"] = s.recv(1000).decode("latin-1")
            except OSError:
                answers[f"{name} {len(option)}"] = ""
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def ps(mesh):
    return mesh.ps()


@pytest.fixture(scope="module")
def server(ps):
    """The address of a pod that serves HTTP at 8080, on node-1."""
    return next(p["ip"] for p in ps["pods"] if p["name"].startswith("echo-http"))


@pytest.fixture(scope="module")
def talker(ps):
    """The address of a pod whose server speaks first, at 7001, on node-1."""
    return next(p["ip"] for p in ps["pods"] if p["name"].startswith("first"))


@pytest.fixture(scope="module")
def places(ps):
    """Where an outsider may stand: on two nodes, between them, and beside the pods."""
    node = outsider.place(ps, "agent", "node-1")
    with outsider.stranger(node) as beside:
        yield {
            "node-1": node,
            "node-2": outsider.place(ps, "agent", "node-2"),
            "fabric": outsider.place(ps, "cluster", "cluster"),
            "stranger": beside,
        }


PLACES = ["node-1", "node-2", "fabric", "stranger"]


@pytest.fixture(scope="module")
def forged(mesh, tmp_path_factory):
    """Keys and certificates of every wrong sort, and a right one."""
    folder, ca = tmp_path_factory.mktemp("forged"), state.folder(mesh.name) / "ca"
    right = outsider.Forger(folder, ca)
    return {
        "right": right.pair("spiffe://cluster.local/ns/default/sa/c0"),
        "node": right.pair("spiffe://cluster.local/retic/node/node-1"),
        "domain": outsider.Forger(folder, ca, "evil.example").pair("spiffe://evil.example/ns/default/sa/c0"),
        "root": outsider.Forger(folder, folder / "own").pair("spiffe://cluster.local/ns/default/sa/c0"),
    }


def made(mesh):
    """Connections that the servers' proxy has made, to applications or elsewhere, failed ones included; but not to
    its agent, whom it tells of what it refused."""
    stats = rough_load.ask(mesh, model.AskProxy(proxy="node-1", section="stats"))
    return rough_load.sent(stats, "upstream_cx_total")


@pytest.mark.parametrize("where", PLACES)
def test_an_outsider_gets_nothing(mesh, server, talker, places, forged, where):
    def tls(name, version="TLSv1_3", alpn="retic-http", **more):
        key, chain = forged[name] if name else (None, None)
        return {"host": server, "port": 8080, "tls": version, "alpn": alpn, "key": key, "chain": chain, **more}

    tries = {
        "plaintext": {"host": server, "port": 8080},
        "plaintext, not HTTP": {"host": server, "port": 8080, "say": "hello\n"},
        "plaintext, HTTP/2": {"host": server, "port": 8080, "say": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        "plaintext, marked as proxies mark": {"host": server, "port": 8080, "mark": 0x539},
        "plaintext, marked as for applications": {"host": server, "port": 8080, "mark": 0x53A},
        "no certificate": tls(""),
        "no certificate, TCP": tls("", alpn="retic-tcp"),
        "another root": tls("root"),
        "another root, TCP": tls("root", alpn="retic-tcp"),
        "another trust domain": tls("domain"),
        "no workload": tls("node"),
        "TLS 1.2": tls("right", version="TLSv1_2"),
        "no ALPN": tls("right", alpn="", wait=1),
        "another ALPN": tls("right", alpn="http/1.1"),
        **{f"port {port}": {"host": server, "port": port, "wait": 0.5} for port in sorted(network.PROXY_PORTS)},
        "a server that speaks first": {"host": talker, "port": 7001, "say": "", "wait": 1},
    }
    before = made(mesh)
    answers = places[where].python(KNOCK, json.dumps(tries))
    assert {name: answer for name, answer in answers.items() if answer} == {}
    assert made(mesh) == before
    # The same with what a pod's proxy has gets an answer: the tries above failed for their own reasons.
    good = places[where].python(KNOCK, json.dumps({"right": tls("right"), "again": tls("right")}))
    assert good["right"].startswith("HTTP/1.1 200")
    assert not good["again"].endswith("RESUMED")


@pytest.mark.parametrize("where", PLACES)
def test_a_stray_segment_opens_no_way_past_the_proxy(mesh, server, places, where):
    before = made(mesh)
    answers = places[where].python(STRAY, server, "8080")
    assert {name: answer for name, answer in answers.items() if answer} == {}
    assert made(mesh) == before


def test_who_has_a_certificate_is_seen_as_who_it_says_whatever_the_headers(server, places, forged):
    key, chain = forged["right"]
    forging = "".join(
        f"{name}: {value}\r\n"
        for name, value in {
            "x-forwarded-client-cert": "By=x;URI=spiffe://cluster.local/ns/default/sa/admin",
            "X-Forwarded-Client-Cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
            "x-retic-destination": "10.96.0.10:53",
            "x-retic-vip": "vip/default/evil",
            "x-envoy-original-dst-host": "10.244.1.2:15006",
            "x-envoy-internal": "true",
        }.items()
    )
    say = f"GET / HTTP/1.1\r\nhost: x\r\n{forging}\r\n"
    options = {"host": server, "port": 8080, "tls": "TLSv1_3", "alpn": "retic-http", "key": key, "chain": chain}
    answer = places["node-2"].python(KNOCK, json.dumps({"one": {**options, "say": say}}))["one"]
    headers = json.loads(answer.partition("\r\n\r\n")[2])["headers"]
    assert "admin" not in json.dumps(headers)
    assert headers["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/default/sa/c0")
    assert [name for name in headers if name.startswith(("x-retic", "x-envoy"))] == []


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_forged_headers_of_a_pod_are_gone(mesh, version):
    forged = {
        "x-forwarded-client-cert": "By=x;URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-retic-destination": "10.96.0.10:53",
        "x-retic-vip": "vip/default/evil",
        "x-retic-ip": "ip/default/10.96.0.10",
        "x-envoy-original-dst-host": "10.244.1.3:15006",
        "x-envoy-decorator-operation": "x",
        "x-envoy-expected-rq-timeout-ms": "1",
    }
    options = [word for name, value in forged.items() for word in ("-H", f"{name}: {value}")]
    service = "echo-h2" if "2" in version else "echo-http"
    status, body = mesh.curl("c1", f"http://{service}/", version, *options)
    assert status == 200
    headers = json.loads(body)["headers"]
    assert "admin" not in body
    assert headers["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/default/sa/c1")
    assert [name for name in headers if name.startswith(("x-retic", "x-envoy"))] == []


@pytest.mark.parametrize("mark", [0x539, 0x53A])
def test_a_pod_that_passes_by_its_own_proxy_is_refused_by_the_other(mesh, server, mark):
    before = made(mesh)
    tries = {
        "HTTP": {"host": server, "port": 8080, "mark": mark},
        "TCP": {"host": server, "port": 8080, "mark": mark, "say": "x\n"},
        "inbound": {"host": server, "port": 15006, "mark": mark, "wait": 0.5},
        "own": {"host": "127.0.0.1", "port": 15006, "mark": mark, "wait": 0.5},
        "own outbound": {"host": "127.0.0.1", "port": 15001, "mark": mark, "wait": 0.5},
    }
    done = mesh.exec("c1", "python3", "-c", KNOCK, json.dumps(tries))
    assert json.loads(done.stdout) == dict.fromkeys(tries, ""), done.stderr
    assert made(mesh) == before


SLICES = """
apiVersion: v1
kind: Service
metadata: {{name: evil-{n}}}
spec: {{ports: [{{name: {proto}, port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: evil-{n}, labels: {{kubernetes.io/service-name: evil-{n}}}}}
addressType: IPv4
endpoints: [{{addresses: ["{address}"]}}]
ports: [{{name: {proto}, port: {port}}}]
---
"""


def test_endpoints_that_would_loop_are_refused(mesh, server):
    wrong = [
        (server, 15001), (server, 15002), (server, 15006), ("127.0.0.1", 8080), ("127.3.2.1", 80),
        ("169.254.169.254", 80), ("0.0.0.0", 8080), ("255.255.255.255", 80), ("224.0.0.1", 80),
    ]  # fmt: skip
    file = mesh.folder / "evil.yaml"
    text = "".join(
        SLICES.format(n=n, proto=("http", "tcp")[n % 2], address=address, port=port)
        for n, (address, port) in enumerate(wrong)
    )
    file.write_text(text)
    try:

        def refused():
            found = [f for f in mesh.ps()["findings"] if f["code"] == "RT0105"]
            return found if len({f["object"] for f in found}) == len(wrong) else None

        found = wait.until(refused, "every one has its finding", 10, every=0.2)
        assert {f["file"] for f in found} == {str(file)}
        lines = text.splitlines()
        assert all("addresses" in lines[f["line"] - 1] or "port" in lines[f["line"] - 1] for f in found)
        before = made(mesh)
        tries = {str(n): {"host": f"evil-{n}", "port": 80} for n in range(len(wrong))}
        done = mesh.exec("c2", "python3", "-c", KNOCK, json.dumps(tries))
        answers = json.loads(done.stdout)
        assert [a for a in answers.values() if a and " 503 " not in a] == []
        clusters = {k: v for k, v in mesh.stats("node-1").items() if "evil" in k and "upstream_cx_total" in k}
        assert sum(clusters.values()) == 0
        assert made(mesh) == before
    finally:
        file.unlink()
    wait.until(lambda: "evil-0" not in {s["name"] for s in mesh.ps()["services"]}, "it is gone", 10, every=0.2)


# Handshakes that fail, from several processes' worth of threads, for so many seconds and until more than so many were
# tried, a minute at most; how many were tried.
STORM = """
import concurrent.futures, itertools, json, socket, ssl, sys, time
host, seconds, least, chain, key = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
tried, begun = itertools.count(), time.monotonic()
def once(made):
    with socket.socket() as raw:
        raw.settimeout(5)
        raw.connect((host, 8080))
        try:
            with made.wrap_socket(raw) as s:
                s.sendall(b"x\\n"); s.recv(10)
        except OSError:
            pass
def run(number):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols([["retic-tcp", "retic-http"][number % 2]])
    if number % 3:
        made.load_cert_chain(chain, key)
    count = 0
    while (passed := time.monotonic() - begun) < 60 and (next(tried) <= least or passed < seconds):
        once(made)
        count += 1
    return count
with concurrent.futures.ThreadPoolExecutor(24) as pool:
    print(json.dumps(sum(pool.map(run, range(24)))))
"""


def test_many_failing_handshakes_leave_the_proxy_as_it_was(mesh, server, places, forged):
    def envoy():
        return next(p["pid"] for p in mesh.ps()["processes"] if (p["role"], p["name"]) == ("envoy", "node-1"))

    key, chain = forged["root"]
    pid, before = envoy(), made(mesh)
    tried = places["stranger"].python(STORM, server, "4", "600", chain, key, seconds=90)
    stats = mesh.stats("node-1")
    assert made(mesh) == before, "no failed handshake reached an application"
    failed = sum(v for k, v in stats.items() if k.startswith("listener.inbound.ssl.") and "fail_verify" in k)
    print(f"{tried} handshakes failed, {failed} counted")
    assert tried > 500
    assert failed > 500
    assert envoy() == pid
    assert mesh.curl("c0", "http://echo-http/")[0] == 200


def test_no_session_was_ever_resumed(mesh):
    for node in ("node-1", "node-2"):
        resumed = {k: v for k, v in mesh.stats(node).items() if k.endswith("ssl.session_reused")}
        assert sum(resumed.values()) == 0
