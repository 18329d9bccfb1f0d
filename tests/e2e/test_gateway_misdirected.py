"""HTTPS listeners of one port: the server name of TLS bounds the hosts that a connection is good for (421)."""

import socket
import ssl

import live
import pod_probes
import pytest
from fronts import address, free_ports, gateway, listener, secret, tagged, taken

from retic.testing import tls_pairs, wait

HOSTNAMES = {
    "rest": None, "second": "second.org", "wild": "*.wild.org", "fourth": "fourth.wild.org", "bare": "bare.org",
}  # fmt: skip


class Isles:
    """A Gateway with listeners that overlap, all with one certificate that is good for each of them."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.port, self.plain, self.lone = free_ports(3)

    def objects(self, *more):
        listeners = [listener(f"l-{n}", self.port, host, ["isle"]) for n, host in HOSTNAMES.items()]
        only = [listener("l-lone", self.lone, "lone.org", ["isle"])]
        http = [listener("p-rest", self.plain), listener("p-second", self.plain, "second.org")]
        return [
            secret("isle", tls_pairs.pair("*")), gateway("isles", *listeners, *only, *http, *more),
            tagged("r-rest", "isles", section="l-rest", hostnames=["example.org"]),
            *(tagged(f"r-{n}", "isles", section=f"l-{n}") for n in HOSTNAMES if n not in ("rest", "bare")),
            tagged("r-lone", "isles", section="l-lone"), tagged("r-plain", "isles", section="p-second"),
            tagged("r-plain-rest", "isles", section="p-rest"),
        ]  # fmt: skip

    def get(self, sni, host, version="1.1", port=None):
        port = port or self.port
        return pod_probes.http(f"https://{sni}:{port}/", host=host, resolve=f"127.0.0.1:{port}", version=version)


@pytest.fixture(scope="module")
def isles(mesh):
    made = Isles(mesh)
    with live.file(mesh, "isles.yaml", *made.objects()):
        wait.until(lambda: address(mesh, "isles", made.port), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: taken(made.get("second.org", "second.org")) == "r-second", "its routes")
        yield made
    wait.until(lambda: address(mesh, "isles", made.port) is None, "the gateway goes", every=0.1)


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize(("sni", "host", "expected"), [
    ("example.org", "example.org", "r-rest"), ("example.org", "second.org", 421), ("example.org", "unknown.org", 404),
    ("unknown.org", "example.org", "r-rest"), ("unknown.org", "unknown.org", 404), ("unknown.org", "x.wild.org", 421),
    ("second.org", "second.org", "r-second"), ("second.org", "example.org", 421), ("second.org", "unknown.org", 421),
    ("third.wild.org", "third.wild.org", "r-wild"), ("third.wild.org", "fifth.wild.org", "r-wild"),
    ("third.wild.org", "a.b.wild.org", "r-wild"), ("a.b.wild.org", "a.b.wild.org", "r-wild"),
    ("wild.org", "wild.org", 404), ("wild.org", "a.wild.org", 421),
    ("x.fourth.wild.org", "x.fourth.wild.org", "r-wild"),
    ("third.wild.org", "fourth.wild.org", 421),
    ("third.wild.org", "wild.org", 421), ("third.wild.org", "second.org", 421),
    ("third.wild.org", "unknown.org", 421), ("fourth.wild.org", "fourth.wild.org", "r-fourth"),
    ("fourth.wild.org", "fifth.wild.org", 421), ("bare.org", "bare.org", 404), ("bare.org", "second.org", 421),
    ("second.org", "bare.org", 421), ("second.org", "SECOND.org", "r-second"), ("SECOND.ORG", "second.org", "r-second"),
    ("second.org", "Fourth.Wild.ORG", 421), ("second.org", "second.org:1", "r-second"),
    ("second.org", "fourth.wild.org:443", 421), ("second.org", "second.org.", "r-second"),
    ("example.org", "second.org.", 421), ("example.org", "second.org.:443", 421),
    ("example.org", "127.0.0.1", 404), ("second.org", "127.0.0.1", 421),
])  # fmt: skip
def test_a_request_for_another_listener_is_misdirected(isles, sni, host, expected, version):
    assert taken(isles.get(sni, host, version)) == expected


def test_an_only_listener_knows_no_others(isles):
    assert taken(isles.get("lone.org", "lone.org", port=isles.lone)) == "r-lone"
    assert taken(isles.get("lone.org", "second.org", port=isles.lone)) == 404


def test_plain_http_is_by_host_alone(isles):
    for host, expected in (("second.org", "r-plain"), ("second.org.", "r-plain"), ("example.org", "r-plain-rest")):
        answer = pod_probes.http(f"http://127.0.0.1:{isles.plain}/", host=host)
        assert taken(answer) == expected


@pytest.mark.parametrize(("host", "expected"), [("example.org", b"200"), ("second.org", b"421"), ("no.org", b"404")])
def test_without_a_server_name_the_listener_of_every_host_is_meant(isles, host, expected):
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", isles.port), 5) as plain, trust.wrap_socket(plain) as secured:
        secured.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        assert secured.recv(65536).split(b" ")[1] == expected


def test_an_absolute_target_counts_not_the_host_header(isles):
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", isles.port), 5) as plain, trust.wrap_socket(
        plain, server_hostname="second.org"
    ) as secured:
        secured.sendall(b"GET http://fourth.wild.org/ HTTP/1.1\r\nhost: second.org\r\nconnection: close\r\n\r\n")
        assert secured.recv(65536).split(b" ")[1] == b"421"


def test_one_http_2_connection_for_several_hosts(isles):
    import httpx

    with httpx.Client(http1=False, http2=True, verify=False, trust_env=False) as client:
        def get(host):
            answer = client.get(
                f"https://127.0.0.1:{isles.port}/", headers={"host": host}, extensions={"sni_hostname": "a.wild.org"}
            )
            pool = client._transport._pool
            assert len(pool.connections) == 1
            return answer.status_code

        asked = ["a.wild.org", "b.wild.org", "fourth.wild.org", "a.wild.org", "second.org", "b.wild.org"]
        assert [get(host) for host in asked] == [200, 200, 421, 200, 421, 200]


def test_a_listener_more_takes_its_hosts_from_others_and_closes_nothing(mesh, isles):
    with socket.create_connection(("127.0.0.1", isles.port), 5) as plain:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        with trust.wrap_socket(plain, server_hostname="a.wild.org") as held:

            def status(host):
                held.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
                head, _, body = held.recv(65536).partition(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                while len(body) < size:
                    body += held.recv(65536)
                return int(head.split(b" ")[1])

            assert status("new.wild.org") == 200
            live.write(mesh, "isles.yaml", *isles.objects(listener("l-new", isles.port, "new.wild.org", ["isle"])))
            wait.until(lambda: status("new.wild.org") == 421, "the new listener has its host")
            assert status("a.wild.org") == 200
            live.write(mesh, "isles.yaml", *isles.objects())
            wait.until(lambda: status("new.wild.org") == 200, "the host is back")


def test_why_leads_from_a_listeners_routes_to_the_lines(mesh, isles):
    done = mesh.command("why", f"listener-routes/default/isles/{isles.port}/l-second")
    assert done.returncode == 0, done.stderr
    assert "isles.yaml:" in done.stdout
    assert "HTTPRoute default/r-second" in done.stdout
