"""Between a mesh's own network and the host's: calls to the outside, and gateways seen from outside.

Egress: TCP from pods and nodes to any address outside the mesh's networks is redirected, in the fabric's
namespace, to a relay that asks the broker for a socket connected from the host. Ingress: a listening socket
of the host, from the broker, relayed to a gateway's address inside. Refuses UDP to the outside, at once, with
an ICMP error, but for packets to nameservers that it was told of; it never waits for a time-out that the caller
could be spared.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import shutil
import socket
import struct
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from retic.local import broker
from retic.local.sandbox import addresses

log = structlog.get_logger(__name__)

_SO_ORIGINAL_DST = 80
_CHUNK = 256 * 1024
_BACKLOG = 1024
# Both legs of a relayed connection, and the broker's descriptor on its way, at a usual limit of descriptors.
_MOST_AT_ONCE = 4096
_ABORT = struct.pack("ii", 1, 0)
_OURS = ", ".join(str(network) for network in (*addresses.MESH, addresses.LOOPBACK, "224.0.0.0/3"))
_RULES = """
table ip retic_egress {{
  map nameservers {{ type ipv4_addr : inet_service; }}
  set ours {{ type ipv4_addr; flags interval; elements = {{ {ours} }} }}
  chain redirect_in {{
    type nat hook prerouting priority -100;
    ip daddr != @ours ip protocol tcp redirect to :{port}
    udp dport 53 redirect to :ip daddr map @nameservers
  }}
  chain redirect_out {{
    type nat hook output priority -100;
    ip daddr != @ours ip protocol tcp redirect to :{port}
  }}
  chain refuse_out {{
    type filter hook output priority 0;
    ip daddr != @ours ip protocol != tcp reject with icmp port-unreachable
  }}
  chain refuse_forward {{
    type filter hook forward priority 0;
    ip daddr != @ours reject with icmp port-unreachable
  }}
}}
"""


_Reach = Callable[[socket.socket], Awaitable[socket.socket]]


class Egress:
    """The relay of calls to the outside. `start` once, in pid 1, in the fabric's namespace."""

    def __init__(self, outside: broker.Client) -> None:
        self._broker = outside
        self._relay = _Relay()

    async def start(self) -> None:
        """Listen, then redirect to where we listen. Raises OSError when nft refuses the rules."""
        sock = socket.create_server(("0.0.0.0", 0), backlog=_BACKLOG)
        sock.setblocking(False)
        port = sock.getsockname()[1]
        self._relay.serve(sock, lambda accepted: self._reach(accepted, port))
        await _load(_RULES.format(port=port, ours=_OURS))

    async def nameserver(self, address: str, port: int) -> None:
        """Lead DNS packets of pods for `address` to a server at the fabric's UDP port. Raises OSError."""
        await _load(f"add element ip retic_egress nameservers {{ {address} : {port} }}\n")

    async def close(self) -> None:
        await self._relay.close()

    async def _reach(self, accepted: socket.socket, own_port: int) -> socket.socket:
        packed = accepted.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!2xH4s", packed)
        target = ipaddress.IPv4Address(address)
        if addresses.of_mesh(target) or target in addresses.LOOPBACK or target.is_unspecified:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"called directly, at port {own_port}")
        return await self._broker.connect(str(target), port)


class Published(msgspec.Struct, frozen=True):
    """A gateway's listener as the host sees it: 127.0.0.1:`port`; `wanted`: the port that was asked for."""

    port: int
    wanted: bool


class Ingress:
    """Listeners of the host that lead to addresses inside the mesh."""

    def __init__(self, outside: broker.Client) -> None:
        self._broker = outside
        self._relays: dict[tuple[str, int], list[_Relay]] = {}
        self._published: dict[tuple[str, int], Published] = {}

    async def publish(self, ip: str, port: int, wanted: int) -> Published:
        """Make ip:port reachable at the host's 127.0.0.1:`wanted`, or another port when that one is taken.

        Published already: the same answer again, unless it was another port and the wanted one is free now:
        then that one, and connections of the other go on. Raises OSError, broker.LostError.
        """
        before = self._published.get((ip, port))
        if before is not None and before.wanted:
            return before
        listening = await self._broker.listen(wanted)
        if before is not None and not listening.wanted:
            listening.socket.close()
            return before
        listening.socket.setblocking(False)
        relay = _Relay()
        relay.serve(listening.socket, lambda _: _connect(ip, port))
        for older in self._relays.setdefault((ip, port), []):
            await older.accept_no_more()
        self._relays[ip, port].append(relay)
        self._published[ip, port] = Published(listening.port, listening.wanted)
        return self._published[ip, port]

    async def withdraw(self, ip: str, port: int) -> None:
        """Stop listening and cut what is open; nothing happens when it was not published."""
        self._published.pop((ip, port), None)
        for relay in self._relays.pop((ip, port), ()):
            await relay.close()

    async def close(self) -> None:
        for ip, port in list(self._relays):
            await self.withdraw(ip, port)


class _Relay:
    """Accepts, reaches the other side, copies both ways with half-close and back-pressure."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)

    def serve(self, sock: socket.socket, reach: _Reach) -> None:
        self._accepting = asyncio.get_running_loop().create_task(self._accept(sock, reach))

    async def close(self) -> None:
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept_no_more(self) -> None:
        """Close the listening socket; what is open stays."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)

    async def _accept(self, sock: socket.socket, reach: _Reach) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                await self._room.acquire()
                try:
                    accepted, _ = await loop.sock_accept(sock)
                except OSError as error:
                    self._room.release()
                    log.warning("a connection could not be accepted", error=str(error))
                    await asyncio.sleep(0.1)
                    continue
                task = loop.create_task(self._carry(accepted, reach))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _carry(self, accepted: socket.socket, reach: _Reach) -> None:
        accepted.setblocking(False)
        with accepted:
            try:
                other = await reach(accepted)
            except OSError as error:
                log.info("no connection", error=str(error))
                _reset(accepted)
                return
            with other:
                await _both_ways(accepted, other)


class _Leg(asyncio.Protocol):
    """One side of a relayed connection. What arrives is written to the other; so are end, reset, fullness."""

    def __init__(self) -> None:
        self.other: _Leg
        self.transport: asyncio.Transport
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_CHUNK)
        transport.pause_reading()
        # Python 3.11.2 begins to read after this all the same: it is paused once more when it has.
        asyncio.get_running_loop().call_soon(self._hold)

    def _hold(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self.other._ended:
            self.transport.close()
            self.other.transport.close()
        elif not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        if error is not None and not self.other.transport.is_closing():
            _reset(self.other.transport.get_extra_info("socket"))
            self.other.transport.abort()
        elif not self._ended:
            self.other.transport.close()


async def _both_ways(one: socket.socket, two: socket.socket) -> None:
    """Copy until both sides ended. Cancelled: both are reset."""
    loop = asyncio.get_running_loop()
    legs = [_Leg(), _Leg()]
    legs[0].other, legs[1].other = legs[1], legs[0]
    for leg, sock in zip(legs, (one, two), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.connect_accepted_socket(lambda leg=leg: leg, sock)  # type: ignore[misc]
    try:
        for leg in legs:
            leg.transport.resume_reading()
        await asyncio.gather(*(leg.gone for leg in legs))
    finally:
        for leg in legs:
            leg.transport.abort()


def _reset(sock: socket.socket) -> None:
    """Have the socket's close send RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


async def _connect(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_connect(sock, (ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _load(rules: str) -> None:
    """Load rules into this process's network namespace, all or none."""
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None:
        raise FileNotFoundError(errno.ENOENT, "nft is missing: apt install nftables")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(nft, "-f", "-", stdin=pipe, stdout=pipe, stderr=pipe)
    _, words = await process.communicate(rules.encode())
    if process.returncode != 0:
        raise OSError(errno.EINVAL, f"nft refused the rules: {words.decode().strip()}")
