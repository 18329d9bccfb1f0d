"""The rules inside the pod, every case through real Envoys."""

import json

import pytest
import rough_load

CONNECT = """
import json, socket, sys, time
host, port, say = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
begin = time.monotonic()
answer = {"connected": False, "data": "", "error": ""}
try:
    s = socket.create_connection((host, port), 8)
    answer["connected"] = True
    if say:
        s.sendall(say)
    s.settimeout(8)
    answer["data"] = s.recv(4096).decode("latin-1")
except OSError as error:
    answer["error"] = type(error).__name__
answer["seconds"] = time.monotonic() - begin
print(json.dumps(answer))
"""


def connect(mesh, pod, host, port, say=""):
    done = mesh.exec(pod, "python3", "-c", CONNECT, host, str(port), say)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def addresses(mesh):
    ps = mesh.ps()
    found = {p["name"].rsplit("-", 2)[0] if p["name"].count("-") > 1 else p["name"]: p["ip"] for p in ps["pods"]}
    return found | {"svc/" + s["name"]: s["address"] for s in ps["services"]}


@pytest.mark.parametrize("client", ["c0", "c1"])
@pytest.mark.parametrize("options", [[], ["--http1.0"], ["-H", "Host: nonsense"], ["--data-binary", "@BODY"]])
def test_http_reaches_a_service_from_the_callers_address_with_its_identity(
    mesh, addresses, client, options, tmp_path
):
    body_file = tmp_path / "body"
    body_file.write_bytes(b"x" * 5_000_000)
    options = [word.replace("BODY", str(body_file)) for word in options]
    status, body = mesh.curl(client, "http://echo-http/path?q=1", *options)
    assert status == 200
    seen = json.loads(body)
    assert seen["peer"].rpartition(":")[0] == addresses[client]
    assert seen["path"] == "/path"
    assert seen["headers"]["x-forwarded-client-cert"].endswith(f"URI=spiffe://cluster.local/ns/default/sa/{client}")
    if options[:1] == ["--data-binary"]:
        assert seen["body_bytes"] == 5_000_000


def test_http2_with_prior_knowledge(mesh):
    status, body = mesh.curl("c0", "http://echo-h2/", "--http2-prior-knowledge")
    assert status == 200
    assert json.loads(body)["protocol"].startswith("HTTP/2")


def test_a_pod_is_reached_by_its_own_address(mesh, addresses):
    status, body = mesh.curl("c0", f"http://{addresses['echo-http']}:8080/")
    assert status == 200
    assert json.loads(body)["headers"]["x-forwarded-client-cert"].endswith("/sa/c0")


def test_a_pod_calls_its_own_service_and_its_own_address(mesh, addresses):
    for url in ("http://echo-http/", f"http://{addresses['echo-http']}:8080/"):
        status, body = mesh.curl("deploy/echo-http", url)
        assert status == 200
        assert json.loads(body)["peer"].rpartition(":")[0] == addresses["echo-http"]


def test_plain_tcp(mesh, addresses):
    answer = connect(mesh, "c0", "echo-tcp", 7000, "hello\n")
    assert answer["data"].endswith("hello\n")
    assert addresses["c0"] in answer["data"]


def test_a_server_that_speaks_first_is_never_looked_into(mesh, addresses):
    before = mesh.stats("node-1")["listener.opaque.downstream_cx_total"]
    answer = connect(mesh, "c0", "first", 7001)
    assert "ready" in answer["data"]
    assert addresses["c0"] in answer["data"]
    assert mesh.stats("node-1")["listener.opaque.downstream_cx_total"] == before + 1


def test_a_closed_port_is_answered_at_once(mesh, addresses):
    status, _ = mesh.curl("c0", f"http://{addresses['echo-http']}:9/")
    assert status == 503
    answer = connect(mesh, "c0", addresses["echo-http"], 9, "x")
    assert answer["data"] == ""
    assert answer["seconds"] < 4, "an answer, not a time-out"


def test_an_address_that_nobody_has(mesh):
    for _ in range(2):
        status, _ = mesh.curl("c0", "http://10.96.200.200/")
        assert status == 503
    for _ in range(2):
        status, _ = mesh.curl("c0", "http://10.244.1.250:80/")
        assert status == 503


def test_forged_headers_are_gone(mesh):
    forged = {
        "x-forwarded-client-cert": "By=x;URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-retic-destination": "10.96.0.10:53",
        "x-retic-vip": "vip/default/evil",
        "x-retic-ip": "ip/default/evil",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "X-Envoy-Original-Path": "/x",
    }
    options = [w for k, v in forged.items() for w in ("-H", f"{k}: {v}")]
    status, body = mesh.curl("c0", "http://echo-http/", *options)
    assert status == 200
    headers = json.loads(body)["headers"]
    assert "admin" not in headers["x-forwarded-client-cert"]
    assert [h for h in headers if h.startswith(("x-retic", "x-envoy"))] == []


def proxy_connections(mesh):
    total = 0
    for node in ("node-1", "node-2"):
        stats = mesh.stats(node)
        total += rough_load.sent(stats, "upstream_cx_total")
    return total


@pytest.mark.parametrize("port", [15001, 15002, 15006, 15101, 15102, 15106])
def test_proxy_ports_are_closed_to_pods(mesh, addresses, port):
    before = proxy_connections(mesh)
    for target in (addresses["echo-http"], "127.0.0.1", addresses["c1"]):
        answer = connect(mesh, "c1", target, port, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answer["data"] == ""
        assert not answer["connected"]
    assert proxy_connections(mesh) == before


def test_websocket(mesh):
    code = (
        "import asyncio, websockets\n"
        "async def main():\n"
        "    async with websockets.connect('ws://echo-http/ws') as ws:\n"
        "        await ws.recv()\n"
        "        await ws.send('hello')\n"
        "        print(await ws.recv())\n"
        "asyncio.run(main())\n"
    )
    done = mesh.exec("c0", "python3", "-c", code)
    assert "hello" in done.stdout, done.stderr
