"""What users of other gateways expect of one: who may attach, what is trusted, what survives an edit."""

import json
import socket
import ssl

import live
import pod_probes
import pytest
from fronts import address, free_ports, gateway, listener, secret, shown, tagged, taken

from retic.testing import tls_pairs, wait


def allowed(**namespaces):
    return {"allowedRoutes": {"namespaces": namespaces}}


def grant(namespace, of, kind, to, group="gateway.networking.k8s.io"):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": live.meta(f"{kind}-{of}-{to}".lower(), namespace),
        "spec": {"from": [{"group": group, "kind": kind, "namespace": of}], "to": [{"group": "", "kind": to}]},
    }  # fmt: skip


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def foreign(name, space, gateway_name, **parent):
    """A route of another namespace to a Service of namespace default, that says its own name."""
    made = tagged(name, gateway_name, namespace="default")
    made["metadata"]["namespace"] = space
    made["spec"]["parentRefs"] = [{"name": gateway_name, "namespace": "default", **parent}]
    made["spec"]["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": f"/{name}"}}]
    return made


class Yard:
    """A Gateway whose listeners admit different routes, and routes that ask for them."""

    def __init__(self):
        self.same, self.all, self.chosen, self.none, self.tls, self.far = free_ports(6)
        self.pair, self.far_pair = tls_pairs.pair("yard.test"), tls_pairs.pair("far.test")

    def objects(self):
        chosen = {"matchLabels": {"team": "a"}}
        far = listener("far", self.far, "far.test", ["far"])
        far["tls"]["certificateRefs"][0]["namespace"] = "team-b"
        return [
            namespace("team-a", team="a"), namespace("team-b", team="b"),
            secret("yard", self.pair), secret("far", self.far_pair, namespace="team-b"),
            gateway(
                "yard", listener("same", self.same, **allowed(**{"from": "Same"})),
                listener("all", self.all, **allowed(**{"from": "All"})),
                listener("chosen", self.chosen, **allowed(**{"from": "Selector", "selector": chosen})),
                listener("none", self.none, **allowed(**{"from": "None"})),
                listener("tls", self.tls, "yard.test", ["yard"]), far,
            ),
            grant("default", "team-a", "HTTPRoute", "Service"), grant("default", "team-b", "HTTPRoute", "Service"),
            tagged("y-own", "yard", "/y-own"), foreign("y-a", "team-a", "yard"), foreign("y-b", "team-b", "yard"),
            foreign("y-only", "team-b", "yard", sectionName="all"), foreign("y-port", "team-b", "yard", port=self.all),
            foreign("y-both", "team-b", "yard", sectionName="all", port=self.same),
            tagged("y-more", "yard", "/y-own/more"), tagged("y-tls", "yard", section="tls"),
            tagged("y-far", "yard", section="far"),
            live.route("y-up", {"name": "yard", "sectionName": "same"}, {
                "matches": [{"path": {"type": "PathPrefix", "value": "/up"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}],
            }),
        ]  # fmt: skip

    def get(self, port, path, host="yard.test"):
        return taken(pod_probes.http(f"http://127.0.0.1:{port}{path}", host=host))

    def secure(self, **more):
        return pod_probes.http(f"https://yard.test:{self.tls}/", resolve=f"127.0.0.1:{self.tls}", **more)


@pytest.fixture(scope="module")
def yard(mesh):
    made = Yard()
    with live.file(mesh, "yard.yaml", *made.objects()):
        wait.until(lambda: address(mesh, "yard", made.tls), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: made.get(made.all, "/y-b") == "y-b", "its routes")
        yield made
    wait.until(lambda: address(mesh, "yard", made.tls) is None, "the gateway goes", every=0.1)


@pytest.mark.parametrize(("port", "admitted"), [
    ("same", {"y-own"}), ("all", {"y-own", "y-a", "y-b", "y-only", "y-port"}), ("chosen", {"y-a"}), ("none", set()),
])  # fmt: skip
def test_which_namespaces_may_attach(yard, port, admitted):
    routes = ("y-own", "y-a", "y-b", "y-only", "y-port", "y-both")
    assert {r for r in routes if yard.get(getattr(yard, port), f"/{r}") == r} == admitted


def test_several_routes_of_one_listener_are_one_table(yard):
    assert [yard.get(yard.same, p) for p in ("/y-own", "/y-own/x", "/y-own/more/x", "/elsewhere")] == [
        "y-own", "y-own", "y-more", 404,
    ]  # fmt: skip


def test_a_route_that_no_listener_takes_is_said(mesh, yard):
    found = {f["object"]: f["code"] for f in mesh.ps()["findings"] if f["file"].endswith("yard.yaml")}
    assert found["HTTPRoute team-b/y-both"] == "RT0203"


def test_a_selector_follows_the_labels_of_a_namespace(mesh, yard):
    objects = yard.objects()
    objects[1] = namespace("team-b", team="a")
    live.write(mesh, "yard.yaml", *objects)
    wait.until(lambda: yard.get(yard.chosen, "/y-b") == "y-b", "the other team may attach")
    live.write(mesh, "yard.yaml", *yard.objects())
    wait.until(lambda: yard.get(yard.chosen, "/y-b") == 404, "it may not any more")


def test_a_certificate_of_another_namespace_needs_a_grant(mesh, yard):
    def said():
        return {f["code"] for f in mesh.ps()["findings"] if f["object"] == "Gateway default/yard"}

    assert said() == {"RT0204"}
    assert shown(yard.far, "far.test") is None
    live.write(mesh, "yard.yaml", *yard.objects(), grant("team-b", "default", "Gateway", "Secret"))
    wait.until(lambda: shown(yard.far, "far.test") is not None, "the listener serves", seconds=10)
    wait.until(lambda: address(mesh, "yard", yard.far), "it is reached from the host")
    assert said() == set()
    live.write(mesh, "yard.yaml", *yard.objects())
    wait.until(lambda: shown(yard.far, "far.test") is None, "the grant is taken back")
    wait.until(lambda: address(mesh, "yard", yard.far) is None, "ps does not show it any more")


def test_a_backend_of_another_namespace_needs_a_grant(mesh, yard):
    grants = [o for o in yard.objects() if (o["kind"], o["metadata"]["name"]) != (
        "ReferenceGrant", "httproute-team-a-service")]  # fmt: skip
    live.write(mesh, "yard.yaml", *grants)
    wait.until(lambda: yard.get(yard.all, "/y-a") == 500, "the backend is refused")
    assert yard.get(yard.all, "/y-b") == "y-b"
    live.write(mesh, "yard.yaml", *yard.objects())
    wait.until(lambda: yard.get(yard.all, "/y-a") == "y-a", "it is granted again")


def test_http_is_redirected_to_https(yard):
    answer = pod_probes.http(f"http://127.0.0.1:{yard.same}/up/x?q=1", host="yard.test")
    assert (answer["status"], answer["headers"]["location"]) == (301, "https://yard.test/up/x?q=1")


def handshake(port, **more):
    """What a TLS client gets: (version, ALPN), or the name of the alert."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    trust.set_ciphers("DEFAULT:@SECLEVEL=0")
    for name in ("minimum_version", "maximum_version"):
        if name in more:
            setattr(trust, name, more[name])
    if "alpn" in more:
        trust.set_alpn_protocols(more["alpn"])
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain, trust.wrap_socket(
            plain, server_hostname="yard.test"
        ) as secured:
            return secured.version(), secured.selected_alpn_protocol()
    except ssl.SSLError as error:
        return error.reason
    except OSError as error:
        return type(error).__name__


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_is_1_2_at_least(yard):
    versions = ssl.TLSVersion
    assert handshake(yard.tls)[0] == "TLSv1.3"
    assert handshake(yard.tls, maximum_version=versions.TLSv1_2)[0] == "TLSv1.2"
    for old in (versions.TLSv1_1, versions.TLSv1):
        assert handshake(yard.tls, minimum_version=old, maximum_version=old) == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_alpn(yard):
    assert handshake(yard.tls, alpn=["h2", "http/1.1"])[1] == "h2"
    assert handshake(yard.tls, alpn=["http/1.1"])[1] == "http/1.1"
    assert handshake(yard.tls, alpn=["http/1.1", "h2"])[1] == "h2", "the server's wish counts"
    assert handshake(yard.tls)[1] is None
    assert taken(yard.secure(version="2")) == "y-tls"


@pytest.mark.parametrize("secure", [False, True])
def test_what_a_client_says_of_itself_is_not_trusted(mesh, yard, secure):
    forged = {
        "x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "gopher", "x-envoy-external-address": "1.2.3.4",
        "x-envoy-internal": "true", "x-envoy-original-path": "/admin", "x-retic-destination": "10.96.0.1:80",
        "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx", "x-envoy-force-trace": "true", "x-envoy-decorator-operation": "x",
    }  # fmt: skip
    if secure:
        got = yard.secure(headers=forged)
    else:
        got = pod_probes.http(f"http://127.0.0.1:{yard.same}/y-own", headers=forged)
    head = got["json"]["headers"]
    assert head["x-forwarded-proto"] == ("https" if secure else "http")
    last = head["x-forwarded-for"].split(",")[-1].strip()
    assert last not in ("1.2.3.4", ""), head
    assert head["x-forwarded-client-cert"].endswith("/sa/yard")
    assert "admin" not in json.dumps(head)
    assert not [name for name in head if name.startswith(("x-envoy-", "x-retic-"))], head


def test_bodies_of_some_megabytes(yard):
    body = b"0123456789abcdef" * (5 << 16)
    for version in ("1.1", "2"):
        answer = yard.secure(method="POST", body=body, version=version, timeout=30)
        assert (answer["status"], answer["json"]["body_bytes"]) == (200, len(body)), answer


@pytest.mark.parametrize(("request_head", "expected"), [
    ("GET /y-own HTTP/1.1\r\n\r\n", "400"), ("GET /y-own HTTP/1.1\r\nhost:\r\n\r\n", "200"),
    ("GET /y-own HTTP/1.0\r\n\r\n", "200"),
    ("GET /y-own HTTP/1.1\r\nhost: a b\r\n\r\n", "400"),
])  # fmt: skip
def test_no_host_or_a_strange_one(yard, request_head, expected):
    with socket.create_connection(("127.0.0.1", yard.same), 5) as plain:
        plain.sendall(request_head.encode())
        assert plain.recv(65536)[9:12].decode() == expected


def test_websocket_inside_http_2(yard):
    """As browsers do it where the server offers it: extended CONNECT on the connection that they have (RFC 8441)."""
    import h2.config
    import h2.connection
    import h2.events
    import h2.settings

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    trust.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", yard.tls), 5) as plain, trust.wrap_socket(
        plain, server_hostname="yard.test"
    ) as secured:
        talk = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        talk.initiate_connection()
        secured.sendall(talk.data_to_send())

        arrived = []

        def until(kind):
            while True:
                while arrived:
                    event = arrived.pop(0)
                    assert not isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated), event
                    if isinstance(event, kind):
                        return event
                arrived.extend(talk.receive_data(secured.recv(65536)))
                secured.sendall(talk.data_to_send())

        until(h2.events.RemoteSettingsChanged)
        assert talk.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
        stream = talk.get_next_available_stream_id()
        talk.send_headers(stream, [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat"),
            (":authority", "yard.test"), ("sec-websocket-version", "13"),
        ])
        secured.sendall(talk.data_to_send())
        assert dict(until(h2.events.ResponseReceived).headers)[":status"] == "200"
        assert b"yard.test" in until(h2.events.DataReceived).data, "the server's greeting: the request as it came"
        talk.send_data(stream, b"\x81\x85" + b"\0\0\0\0" + b"hello")
        secured.sendall(talk.data_to_send())
        assert until(h2.events.DataReceived).data.endswith(b"hello")


@pytest.mark.parametrize("name", ["x-forwarded-proto", "x-forwarded-client-cert", "host"])
def test_a_client_cannot_have_the_gateways_headers_taken_away(yard, name):
    got = yard.secure(headers={"connection": name, "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/a/sa/b"})
    if got["status"] == 200:
        head = got["json"]["headers"]
        assert head["x-forwarded-proto"] == "https"
        assert head["x-forwarded-client-cert"].endswith("/sa/yard")
        assert head["host"].startswith("yard.test")
    else:
        assert got["status"] == 400
