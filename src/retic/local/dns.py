"""The cluster's DNS server: packets in, answers from `retic.local.zone` or the host's resolvers out.

It serves sockets that somebody else bound (`sockets_in` binds a pair inside a network namespace), over UDP
and TCP. What the zone does not own is forwarded to the host's resolvers through sockets that the caller
makes, since the cluster's namespaces cannot reach them. It caches nothing: an edit is seen by the next
query, and the host's resolvers have caches of their own. It never answers a packet it cannot read.
"""

import asyncio
import contextlib
import functools
import itertools
import socket
from collections.abc import Iterable
from typing import cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import structlog

from retic.local import upstream as resolvers
from retic.local import zone as zones
from retic.node import inside

_PAYLOAD = 1232  # bytes of a UDP answer that no path fragments (DNS flag day 2020)
_PLAIN = 512  # bytes a client without EDNS takes (RFC 1035, section 4.2.1)
_CHAIN = 8  # CNAMEs followed for one question
_IDLE = 10.0  # seconds a silent TCP connection may stay
_BACKLOG = 256
_FREEBIND = 15  # IP_FREEBIND: the address may come to the interface later

log = structlog.get_logger()


def sockets_in(
    path: str | None, address: str = "10.96.0.10", port: int = 53
) -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket at `address`, made in the namespace at `path` (None: this one).

    The address need not be on an interface yet. Raises OSError when the port is taken or `path` is not a
    namespace. Blocks for the moment it takes; the calling thread's own namespace does not change.
    """
    def make() -> tuple[socket.socket, socket.socket]:
        udp = _bound(socket.SOCK_DGRAM, address, port)
        try:
            return udp, _bound(socket.SOCK_STREAM, address, port)
        except OSError:
            udp.close()
            raise

    return make() if path is None else inside.network_namespace(path, make)


def _bound(kind: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class Server:
    """Answers on any number of socket pairs from one zone.

    Without `upstream`, whatever the zone does not own is refused.
    """

    def __init__(self, zone: zones.Zone, upstream: resolvers.Upstream | None = None) -> None:
        self._zone = zone
        self._upstream = upstream
        self._turn = itertools.count()
        self._open: list[tuple[asyncio.DatagramTransport, asyncio.Server]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Begin answering on a pair; returns at once. The sockets belong to the server from here on."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        server = await asyncio.start_server(self._stream, sock=tcp)
        self._open.append((transport, server))

    async def close(self) -> None:
        """Stop answering and close every socket."""
        for transport, server in self._open:
            transport.close()
            server.close()
        self._open.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def datagram(self, packet: bytes, sender: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        """Answer one UDP packet, at once when the zone can."""
        query = _parse(packet)
        if query is None:
            return
        here = self._here(query)
        if here is not None:
            transport.sendto(_wire(query, here, udp=True), sender)
            return
        task = asyncio.ensure_future(self._later(query, packet, sender, transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(
        self, query: dns.message.Message, packet: bytes, sender: tuple[str, int],
        transport: asyncio.DatagramTransport,
    ) -> None:
        wire = await self._forwarded(query, packet, udp=True)
        if not transport.is_closing():
            transport.sendto(wire, sender)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                async with asyncio.timeout(_IDLE):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(size)
                query = _parse(packet)
                if query is None:
                    return
                here = self._here(query)
                if here is not None:
                    wire = _wire(query, here, udp=False)
                else:
                    wire = await self._forwarded(query, packet, udp=False)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                async with asyncio.timeout(_IDLE):
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    def _here(self, query: dns.message.Message) -> dns.message.Message | None:
        """The answer when no other server is needed for it, else None."""
        refusal = _refusal(query)
        if refusal is not None:
            return _reply(query, refusal)
        question = query.question[0]
        name, kind = _text(question.name), dns.rdatatype.to_text(question.rdtype)
        first = self._zone.look_up(name, kind)
        if first.status is zones.Status.OUTSIDE:
            return _reply(query, dns.rcode.REFUSED) if self._upstream is None else None
        reply = _reply(query, dns.rcode.NOERROR)
        reply.flags |= dns.flags.AA
        owner, answer = question.name, first
        for _ in range(_CHAIN):
            self._write(reply, owner, answer)
            target = _target(answer, kind)
            if target is None:
                return reply
            following = _name(target)
            if following is None:
                break
            owner = following
            answer = self._zone.look_up(target, kind)
            if answer.status is zones.Status.OUTSIDE:
                return reply if self._upstream is None else None
        return _reply(query, dns.rcode.SERVFAIL)

    def _write(self, reply: dns.message.Message, owner: dns.name.Name, answer: zones.Answer) -> None:
        if answer.status is zones.Status.NO_NAME:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        if answer.soa is not None:
            soa = answer.soa
            reply.authority.append(_sets(dns.name.from_text(soa.name), [soa])[0])
        records = answer.records
        if len(records) > 1:
            start = next(self._turn) % len(records)
            records = records[start:] + records[:start]
        reply.answer += _sets(owner, records)
        for target in dict.fromkeys(_srv_targets(records)):
            host = _name(target)
            if host is not None:
                reply.additional += _sets(host, self._zone.look_up(target, "A").records)

    async def _forwarded(self, query: dns.message.Message, packet: bytes, *, udp: bool) -> bytes:
        """Ask the host's resolvers: for the question itself, or for the end of its CNAME chain."""
        assert self._upstream is not None
        reply = _reply(query, dns.rcode.NOERROR)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name, owner = _text(question.name), question.name
        for _ in range(_CHAIN):
            answer = self._zone.look_up(name, kind)
            if answer.status is zones.Status.OUTSIDE:
                break
            self._write(reply, owner, answer)
            name = _target(answer, kind) or name
            owner = _name(name) or owner
        try:
            if not reply.answer:
                return await self._upstream.relay(packet, stream=not udp)
            asked = dns.message.make_query(owner, question.rdtype, use_edns=0, payload=_PAYLOAD)
            wire = await self._upstream.relay(asked.to_wire(), stream=not udp)
            found = dns.message.from_wire(wire)
        except (resolvers.Unanswered, dns.exception.DNSException) as error:
            log.info("no answer from the host's resolvers", name=name, reason=str(error))
            return _wire(query, _reply(query, dns.rcode.SERVFAIL), udp=udp)
        reply.answer += found.answer
        reply.authority += found.authority
        reply.set_rcode(found.rcode())
        reply.flags |= found.flags & dns.flags.TC
        return _wire(query, reply, udp=udp)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._server.datagram(data, addr, self._transport)


def _parse(packet: bytes) -> dns.message.Message | None:
    """The query, or None for what is malformed or is no query."""
    try:
        query = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if query.flags & dns.flags.QR else query


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    if query.edns > 0:
        return dns.rcode.BADVERS
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN or question.rdtype in {
        dns.rdatatype.AXFR, dns.rdatatype.IXFR,
    }:
        return dns.rcode.REFUSED
    return None


def _reply(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    reply = dns.message.Message(id=query.id)
    reply.flags = dns.flags.QR | dns.flags.RA | (query.flags & (dns.flags.RD | dns.flags.CD))
    reply.set_opcode(query.opcode())
    reply.question = list(query.question)
    if query.edns >= 0:
        reply.use_edns(0, query.ednsflags & dns.flags.DO, payload=_PAYLOAD)
    reply.set_rcode(rcode)
    return reply


def _wire(query: dns.message.Message, reply: dns.message.Message, *, udp: bool) -> bytes:
    """The packet, cut to what the client takes, with the TC bit when something had to go."""
    size = 65535
    if udp:
        size = _PLAIN if query.edns < 0 else max(_PLAIN, min(query.payload, _PAYLOAD))
    try:
        return reply.to_wire(max_size=size, prefer_truncation=True, want_shuffle=False)
    except dns.exception.TooBig:
        return _reply(query, dns.rcode.SERVFAIL).to_wire()


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _name(text: str) -> dns.name.Name | None:
    """The name, or None for one that the DNS cannot carry, such as with a label of more than 63 bytes."""
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException:
        return None


def _target(answer: zones.Answer, kind: str) -> str | None:
    """The name to go on with when the answer is a CNAME that was not itself asked for."""
    if kind in {"CNAME", "ANY"} or len(answer.records) != 1:
        return None
    record = answer.records[0]
    return record.data.rstrip(".") if record.kind is zones.Kind.CNAME else None


def _srv_targets(records: Iterable[zones.Record]) -> Iterable[str]:
    return (r.data.rsplit(" ", 1)[1].rstrip(".") for r in records if r.kind is zones.Kind.SRV)


@functools.lru_cache(maxsize=16384)
def _rdata(kind: zones.Kind, data: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), data)


def _sets(owner: dns.name.Name, records: Iterable[zones.Record]) -> list[dns.rrset.RRset]:
    """One set per type, in the records' order; a record whose data the DNS cannot carry is left out."""
    sets: dict[zones.Kind, dns.rrset.RRset] = {}
    for record in records:
        with contextlib.suppress(dns.exception.DNSException, ValueError):
            data = _rdata(record.kind, record.data)
            if record.kind not in sets:
                sets[record.kind] = dns.rrset.RRset(
                    owner, dns.rdataclass.IN, dns.rdatatype.from_text(record.kind)
                )
            sets[record.kind].add(data, zones.TTL)
    return list(sets.values())
