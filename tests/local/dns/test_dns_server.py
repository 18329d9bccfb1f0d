"""Real packets to the DNS server over loopback, asked by dnspython; a second server plays the host's."""

import asyncio
import contextlib
import socket
import subprocess
import sys

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns_builders as make
import pytest

from retic.local import dns as servers
from retic.local import upstream as resolvers
from retic.local import zone as zones

WEB = "web.default.svc.cluster.local"
HOST = "127.0.0.1"


def pair():
    """A UDP and a TCP socket on one free port."""
    for _ in range(50):
        udp, tcp = servers.sockets_in(None, HOST, 0), None
        port = udp[0].getsockname()[1]
        for sock in udp:
            sock.close()
        with contextlib.suppress(OSError):
            tcp = servers.sockets_in(None, HOST, port)
            return port, tcp
    raise AssertionError("no port free for both")


@contextlib.asynccontextmanager
async def serving(*things, upstream=None):
    zone = zones.Zone()
    for thing in things:
        zone.put(thing)
    server = servers.Server(zone, upstream)
    port, sockets = pair()
    await server.serve(*sockets)
    try:
        yield port, zone
    finally:
        await server.close()


def udp_socket():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


async def tcp_socket(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address, port))
    return sock


def to(port, *, tcp=tcp_socket, seconds=30.0):
    return resolvers.Upstream([HOST], udp_socket, tcp, port=port, seconds=seconds)


async def ask(port, name, kind="A", *, transport=dns.asyncquery.udp, edns=None, **more):
    query = dns.message.make_query(name, kind, use_edns=edns)
    return await transport(query, HOST, port=port, timeout=40, **more)


def texts(response):
    return [data.to_text() for rrset in response.answer for data in rrset]


async def test_the_resolver_library_finds_a_service_by_its_short_name():
    async with serving(make.service("web")) as (port, _):
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.ndots = [HOST], port, 5
        resolver.timeout = resolver.lifetime = 40
        resolver.search = [
            dns.name.from_text(f"{d}cluster.local") for d in ("default.svc.", "svc.", "")
        ]
        found = await resolver.resolve("web", "A", search=True)
        assert found.canonical_name.to_text() == f"{WEB}."
        assert [r.address for r in found] == ["10.96.1.1"]
        with pytest.raises(dns.asyncresolver.NoAnswer):
            await resolver.resolve(WEB, "AAAA")
        with pytest.raises(dns.asyncresolver.NXDOMAIN):
            await resolver.resolve(f"nothing.{WEB}", "A")


async def test_answers_are_authoritative_with_the_ttl_and_the_questions_own_case():
    async with serving(make.service("web")) as (port, _):
        name = "wEb.DeFault.svc.clUster.LocaL."
        response = await ask(port, name, edns=0)
        assert response.flags & dns.flags.AA
        assert response.question[0].name.to_text() == name
        assert response.answer[0].name.to_text() == name
        assert response.answer[0].ttl == 5
        assert response.edns == 0


async def test_an_absence_carries_the_soa_with_its_negative_ttl():
    async with serving(make.service("web")) as (port, _):
        for name, code in ((WEB, dns.rcode.NOERROR), (f"x.{WEB}", dns.rcode.NXDOMAIN)):
            response = await ask(port, name, "AAAA")
            assert response.rcode() == code
            assert not response.answer
            assert response.authority[0].rdtype == dns.rdatatype.SOA
            assert response.authority[0].ttl == response.authority[0][0].minimum == 5


async def test_srv_brings_the_targets_addresses_along():
    async with serving(make.service("web")) as (port, _):
        response = await ask(port, f"_http._tcp.{WEB}", "SRV")
        assert texts(response) == [f"0 100 80 {WEB}."]
        assert response.additional[0][0].address == "10.96.1.1"


def many(count):
    endpoints = [make.endpoint(f"10.244.{i // 250}.{i % 250 + 2}") for i in range(count)]
    return make.service("db", ip="None"), make.slice_of("db", *endpoints)


async def test_a_large_answer_is_cut_over_udp_and_whole_over_tcp():
    async with serving(*many(300)) as (port, _):
        name = "db.default.svc.cluster.local"
        query = dns.message.make_query(name, "A")
        cut = await dns.asyncquery.udp(query, HOST, port=port, timeout=40, raise_on_truncation=False)
        assert cut.flags & dns.flags.TC
        assert len(cut.to_wire()) <= 512
        whole, over_tcp = await dns.asyncquery.udp_with_fallback(query, HOST, port=port, timeout=40)
        assert over_tcp
        assert len(whole.answer[0]) == 300


async def test_edns_raises_the_limit():
    async with serving(*many(50)) as (port, _):
        query = dns.message.make_query("db.default.svc.cluster.local", "A", use_edns=0, payload=4096)
        response = await dns.asyncquery.udp(query, HOST, port=port, timeout=40)
        assert not response.flags & dns.flags.TC
        assert len(response.answer[0]) == 50


async def test_headless_answers_begin_with_another_endpoint_each_time():
    async with serving(*many(3)) as (port, _):
        firsts = [texts(await ask(port, "db.default.svc.cluster.local"))[0] for _ in range(6)]
        assert sorted(firsts[:3]) == ["10.244.0.2", "10.244.0.3", "10.244.0.4"]
        assert firsts[:3] == firsts[3:]


async def test_an_update_is_seen_by_the_next_query():
    async with serving(make.service("web")) as (port, zone):
        zone.put(make.service("web", ip="10.96.9.9"))
        assert texts(await ask(port, WEB)) == ["10.96.9.9"]


async def test_several_queries_on_one_tcp_connection():
    async with serving(make.service("web")) as (port, _):
        reader, writer = await asyncio.open_connection(HOST, port)
        for _ in range(3):
            wire = dns.message.make_query(WEB, "A").to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert texts(dns.message.from_wire(await reader.readexactly(size))) == ["10.96.1.1"]
        writer.close()


async def test_packets_that_cannot_be_read_are_ignored():
    async with serving(make.service("web")) as (port, _):
        loop = asyncio.get_running_loop()
        with udp_socket() as sock:
            sock.setblocking(False)
            sock.connect((HOST, port))
            response = dns.message.make_response(dns.message.make_query(WEB, "A"))
            for rubbish in (b"", b"x", b"\xff" * 40, response.to_wire()):
                await loop.sock_sendall(sock, rubbish)
            good = dns.message.make_query(WEB, "A")
            await loop.sock_sendall(sock, good.to_wire())
            first = await asyncio.wait_for(loop.sock_recv(sock, 4096), 40)
            assert dns.message.from_wire(first).id == good.id


async def test_what_the_server_does_not_do_is_refused_with_the_right_code():
    async with serving() as (port, _):
        update = dns.message.make_query("cluster.local", "SOA")
        update.set_opcode(dns.opcode.STATUS)
        assert (await dns.asyncquery.udp(update, HOST, port=port, timeout=40)).rcode() == dns.rcode.NOTIMP
        newer = dns.message.make_query("cluster.local", "SOA", use_edns=1)
        assert (await dns.asyncquery.udp(newer, HOST, port=port, timeout=40)).rcode() == dns.rcode.BADVERS
        assert (await ask(port, "example.com")).rcode() == dns.rcode.REFUSED


@contextlib.asynccontextmanager
async def with_outside(*things, records=(), tcp=tcp_socket):
    zone = zones.Zone(domain="example.org", networks=())
    for thing in records:
        zone.put(thing)
    far = servers.Server(zone)
    far_port, sockets = pair()
    await far.serve(*sockets)
    try:
        async with serving(*things, upstream=to(far_port, tcp=tcp)) as (port, _):
            yield port
    finally:
        await far.close()


async def test_other_names_are_forwarded():
    async with with_outside(records=[make.service("www", "x", ip="192.0.2.7")]) as port:
        response = await ask(port, "wWw.x.svc.example.org")
        assert texts(response) == ["192.0.2.7"]
        assert response.question[0].name.to_text() == "wWw.x.svc.example.org."
        missing = await ask(port, "nothing.example.org")
        assert missing.rcode() == dns.rcode.NXDOMAIN


async def test_an_external_name_is_followed_outside_and_inside():
    things = [
        make.external("far", "www.x.svc.example.org"), make.external("near", WEB), make.service("web"),
    ]
    async with with_outside(*things, records=[make.service("www", "x", ip="192.0.2.7")]) as port:
        far = await ask(port, "far.default.svc.cluster.local")
        assert texts(far) == ["www.x.svc.example.org.", "192.0.2.7"]
        near = await ask(port, "near.default.svc.cluster.local")
        assert texts(near) == [f"{WEB}.", "10.96.1.1"]


async def test_cnames_in_a_circle_fail():
    async with serving(
        make.external("a", "b.default.svc.cluster.local"), make.external("b", "a.default.svc.cluster.local")
    ) as (port, _):
        assert (await ask(port, "a.default.svc.cluster.local")).rcode() == dns.rcode.SERVFAIL


async def test_a_large_answer_from_outside_comes_over_tcp():
    service, slice_ = many(300)
    async with with_outside(records=[service, slice_]) as port:
        query = dns.message.make_query("db.default.svc.example.org", "A")
        whole, over_tcp = await dns.asyncquery.udp_with_fallback(query, HOST, port=port, timeout=40)
        assert over_tcp
        assert len(whole.answer[0]) == 300


async def test_a_silent_resolver_is_a_server_failure():
    with udp_socket() as silent:
        silent.bind((HOST, 0))
        upstream = to(silent.getsockname()[1], seconds=0.05)
        async with serving(make.external("far", "www.example.org"), upstream=upstream) as (port, _):
            assert (await ask(port, "www.example.org")).rcode() == dns.rcode.SERVFAIL
            assert (await ask(port, "far.default.svc.cluster.local")).rcode() == dns.rcode.SERVFAIL


async def test_a_forged_answer_to_another_question_is_not_taken():
    """The resolver first answers another question under the right id, then the right one."""
    loop = asyncio.get_running_loop()
    with udp_socket() as liar:
        liar.bind((HOST, 0))
        liar.setblocking(False)

        async def lie():
            packet, sender = await loop.sock_recvfrom(liar, 4096)
            asked = dns.message.from_wire(packet)
            forged = dns.message.make_response(dns.message.make_query("bank.example.org", "A", id=asked.id))
            await loop.sock_sendto(liar, forged.to_wire(), sender)
            true = dns.message.make_response(asked)
            true.set_rcode(dns.rcode.NXDOMAIN)
            await loop.sock_sendto(liar, true.to_wire(), sender)

        task = asyncio.create_task(lie())
        async with serving(upstream=to(liar.getsockname()[1])) as (port, _):
            assert (await ask(port, "www.example.org")).rcode() == dns.rcode.NXDOMAIN
        await task


def test_the_hosts_servers_are_read_in_order(tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_text("# x\nsearch lan\nnameserver 192.0.2.1\nnameserver ::1\nnameserver 192.0.2.2\n")
    assert resolvers.host_servers(str(file)) == ("192.0.2.1", "192.0.2.2")
    assert resolvers.host_servers(str(tmp_path / "missing")) == ("127.0.0.1",)


_IN_A_NAMESPACE = """
import os, subprocess, sys
from retic.local import dns
here = os.readlink("/proc/thread-self/ns/net")
holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; read line"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
holder.stdout.readline()
path = f"/proc/{holder.pid}/ns/net"
pairs = [dns.sockets_in(path), dns.sockets_in(None)]
assert [s.getsockname() for pair in pairs for s in pair] == [("10.96.0.10", 53)] * 4
assert os.readlink("/proc/thread-self/ns/net") == here
try:
    dns.sockets_in(path)
except OSError as error:
    print("taken:", error.strerror)
holder.communicate(b"")
"""


def test_sockets_are_made_inside_a_namespace_before_the_address_is_there():
    """In a user namespace of its own: the same port can be bound twice only in two network namespaces."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _IN_A_NAMESPACE],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert (done.returncode, done.stdout) == (0, "taken: Address already in use\n"), done.stderr
