"""Whatever pods speak, from near and far: HTTP in all versions, gRPC, WebSocket, TCP, and TLS of their own."""

import json

import pytest

ECHO = "retic.testing.Echo"


@pytest.fixture(params=["near", "far"])
def pod(request):
    """A pod of each node."""
    return request.getfixturevalue(request.param)


def test_http_1_0_is_answered_and_closed(pod):
    text = pod.raw("echo-http", 80, "GET /old HTTP/1.0\r\n\r\n")
    assert text.split()[1] == "200"
    assert json.loads(text.partition("\r\n\r\n")[2])["path"] == "/old"


def test_http_1_1_keeps_connections(pod):
    pod.hold("keep", "site-v1", 80)
    assert [pod.get("keep", "site-v1") for _ in range(3)] == ["v1"] * 3


def test_chunked_bodies_both_ways(pod):
    request = "POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    text = pod.raw("echo-http", 80, request + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    assert '"body_bytes": 11' in text
    answer = pod.http("http://echo-http/stream/20")
    assert answer["text"].split() == [str(i) for i in range(20)]
    assert answer["headers"]["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("path", ["/a%2Fb?x=%20y&x=z", "/a//b/../c", "/%7Euser/;p=1"])
def test_paths_arrive_as_they_were_written(near, path):
    text = near.raw("echo-http", 80, f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    seen = json.loads(text.partition("\r\n\r\n")[2])
    assert "?".join(filter(None, (seen["path"], seen["query"]))) == path


def test_the_host_header_is_left_alone_and_decides_nothing(near):
    for host in ("site-v2", "nonsense.example", "site-v1:81"):
        answer = near.http("http://site-v1/", host=host)
        assert (answer["json"]["version"], answer["json"]["headers"]["host"]) == ("v1", host)


@pytest.mark.parametrize("service", ["echo-h2", "h2c"])
def test_http_2_with_prior_knowledge(pod, service):
    answer = pod.http(f"http://{service}/two", version="2")
    assert (answer["status"], answer["version"]) == (200, "HTTP/2")
    assert answer["json"]["protocol"] == "HTTP/2"


def test_an_http_1_client_reaches_an_h2c_server(pod):
    answer = pod.http("http://h2c/one")
    assert (answer["version"], answer["json"]["protocol"]) == ("HTTP/1.1", "HTTP/2")


@pytest.mark.parametrize("status", [204, 304, 404, 503])
def test_statuses_pass(near, status):
    assert near.http(f"http://echo-http/status/{status}")["status"] == status


def test_a_server_that_closes_without_an_answer(near):
    answer = near.http("http://echo-http/close")
    assert answer["status"] in (502, 503)
    assert answer["seconds"] < 8


def test_grpc_in_all_four_shapes(pod):
    unary = pod.grpc("echo-grpc:9000", "Unary", {"message": "hi"})
    assert unary["answers"][0]["message"] == "hi"
    stream = pod.grpc("echo-grpc:9000", "Stream", {"count": 50})
    assert [a["number"] for a in stream["answers"]] == list(range(1, 51))
    chat = pod.grpc("echo-grpc:9000", "Chat", asks=[{"message": str(i)} for i in range(20)])
    assert [a["message"] for a in chat["answers"]] == [str(i) for i in range(20)]
    assert pod.grpc("echo-grpc:9000", "Sum", asks=[{}] * 7)["answers"][0]["number"] == 7


def test_grpc_statuses_and_metadata_pass(pod):
    assert pod.grpc("echo-grpc:9000", "Unary", {"code": "NOT_FOUND", "message": "gone"}) == {
        "code": "NOT_FOUND", "details": "gone",
    }
    seen = pod.grpc("echo-grpc:9000", "Unary", {}, metadata={"x-mine": "1"})["answers"][0]
    assert seen["metadata"]["x-mine"] == "1"
    assert seen["metadata"]["x-forwarded-client-cert"].endswith(("/sa/c0", "/sa/default"))
    assert pod.grpc("echo-grpc:9000", "Unary", {}, service="no.Such")["code"] == "UNIMPLEMENTED"


def test_websocket(pod):
    answer = min((pod.websocket("ws://site-v1/chat", "hello") for _ in range(3)), key=lambda one: one["closing"])
    assert answer["echo"] == "hello"
    assert answer["greeting"]["version"] == "v1"
    assert answer["closing"] < 0.8, "each proxy's wait for the other side is short"


def test_plain_tcp_answers_line_by_line(pod):
    pod.hold("lines", "echo-tcp", 7000)
    assert [pod.talk("lines", f"{i}\n").split()[-1] for i in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("service", ["first-by", "first-heads"])
def test_a_half_closed_connection_is_answered_to_the_end(pod, service):
    """At once where the port says that it is TCP; Envoy drops what ends while it is being looked into."""
    for _ in range(5):
        assert pod.raw(service, 7001, "one\ntwo\n", half_close=True).count("\n") == 3


def test_big_transfers_both_ways_at_once(pod):
    assert pod.transfer("bulk", 7100, 30_000_000) == {"bytes": 30_000_000, "same": True}


@pytest.mark.parametrize(
    ("service", "port"), [("first-by", 7001), ("first-by", 7002), ("first-by", 25), ("first-heads", 7001)]
)
def test_a_server_that_speaks_first_does_so_at_once(pod, service, port):
    pod.say(service, port)
    answer = min((pod.say(service, port) for _ in range(5)), key=lambda a: a["seconds"])
    assert answer["lines"][0].endswith("ready\n")
    assert answer["seconds"] < 0.08, "less than the time a connection is looked into"


def test_a_server_that_speaks_first_unannounced_is_waited_for_a_moment(pod):
    answer = pod.say("first-by", 7003)
    assert answer["lines"][0].endswith("ready\n")
    assert answer["seconds"] < 6


def test_a_connection_stays_while_nothing_is_said(mesh, pod):
    """Nothing on the way may have an idle time-out within reach: asserted by configuration, not by waiting."""
    pod.hold("idle", "echo-tcp", 7000)
    assert pod.talk("idle", "a\n").endswith("a\n")
    listeners = mesh.command("proxy", "node-1", "listeners", "-o", "json")
    text = listeners.stdout.replace(" ", "")
    assert '"tcp_proxy"' in text or "tcp_proxy.v3" in text
    proxies = list(_with_type(json.loads(listeners.stdout), "tcp_proxy.v3.TcpProxy"))
    assert proxies
    assert {p.get("idle_timeout") for p in proxies} == {"0s"}
    assert pod.talk("idle", "b\n").endswith("b\n")


def _with_type(value, ending):
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(ending):
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _with_type(item, ending)


def test_pods_of_a_headless_service_by_name_with_their_identity(near):
    def first(host):
        answer = near.say(host, 3306)
        assert answer["lines"], answer
        return answer["lines"][0].split()[0]

    assert [first(f"db-{i}.db") for i in (0, 1)] == ["db-0", "db-1"]
    assert first("db") in ("db-0", "db-1")


def test_a_pods_address_on_any_port(mesh, pod):
    address = next(p["ip"] for p in mesh.ps()["pods"] if p["name"].startswith("site-v2"))
    assert pod.http(f"http://{address}:8080/")["json"]["version"] == "v2"
    answer = pod.http(f"http://{address}:8081/")
    assert answer["status"] == 503
    assert answer["seconds"] < 8
