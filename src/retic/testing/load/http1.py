"""One HTTP/1.1 client connection, one request at a time, as little work per request as Python allows."""

import asyncio
import re

from retic.testing.load import record

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Sends prepared bytes and waits for a whole response. Made by `connect`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiter: asyncio.Future[int] | None = None
        self._lost: Exception | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or EOFError()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._lost)

    @property
    def usable(self) -> bool:
        return self._lost is None and self.transport is not None and not self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._waiter is None or self._waiter.done():
            return
        head = bytes(self._buffer[: end + 2])
        if head.startswith(b"HTTP/1.1 100"):
            del self._buffer[: end + 4]
            self.data_received(b"")
            return
        if (size := self._body_end(head, end + 4)) is None or len(self._buffer) < size:
            return
        self._buffer.clear()
        if _CLOSE.search(head) and self.transport is not None:
            self.transport.close()
        self._waiter.set_result(int(head[9:12]))

    def _body_end(self, head: bytes, begin: int) -> int | None:
        if match := _LENGTH.search(head):
            return begin + int(match.group(1))
        if not _CHUNKED.search(head):
            return begin
        place = self._buffer.find(b"0\r\n\r\n", begin)
        while place > begin and self._buffer[place - 1 : place] != b"\n":
            place = self._buffer.find(b"0\r\n\r\n", place + 1)
        return None if place < 0 else place + 5

    async def ask(self, request: bytes) -> int:
        """Send and wait for the answer's status. Raises what ended the connection."""
        if self._lost is not None or self.transport is None:
            raise self._lost or EOFError()
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiter

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


async def connect(host: str, port: int) -> Connection:
    """A new connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def request(authority: str, path: str, headers: list[tuple[str, str]]) -> bytes:
    """The bytes of a GET."""
    lines = [f"GET {path} HTTP/1.1", f"host: {authority}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Client:
    """The load generator's view: a request that either succeeds or raises, reconnecting as needed."""

    def __init__(self, host: str, port: int, wire: bytes, *, keep_alive: bool) -> None:
        self._host, self._port, self._wire, self._keep = host, port, wire, keep_alive
        self._connection: Connection | None = None

    async def once(self) -> None:
        """One request. Raises `record.Failed` for a status of 400 or more, OSError or EOFError else."""
        if self._connection is None or not self._connection.usable:
            self._connection = await connect(self._host, self._port)
        status = await self._connection.ask(self._wire)
        if not self._keep:
            self.close()
        if status >= 400:
            raise record.Failed(f"status {status}")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
