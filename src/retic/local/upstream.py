"""Asking the host's resolvers over sockets that somebody else makes in the host's network namespace.

A packet goes out as it came, under a fresh id and from a fresh port, and only an answer with that id, from
that server, to that very question counts. It keeps no cache and rewrites no answer.
"""

import asyncio
import inspect
import pathlib
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence

_PORT = 53
_SECONDS = 2.0  # for one try
_TRIES = 2  # rounds over all servers
_AT_ONCE = 512  # questions in flight: a pod must not use up the broker's descriptors
_LARGEST = 65535

UdpMaker = Callable[[], socket.socket | Awaitable[socket.socket]]
TcpMaker = Callable[[str, int], socket.socket | Awaitable[socket.socket]]


class Unanswered(Exception):  # noqa: N818
    """No resolver answered; the text says why."""


def host_servers(path: str = "/etc/resolv.conf") -> tuple[str, ...]:
    """The host's IPv4 nameservers in order; 127.0.0.1 when the file names none (resolv.conf(5))."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and ":" not in w[1]]
    return tuple(dict.fromkeys(found)) or ("127.0.0.1",)


class Upstream:
    """Resolvers in the order they are tried.

    `udp` makes an unconnected IPv4 UDP socket, `tcp` a socket connected to an address and port; both may be
    plain or async. Without `tcp`, a client that asks over TCP gets what UDP gave.
    """

    def __init__(
        self, servers: Sequence[str], udp: UdpMaker, tcp: TcpMaker | None = None, *,
        port: int = _PORT, seconds: float = _SECONDS,
    ) -> None:
        self._servers = tuple(servers)
        self._udp = udp
        self._tcp = tcp
        self._port = port
        self._seconds = seconds
        self._in_flight = 0

    async def relay(self, packet: bytes, *, stream: bool = False) -> bytes:
        """The answer's packet under the question's id. Raises Unanswered after all tries, within seconds."""
        if self._in_flight >= _AT_ONCE:
            raise Unanswered(f"{_AT_ONCE} questions are in flight already")
        self._in_flight += 1
        try:
            return await self._tried(packet, stream=stream and self._tcp is not None)
        finally:
            self._in_flight -= 1

    async def _tried(self, packet: bytes, *, stream: bool) -> bytes:
        reason = "no resolver is known"
        for _ in range(_TRIES):
            for server in self._servers:
                sent = secrets.token_bytes(2) + packet[2:]
                try:
                    async with asyncio.timeout(self._seconds):
                        ask = self._over_tcp if stream else self._over_udp
                        return packet[:2] + (await ask(server, sent))[2:]
                except TimeoutError:
                    reason = f"{server} did not answer within {self._seconds} s"
                except (OSError, asyncio.IncompleteReadError) as error:
                    reason = f"{server}: {error}"
        raise Unanswered(reason)

    async def _over_udp(self, server: str, sent: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with await _made(self._udp()) as sock:
            sock.setblocking(False)
            sock.connect((server, self._port))  # answers from elsewhere do not reach us
            await loop.sock_sendall(sock, sent)
            while True:
                answer = await loop.sock_recv(sock, _LARGEST)
                if _answers(answer, sent):
                    return answer

    async def _over_tcp(self, server: str, sent: bytes) -> bytes:
        assert self._tcp is not None
        sock = await _made(self._tcp(server, self._port))
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(len(sent).to_bytes(2, "big") + sent)
            await writer.drain()
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()
        if not _answers(answer, sent):
            raise OSError("an answer to another question")
        return answer


async def _made(made: socket.socket | Awaitable[socket.socket]) -> socket.socket:
    return await made if inspect.isawaitable(made) else made


def _question(packet: bytes) -> bytes:
    """The bytes of the first question: a name without compression, type and class (RFC 1035, 4.1.2)."""
    at = 12
    while at < len(packet) and packet[at]:
        at += 1 + packet[at]
    return packet[12 : at + 5]


def _answers(answer: bytes, sent: bytes) -> bool:
    same = answer[:2] == sent[:2] and _question(answer).lower() == _question(sent).lower()
    return len(answer) >= 12 and bool(answer[2] & 0x80) and same
