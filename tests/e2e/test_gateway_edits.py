"""Gateways added, edited, renamed and removed while requests run, and the host's ports that they want."""

import contextlib
import os
import signal
import socket
import ssl
import threading

import live
import pod_probes
import pytest
from fronts import address, free_ports, gateway, listener, secret, tagged, taken

from retic.testing import tls_pairs, wait


class Caller(threading.Thread):
    """Requests one after the other, each on a new connection or all on one, until the block ends."""

    def __init__(self, port, keep, sni=""):
        super().__init__(daemon=True)
        self.port, self.keep, self.sni = port, keep, sni
        self.good, self.bad, self.ended = 0, [], threading.Event()
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trust.check_hostname, self.trust.verify_mode = False, ssl.CERT_NONE

    def run(self):
        held = None
        while not self.ended.is_set():
            try:
                held = held or self._open()
                held.sendall(b"GET /steady HTTP/1.1\r\nhost: steady.test\r\n\r\n")
                self._read(held)
                self.good += 1
            except (OSError, ValueError) as error:
                self.bad.append(repr(error))
                held = None
            if held and not self.keep:
                held.close()
                held = None
        if held:
            held.close()

    def _open(self):
        plain = socket.create_connection(("127.0.0.1", self.port), 5)
        if not self.sni:
            return plain
        return self.trust.wrap_socket(plain, server_hostname=self.sni)

    def _read(self, held):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some(held)
        head, _, body = data.partition(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise ValueError(head[:80])
        if b"connection: close" in head.lower():
            raise ValueError("the connection is drained")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= len(self._some(held))

    @staticmethod
    def _some(held):
        piece = held.recv(65536)
        if not piece:
            raise ValueError("closed")
        return piece


@contextlib.contextmanager
def calling(*callers):
    for each in callers:
        each.start()
    try:
        wait.until(lambda: all(c.good > 5 for c in callers), "the callers call")
        yield
    finally:
        for each in callers:
            each.ended.set()
            each.join(10)


def test_an_edit_of_one_listener_loses_nothing_on_the_others(mesh):
    http, https, other = free_ports(3)
    pairs = [secret(f"e-{n}", tls_pairs.pair(n)) for n in ("steady.test", "passing.test")]
    steady = [listener("http", http), listener("tls", https, "steady.test", ["e-steady.test"])]
    passing = [
        listener("other", other), listener("host", http, "passing.test"),
        listener("tls-other", https, "passing.test", ["e-passing.test"]),
    ]  # fmt: skip
    routes = [tagged("e-route", "edited", "/steady")]
    with live.file(mesh, "edits.yaml", *pairs, gateway("edited", *steady), *routes):
        wait.until(lambda: address(mesh, "edited", https), "the gateway", seconds=15, every=0.2)
        wait.until(lambda: taken(pod_probes.http(f"http://127.0.0.1:{http}/steady")) == "e-route", "its route")
        callers = [Caller(port, keep, sni) for port, sni in ((http, ""), (https, "steady.test")) for keep in (0, 1)]
        with calling(*callers):
            for _ in range(3):
                live.write(mesh, "edits.yaml", *pairs, gateway("edited", *steady, *passing), *routes)
                wait.until(lambda: address(mesh, "edited", other), "the listener more", every=0.05)
                wait.until(lambda: pod_probes.http(
                    f"https://passing.test:{https}/steady", resolve=f"127.0.0.1:{https}")["status"] == 200, "its twin")
                pairs = [secret(f"e-{n}", tls_pairs.pair(n)) for n in ("steady.test", "passing.test")]
                live.write(mesh, "edits.yaml", *pairs, gateway("edited", *passing, *steady), *routes)
                live.write(mesh, "edits.yaml", *pairs, gateway("edited", *steady), *routes)
                wait.until(lambda: address(mesh, "edited", other) is None, "it is gone", every=0.05)
        assert [c.bad for c in callers] == [[]] * 4
        assert min(c.good for c in callers) > 20


def test_a_removed_gateway_frees_its_port(mesh):
    (port,) = free_ports(1)
    for round in range(2):
        with live.file(mesh, "gone.yaml", gateway("gone", listener("http", port)), tagged("gone", "gone")):
            wait.until(lambda: address(mesh, "gone", port) == f"127.0.0.1:{port}", "its port", seconds=15, every=0.1)
            wait.until(lambda: taken(pod_probes.http(f"http://127.0.0.1:{port}/")) == "gone", f"it answers ({round})")
        wait.until(lambda: free(port), "the port is free")
        wait.until(lambda: address(mesh, "gone", port) is None, "ps shows it no more", every=0.1)


def free(port):
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def test_two_gateways_that_want_one_port(mesh):
    (port,) = free_ports(1)
    with live.file(mesh, "two-1.yaml", gateway("two-a", listener("http", port)), tagged("two-a", "two-a")):
        wait.until(lambda: address(mesh, "two-a", port) == f"127.0.0.1:{port}", "the first", seconds=15, every=0.1)
        with live.file(mesh, "two-2.yaml", gateway("two-b", listener("http", port)), tagged("two-b", "two-b")):
            where = wait.until(lambda: address(mesh, "two-b", port), "the second", seconds=15, every=0.1)
            assert where != f"127.0.0.1:{port}"
            for at, name in ((f"127.0.0.1:{port}", "two-a"), (where, "two-b")):
                wait.until(lambda at=at, name=name: taken(pod_probes.http(f"http://{at}/")) == name, f"{name} answers")
            said = wait.until(lambda: [f for f in mesh.ps()["findings"] if f["code"] == "RT0505"], "it is said", 20)
            assert [f["object"] for f in said] == ["Gateway default/two-b"]
            assert where in said[0]["message"]
            live.remove(mesh, "two-1.yaml")
            wait.until(lambda: address(mesh, "two-a", port) is None, "the first goes", every=0.1)
            at = f"127.0.0.1:{port}"
            wait.until(lambda: address(mesh, "two-b", port) == at, "the second has the port it wants", every=0.1)
            wait.until(lambda: taken(pod_probes.http(f"http://127.0.0.1:{port}/")) == "two-b", "it answers there")
            wait.until(lambda: not [f for f in mesh.ps()["findings"] if f["code"] == "RT0505"], "nothing is wrong", 20)


def test_a_renamed_gateway_keeps_its_port(mesh):
    (port,) = free_ports(1)
    with live.file(mesh, "renamed.yaml", gateway("old-name", listener("http", port)), tagged("r-named", "old-name")):
        wait.until(lambda: address(mesh, "old-name", port) == f"127.0.0.1:{port}", "the old", seconds=15, every=0.1)
        live.write(mesh, "renamed.yaml", gateway("new-name", listener("http", port)), tagged("r-named", "new-name"))
        wait.until(lambda: address(mesh, "new-name", port) == f"127.0.0.1:{port}", "the new", seconds=20, every=0.1)
        wait.until(lambda: taken(pod_probes.http(f"http://127.0.0.1:{port}/")) == "r-named", "it answers")


@pytest.mark.parametrize("secure", [False, True])
def test_ps_shows_addresses(mesh, secure):
    (port,) = free_ports(1)
    hosts = ("shown.test", ["s-pair"]) if secure else (None, ())
    made = gateway("shown", listener("it", port, *hosts))
    with live.file(mesh, "shown.yaml", secret("s-pair", tls_pairs.pair("shown.test")), made):
        wait.until(lambda: address(mesh, "shown", port), "the address", seconds=15, every=0.1)
        done = mesh.command("ps")
        assert f"127.0.0.1:{port}" in done.stdout
        live.write(mesh, "shown.yaml", made)
        gone = secure and wait.until(lambda: address(mesh, "shown", port) is None, "it is not served", every=0.1)
        assert gone is secure
        assert (f"127.0.0.1:{port}" in mesh.command("ps").stdout) is not secure


def test_names_of_gateways_are_not_mixed_up_and_may_be_long(mesh):
    """team-a/web and team/a-web are two, and a name may have 253 characters."""
    names = [("team-a", "web"), ("team", "a-web"), ("team", ".".join(["x" * 62, "y" * 62, "z" * 62, "w" * 62]))]
    ports = free_ports(len(names))
    objects = []
    for (space, name), port in zip(names, ports, strict=True):
        for made in (gateway(name, listener("http", port)), redirect(f"to-{port}", name, port)):
            made["metadata"]["namespace"] = space
            objects.append(made)
    with live.file(mesh, "alike.yaml", *objects):
        for (space, name), port in zip(names, ports, strict=True):
            wait.until(lambda n=name, p=port: address(mesh, n, p), f"{space}/{name[:9]}", seconds=15, every=0.2)
            at = f"http://127.0.0.1:{port}/"
            wait.until(lambda a=at: pod_probes.http(a)["status"] == 302, f"the route of {space}/{name[:9]}")
            assert pod_probes.http(at)["headers"]["location"].endswith(f"/to-{port}")
            shown = mesh.command("proxy", f"gateway/{space}/{name}", "routes")
            assert shown.returncode == 0, shown.stderr
            assert f"gateway-routes/{space}" in shown.stdout
    for (_, name), port in zip(names, ports, strict=True):
        wait.until(lambda n=name, p=port: address(mesh, n, p) is None, "they go", every=0.1)


def test_a_gateway_is_made_anew_while_its_pod_before_still_ends(mesh):
    """A pod that is to end is given time until the proxies have heard: all of it while the control plane is away."""
    (port,) = free_ports(1)
    made = [gateway("anew", listener("http", port)), redirect("to-anew", "anew", port)]
    (control,) = [one["pid"] for one in mesh.ps()["processes"] if one["role"] == "control"]

    def pods():
        return {pod.metadata.name for pod in live.objects(mesh, "Pod", "anew-") if pod.status.pod_ip}

    with live.file(mesh, "anew.yaml", *made):
        wait.until(lambda: address(mesh, "anew", port), "the gateway", seconds=15, every=0.2)
        before = pods()
        os.kill(control, signal.SIGSTOP)
        try:
            live.remove(mesh, "anew.yaml")
            wait.until(lambda: not live.objects(mesh, "Gateway", "anew"), "it is gone", every=0.01)
            live.write(mesh, "anew.yaml", *made)
            wait.until(lambda: pods() - before, "another pod", every=0.01)
        finally:
            os.kill(control, signal.SIGCONT)
        wait.until(lambda: pods() and not pods() & before, "the pod before has ended", seconds=20, every=0.2)
        wait.until(lambda: address(mesh, "anew", port), "the gateway again", seconds=20, every=0.2)
        at = f"http://127.0.0.1:{port}/"
        wait.until(lambda: status_of(at) == 302, "its route", seconds=20)
    wait.until(lambda: address(mesh, "anew", port) is None, "it goes", every=0.1)


def status_of(at):
    try:
        return pod_probes.http(at)["status"]
    except OSError:
        return None


def redirect(name, gateway_name, port):
    to = {"path": {"type": "ReplaceFullPath", "replaceFullPath": f"/to-{port}"}}
    return live.route(name, {"name": gateway_name}, {"filters": [{"type": "RequestRedirect", "requestRedirect": to}]})
