"""Gateways from the host: on 127.0.0.1, with and without TLS, by host name, in every protocol, edited live."""

import os
import socket

import live
import pod_probes
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fronts import address, free_ports, gateway, listener, secret, shown, tagged, taken

from retic.testing import tls_pairs, wait


class Front:
    """The gateway most tests share, and its ports."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.http, self.https, self.extra = free_ports(3)
        self.pairs = {h: tls_pairs.pair(h) for h in ("one.example.com", "*.example.com", "two.test")}
        self.listeners = [
            listener("all", self.http), listener("one", self.http, "one.example.com"),
            listener("any", self.http, "*.example.com"),
            listener("tls-one", self.https, "one.example.com", ["cert-0"]),
            listener("tls-any", self.https, "*.example.com", ["cert-1"]),
            listener("tls-two", self.https, "two.test", ["cert-2"]),
        ]

    def objects(self):
        return [
            *(secret(f"cert-{i}", pair) for i, pair in enumerate(self.pairs.values())),
            gateway("front", *self.listeners),
            tagged("g-all", "front", section="all"),
            tagged("g-one", "front", "/one", section="one"),
            tagged("g-any", "front", section="any"),
            tagged("g-host", "front", section="any", hostnames=["deep.sub.example.com", "unrelated.test"]),
            tagged("g-tls", "front", section="tls-one"),
            tagged("g-tls-any", "front", section="tls-any", backend="site-v2"),
            tagged("g-h2c", "front", "/h2c", section="tls-two", backend="h2c"),
            tagged("g-two", "front", section="tls-two"),
            live.route("g-go", {"name": "front", "sectionName": "all"}, {
                "matches": [{"path": {"type": "PathPrefix", "value": "/go"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}],
            }, {
                "matches": [{"path": {"type": "PathPrefix", "value": "/away"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "else.test"}}],
            }, {
                "matches": [{"path": {"type": "PathPrefix", "value": "/here"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {
                    "path": {"type": "ReplaceFullPath", "replaceFullPath": "/there"}}}],
            }),
            live.service("g-grpc", {"app": "echo-grpc"}, {"name": "unsaid", "port": 9000}),
            live.route("g-grpc", {"name": "front", "sectionName": "all"}, {
                "matches": [{"method": {"service": "retic.testing.Echo"}}],
                "backendRefs": [{"name": "g-grpc", "port": 9000}],
            }, kind="GRPCRoute"),
            live.route("g-grpc-tls", {"name": "front", "sectionName": "tls-two"}, {
                "matches": [{"method": {"service": "retic.testing.Echo"}}],
                "backendRefs": [{"name": "g-grpc", "port": 9000}],
            }, kind="GRPCRoute"),
            gateway("theirs", listener("http", 80), kind="somebody-elses"),
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
             "metadata": {"name": "somebody-elses"}, "spec": {"controllerName": "example.com/other"}},
        ]  # fmt: skip

    def get(self, path="/", host="plain.test", **more):
        return pod_probes.http(f"http://{host}:{self.http}{path}", resolve=f"127.0.0.1:{self.http}", **more)

    def secure(self, host, path="/", **more):
        return pod_probes.http(f"https://{host}:{self.https}{path}", resolve=f"127.0.0.1:{self.https}", **more)


@pytest.fixture(scope="module")
def front(mesh):
    made = Front(mesh)
    with live.file(mesh, "gateways.yaml", *made.objects()):
        wait.until(lambda: address(mesh, "front", made.https), "the gateway's listeners", seconds=15, every=0.2)
        wait.until(lambda: made.get()["status"] == 200, "its routes")
        yield made


def test_the_wanted_ports_are_used_when_they_are_free(mesh, front):
    for port in (front.http, front.https):
        assert address(mesh, "front", port) == f"127.0.0.1:{port}"


@pytest.mark.parametrize(("host", "path", "expected"), [
    ("anything.test", "/", "g-all"), ("example.com", "/", "g-all"), ("one.example.com", "/one", "g-one"),
    ("ONE.example.com", "/one", "g-one"), ("one.example.com", "/", 404), ("two.example.com", "/", "g-any"),
    ("a.b.example.com", "/", "g-any"), ("deep.sub.example.com", "/", "g-host"), ("unrelated.test", "/", "g-all"),
])  # fmt: skip
def test_a_request_belongs_to_the_most_specific_listener_and_to_no_other(front, host, path, expected):
    assert taken(front.get(path, host)) == expected


def test_what_a_pod_sees_of_a_request_from_outside(mesh, front):
    seen = front.get("/x", headers={"x-forwarded-for": "1.2.3.4"})["json"]
    head = seen["headers"]
    assert head["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/default/sa/front")
    assert head["x-forwarded-proto"] == "http"
    assert head["x-forwarded-for"].count(",") <= 1
    assert head["host"] == f"plain.test:{front.http}"
    pod = next(p["ip"] for p in mesh.ps()["pods"] if p["name"].startswith("front-"))
    assert seen["peer"].rpartition(":")[0] == pod
    assert front.secure("two.test")["json"]["headers"]["x-forwarded-proto"] == "https"


def test_forged_identity_stays_outside(front):
    seen = front.get(headers={"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin"})["json"]
    assert "admin" not in seen["headers"]["x-forwarded-client-cert"]


@pytest.mark.parametrize(("host", "expected", "version"), [
    ("one.example.com", "g-tls", "v1"), ("two.example.com", "g-tls-any", "v2"), ("two.test", "g-two", "v1"),
])  # fmt: skip
@pytest.mark.parametrize("http", ["1.1", "2"])
def test_tls_by_server_name(front, host, expected, version, http):
    answer = front.secure(host, version=http)
    assert (taken(answer), answer["json"]["version"]) == (expected, version)
    assert answer["version"] == f"HTTP/{http}"


def test_each_server_name_gets_its_own_certificate(front):
    for host, pair in front.pairs.items():
        name = host.replace("*", "x")
        said = shown(front.https, name)
        assert said == x509.load_pem_x509_certificate(pair[0]).public_bytes(serialization.Encoding.DER)
    assert front.secure("nobody.invalid")["status"] == 0, "no listener has that name"


def test_http_1_clients_reach_an_h2c_backend(front):
    for http in ("1.1", "2"):
        assert front.secure("two.test", "/h2c", version=http)["json"]["protocol"] == "HTTP/2"


def test_redirects_lead_to_where_the_listener_is_reached(front):
    answer = front.get("/go/x?q=1", host="plain.test")
    assert answer["status"] == 301
    assert answer["headers"]["location"] == "https://plain.test:443/go/x?q=1"
    assert front.get("/away")["headers"]["location"] == f"http://else.test:{front.http}/away"
    assert front.get("/here/x")["headers"]["location"] == f"http://plain.test:{front.http}/there"


def test_grpc_with_and_without_tls(front):
    plain = pod_probes.grpc(f"127.0.0.1:{front.http}", "Stream", {"count": 3})
    assert plain["code"] == "OK", plain
    assert len(plain["answers"]) == 3
    chat = pod_probes.grpc(f"127.0.0.1:{front.http}", "Chat", asks=[{"message": "a"}, {"message": "b"}])
    assert [a["message"] for a in chat["answers"]] == ["a", "b"]
    root = front.pairs["two.test"][0].decode()
    secured = pod_probes.grpc(
        f"127.0.0.1:{front.https}", "Unary", {"message": "s"}, authority="two.test", root=root
    )
    assert secured["code"] == "OK", secured
    assert secured["answers"][0]["metadata"]["x-forwarded-client-cert"].endswith("/sa/front")


def test_websocket(front):
    answer = pod_probes.websocket(f"ws://127.0.0.1:{front.http}/chat", "hello")
    assert answer["echo"] == "hello"
    answer = pod_probes.websocket(f"wss://two.test:{front.https}/chat", "hello", through=("127.0.0.1", front.https))
    assert answer["echo"] == "hello"


def test_http_2_with_prior_knowledge(front):
    assert front.get(version="2")["json"]["protocol"] == "HTTP/1.1", "what a port says nothing about"


def test_a_gateway_of_another_class_is_left_to_others(mesh, front):
    assert [g["name"] for g in mesh.ps()["gateways"]] == ["front"]
    assert "RT0301" in {f["code"] for f in mesh.ps()["findings"]}


def test_a_taken_port_is_replaced_and_said(mesh, front):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with live.file(mesh, "taken.yaml", gateway("late", listener("http", port)), tagged("g-late", "late")):
            where = wait.until(lambda: address(mesh, "late", port), "the late gateway", seconds=15, every=0.2)
            assert where != f"127.0.0.1:{port}"
            answer = wait.until(
                lambda: (a := pod_probes.http(f"http://{where}/"))["status"] == 200 and a, "it answers"
            )
            assert taken(answer) == "g-late"
            found = wait.until(
                lambda: [f for f in mesh.ps()["findings"] if f["code"] == "RT0505"], "it is said", seconds=20
            )
            assert found[0]["object"] == "Gateway default/late"
            assert where in found[0]["message"]
            pids = [p["pid"] for p in mesh.ps()["processes"] if "late" in p["name"]]
            assert len(pids) >= 2, "an agent and its Envoy"
        wait.until(lambda: not [p for p in mesh.ps()["processes"] if "late" in p["name"]], "they go", every=0.2)
        wait.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "their processes end")


def test_listeners_are_added_and_removed_live(mesh, front):
    before = mesh.stats("gateway/default/front")["listener_manager.total_filter_chains_draining"]
    more = gateway("front", *front.listeners, listener("extra", front.extra))
    objects = [more if (o["kind"], o["metadata"]["name"]) == ("Gateway", "front") else o for o in front.objects()]
    live.write(mesh, "gateways.yaml", *objects, tagged("g-extra", "front", section="extra"))
    wait.until(lambda: address(mesh, "front", front.extra), "the new listener", every=0.1)
    there = wait.until(
        lambda: (a := pod_probes.http(f"http://127.0.0.1:{front.extra}/"))["status"] == 200 and a, "its route"
    )
    assert taken(there) == "g-extra"
    assert front.get()["status"] == 200
    live.write(mesh, "gateways.yaml", *front.objects())
    wait.until(lambda: address(mesh, "front", front.extra) is None, "it is gone", every=0.1)
    wait.until(lambda: pod_probes.http(f"http://127.0.0.1:{front.extra}/")["status"] == 0, "nobody listens")
    assert front.get()["status"] == 200
    assert mesh.stats("gateway/default/front")["listener_manager.total_filter_chains_draining"] == before


def test_pods_reach_the_gateway_too(mesh, front, near):
    pod = next(p["ip"] for p in mesh.ps()["pods"] if p["name"].startswith("front-"))
    assert near.http(f"http://{pod}:{front.http}/")["status"] == 200
