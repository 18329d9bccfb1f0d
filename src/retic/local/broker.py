"""Sockets of the host's network for a mesh that has a network of its own.

The server runs in the outer process, in the host's namespaces; the client in pid 1. Only sockets travel
between them, never bytes of a connection. There is no door but the socket pair that pid 1 inherits, so nobody
else can ask. Refuses to listen anywhere but on 127.0.0.1, and to connect into the mesh's own networks, which
on the host's side are somebody else's.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Sequence

import msgspec

from retic.local.sandbox import addresses, channel

VARIABLE = "RETIC_BROKER_FD"
LISTEN_ADDRESS = "127.0.0.1"
_BACKLOG = 1024

LostError = channel.LostError


class _Listen(msgspec.Struct, frozen=True):
    port: int


class _Connect(msgspec.Struct, frozen=True):
    host: str
    port: int
    seconds: float


class Listening(msgspec.Struct, frozen=True):
    """A listening socket of the host at 127.0.0.1:`port`; `wanted`: it is the port that was asked for."""

    socket: socket.socket
    port: int
    wanted: bool


class Client:
    """The asking side, in pid 1's event loop. All methods raise LostError when the outer process is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._caller = channel.Caller(sock)

    @property
    def lost(self) -> asyncio.Event:
        """Set when the outer process is gone; pid 1 should end then."""
        return self._caller.lost

    async def listen(self, port: int) -> Listening:
        """Listen at the host's 127.0.0.1:`port`, or at a free port when that one is taken or not allowed.

        0 asks for any. Raises OSError when there is none at all.
        """
        answer = await self._caller.call("listen", _Listen(port))
        sock = socket.socket(fileno=answer.fds[0])
        got = answer.value(int)
        return Listening(sock, got, got == port)

    async def connect(self, host: str, port: int, seconds: float = 10.0) -> socket.socket:
        """A TCP socket connected from the host's network to `host` (address or name), within `seconds`.

        Raises OSError as connect(2) would: ConnectionRefusedError, TimeoutError, or PermissionError for an
        address of the mesh itself.
        """
        answer = await self._caller.call("connect", _Connect(host, port, seconds))
        return _adopt(answer.fds[0])

    async def udp(self) -> socket.socket:
        """An unbound IPv4 UDP socket of the host's network."""
        answer = await self._caller.call("udp", None)
        return _adopt(answer.fds[0])

    def close(self) -> None:
        self._caller.close()


def inherited() -> Client:
    """The client of the socket that this process, pid 1 of a mesh, was started with."""
    sock = socket.socket(fileno=int(os.environ[VARIABLE]))
    os.set_inheritable(sock.fileno(), False)
    return Client(sock)


class Server:
    """The answering side, in the outer process's event loop. It ends when the other side does."""

    def __init__(self, sock: socket.socket) -> None:
        self._answerer = channel.Answerer(sock, self._serve)

    def close(self) -> None:
        self._answerer.close()

    async def _serve(self, request: channel.Message) -> tuple[object, Sequence[int]]:
        match request.verb:
            case "listen":
                sock = _listen(msgspec.json.decode(request.body, type=_Listen).port)
                return sock.getsockname()[1], (sock.detach(),)
            case "connect":
                wanted = msgspec.json.decode(request.body, type=_Connect)
                return None, ((await _connect(wanted)).detach(),)
            case "udp":
                return None, (socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),)
            case _:
                raise ValueError(f"unknown request {request.verb!r}")


def _adopt(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


def _listen(port: int) -> socket.socket:
    try:
        return _listen_at(port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
            raise
    return _listen_at(0)


def _listen_at(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LISTEN_ADDRESS, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(wanted: _Connect) -> socket.socket:
    """Try each address of the host in turn, all within the given time."""
    loop = asyncio.get_running_loop()
    problem: OSError = OSError(errno.EHOSTUNREACH, f"no address for {wanted.host}")
    try:
        async with asyncio.timeout(wanted.seconds):
            for family, address in await _resolve(wanted.host, wanted.port):
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                try:
                    await loop.sock_connect(sock, address)
                    return sock
                except OSError as error:
                    sock.close()
                    problem = OSError(error.errno, os.strerror(error.errno or errno.EIO))
                except BaseException:
                    sock.close()
                    raise
    except TimeoutError:
        raise TimeoutError(errno.ETIMEDOUT, f"no answer within {wanted.seconds} s") from None
    raise problem


async def _resolve(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found: list[tuple[int, tuple[str, int]]] = []
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        found = [(family, (host, port))]
    if not found:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise OSError(errno.EHOSTUNREACH, f"cannot resolve {host}: {error.strerror}") from error
        found = [(info[0], (str(info[4][0]), port)) for info in infos]
    for _, (text, _) in found:
        _refuse_mesh(ipaddress.ip_address(text.partition("%")[0]))
    return found


def _refuse_mesh(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    plain = address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
    if isinstance(plain, ipaddress.IPv4Address) and addresses.of_mesh(plain):
        raise PermissionError(errno.EACCES, f"{address} is inside the mesh: it has no such outside")
