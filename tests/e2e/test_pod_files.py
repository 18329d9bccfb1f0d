"""Files that a pod finds: its account's token, its names, its resolver's settings."""

import base64
import json
import time

import live
import pytest
from test_workloads import idle, pod

from retic.local import state


def claims(text):
    body = text.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.fixture(scope="module")
def tokens(mesh):
    source = {"serviceAccountToken": {"path": "vault", "audience": "vault.example", "expirationSeconds": 600}}
    one = pod(
        "bearer", idle(volumeMounts=[{"name": "id", "mountPath": "/id"}]), serviceAccountName="c1",
        volumes=[{"name": "id", "projected": {"sources": [source]}}],
    )  # fmt: skip
    with live.file(mesh, "bearer.yaml", one):
        live.ready(mesh, "bearer")
        yield


def test_a_projected_token_is_the_pods_own(mesh, tokens):
    done = mesh.exec("bearer", "sh", "-c", "cat /id/vault; stat -Lc ' %a' /id/vault")
    text, mode = done.stdout.split()
    said = claims(text)
    assert (said["aud"], said["sub"]) == (["vault.example"], "system:serviceaccount:default:c1")
    assert said["exp"] - said["iat"] == 600
    assert said["iat"] <= time.time() < said["exp"]
    (made,) = live.objects(mesh, "Pod", "bearer")
    assert said["kubernetes.io"]["pod"] == {"name": "bearer", "uid": made.metadata.uid}
    (node,) = live.objects(mesh, "Node", made.spec.node_name)
    assert said["kubernetes.io"]["node"] == {"name": node.metadata.name, "uid": node.metadata.uid}
    assert mode == "644"


def test_the_signing_key_is_nobody_elses_and_in_no_log(mesh, tokens):
    folder = state.folder(mesh.name)
    assert (folder / "serviceaccount.key").stat().st_mode & 0o777 == 0o600
    assert mesh.exec("bearer", "ls", str(folder)).stdout == "", "a pod sees nothing of the state folder"
    text = mesh.exec("bearer", "cat", "/id/vault").stdout
    logs = "".join(path.read_text(errors="replace") for path in folder.rglob("*.log"))
    assert text.split(".")[2] not in logs
    assert "PRIVATE KEY" not in logs


def test_there_is_no_token_for_an_api_server_that_is_not_there(mesh, tokens):
    assert mesh.exec("bearer", "ls", "/var/run/secrets/kubernetes.io").returncode != 0


@pytest.fixture(scope="module")
def named(mesh):
    """Two pods with everything that can be said about names."""
    aliases = [{"ip": "203.0.113.7", "hostnames": ["seven", "seven.example"]}]
    config = {"searches": ["extra.example"], "options": [{"name": "ndots", "value": "2"}]}
    objects = [
        pod("full", idle(), hostname="h", subdomain="members", setHostnameAsFQDN=True, hostAliases=aliases,
            dnsConfig=config),
        live.service("members", {"app": "full"}, (80, 8080), clusterIP="None"),
        pod("plain", idle(), dnsPolicy="Default"),
    ]  # fmt: skip
    with live.file(mesh, "named-pods.yaml", *objects):
        live.ready(mesh, "full")
        live.ready(mesh, "plain")
        yield


def test_hosts_and_the_full_name(mesh, named):
    full = "h.members.default.svc.cluster.local"
    assert mesh.exec("full", "sh", "-c", "hostname; hostname -f; echo $HOSTNAME").stdout.split() == [full] * 3
    done = mesh.exec("full", "getent", "hosts", "seven.example", "seven")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["203.0.113.7"] * 2
    ip = live.pods(mesh, "full")[0]["ip"]
    assert mesh.exec("full", "getent", "hosts", full).stdout.split()[0] == ip


def test_the_resolvers_settings_are_merged(mesh, named):
    text = mesh.exec("full", "cat", "/etc/resolv.conf").stdout
    assert text.startswith("nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local")
    assert text.endswith(" extra.example\noptions ndots:2\n")
    assert mesh.exec("full", "getent", "hosts", "site").stdout, "the cluster's names are found"


ASK = """
import sys, dns.message, dns.query, dns.rcode
server, name, over = sys.argv[1:]
query = dns.message.make_query(name, "A")
answer = (dns.query.tcp if over == "tcp" else dns.query.udp)(query, server, timeout=5)
print(dns.rcode.to_text(answer.rcode()), *[r.to_text() for rrset in answer.answer for r in rrset])
"""


def ask(mesh, where, server, name, over):
    done = mesh.exec(where, "python3", "-c", ASK, server, name, over)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_by_default_policy_the_machines_resolvers_are_asked(mesh, named, over):
    assert mesh.exec("plain", "cat", "/etc/resolv.conf").stdout.startswith("nameserver 172.31.255.1\n")
    assert ask(mesh, "plain", "172.31.255.1", "site.default.svc.cluster.local", over) == ["NXDOMAIN"]
    assert mesh.exec("plain", "getent", "hosts", "site").returncode != 0, "the cluster's names are not known there"


SERVE = """
import sys, dns.message, dns.rrset, socket, threading
host = sys.argv[1]
def answer(wire, over):
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text(query.question[0].name, 5, "IN", "A", "198.51.100." + over))
    return reply.to_wire()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind((host, 53))
tcp = socket.create_server((host, 53))
def datagrams():
    while True:
        wire, peer = udp.recvfrom(4096); udp.sendto(answer(wire, "1"), peer)
def streams():
    while True:
        sock, _ = tcp.accept()
        wire = sock.recv(4096)
        if wire:  # a probe says nothing
            said = answer(wire[2:], "2"); sock.sendall(len(said).to_bytes(2, "big") + said)
        sock.close()
threading.Thread(target=datagrams, daemon=True).start()
print("serving", flush=True)
streams()
"""


def test_a_nameserver_in_a_pod_is_asked_over_udp_and_tcp(mesh, named):
    ready = {"tcpSocket": {"port": 53}, "periodSeconds": 1}
    names = {"name": "c", "command": ["python3", "-c", SERVE], "args": ["0.0.0.0"], "readinessProbe": ready}
    with live.file(mesh, "names.yaml", pod("names", names)):
        ip = live.ready(mesh, "names")[0]["ip"]
        for over, last in (("udp", "1"), ("tcp", "2")):
            assert ask(mesh, "plain", ip, "any.example", over) == ["NOERROR", f"198.51.100.{last}"]


def test_nameservers_that_cannot_be_reached_are_found(mesh):
    lost = pod("lost", idle(), dnsConfig={"nameservers": ["fd00::1", "10.96.3.4"]})
    with live.file(mesh, "lost.yaml", lost):
        live.ready(mesh, "lost")
        found = [f for f in mesh.ps()["findings"] if f["file"].endswith("lost.yaml")]
        assert sorted(f["code"] for f in found) == ["RT0108", "RT0503"]
