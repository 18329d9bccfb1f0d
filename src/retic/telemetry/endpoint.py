"""HTTPS pages for whoever has a bearer token that counts: what Prometheus scrapes. HTTP/1.1 over h11.

Everything that a caller chooses is bounded: bytes, seconds, connections. Nothing is said to who has no such token, not
even which pages there are.
"""

import asyncio
import gzip
import hmac
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import h11

SECONDS, IDLE = 30.0, 90.0
"""For one request, from its first byte, and between two."""
STRANGER = 5.0
"""Until TLS is spoken, and then until the first request's head is there, of a caller who has shown no token yet."""
CONNECTIONS, PER_ADDRESS = 64, 16
"""At once, and of those from one address. What is beyond is closed before it costs any memory."""
MOST_HEAD = 16 * 1024

Page = Callable[[str], Awaitable[bytes | None]]
"""From a path to its content; None when there is no such page, UnavailableError when it cannot be had now."""
Judge = Callable[[str, str], Awaitable[HTTPStatus]]
"""From a token and the caller's address to OK, or to what the caller is answered: UNAUTHORIZED, FORBIDDEN, or
SERVICE_UNAVAILABLE where that cannot be told."""
_REFUSED = {
    HTTPStatus.UNAUTHORIZED: b"a bearer token that counts is wanted: retic metrics says which\n",
    HTTPStatus.FORBIDDEN: b"this token's bearer may not read metrics: give it the right to get /metrics\n",
    HTTPStatus.SERVICE_UNAVAILABLE: b"nobody can say now whether this token counts: try again\n",
}


class UnavailableError(Exception):
    """A page that cannot be had now. The message says why, for the caller."""


def token_of(one: str) -> Judge:
    """Only this token counts."""

    async def judge(token: str, _address: str) -> HTTPStatus:
        good = hmac.compare_digest(token.encode("latin-1"), one.encode())
        return HTTPStatus.OK if good else HTTPStatus.UNAUTHORIZED

    return judge


class Endpoint:
    """`context` has the certificate, `judge` says whose token counts, `kind` is the pages' content type."""

    def __init__(self, context: ssl.SSLContext, judge: Judge, page: Page, kind: str) -> None:
        self._context, self._judge, self._page, self._kind = context, judge, page, kind.encode()
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._closing = False
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. OSError when it cannot be had."""
        # Without `ssl`: TLS costs a quarter of a megabyte from the first packet, and who comes is counted before.
        self._server = await asyncio.start_server(self._serve, host, port, backlog=CONNECTIONS)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more connections and end those that there are."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        address = str((writer.get_extra_info("peername") or ("",))[0])
        there = list(self._tasks.values())
        if task is None or self._closing or len(there) >= CONNECTIONS or there.count(address) >= PER_ADDRESS:
            writer.close()
            return
        self._tasks[task] = address
        try:
            await writer.start_tls(self._context, ssl_handshake_timeout=STRANGER)
            await self._converse(reader, writer, address)
            writer.close()
            async with asyncio.timeout(STRANGER):  # for the peer's end of TLS
                await writer.wait_closed()
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # the caller is gone, or speaks something else
        except asyncio.CancelledError:
            pass  # by `close`: the task ends here, and asyncio would log it otherwise
        finally:
            writer.transport.abort()
            del self._tasks[task]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        patience = STRANGER
        while True:
            async with asyncio.timeout(patience):
                asked = await _next(connection, reader)
            if not isinstance(asked, h11.Request):
                return
            async with asyncio.timeout(SECONDS):
                status, body = await self._answer(asked, address)
                headers = [(b"content-type", self._kind if status == 200 else b"text/plain; charset=utf-8")]
                if status == 401:
                    headers.append((b"www-authenticate", b"Bearer"))
                if status == 200 and b"gzip" in dict(asked.headers).get(b"accept-encoding", b""):
                    body = await asyncio.to_thread(gzip.compress, body, 1)
                    headers.append((b"content-encoding", b"gzip"))
                headers.append((b"content-length", str(len(body)).encode()))
                if status != 200:
                    headers.append((b"connection", b"close"))
                for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body)):
                    writer.write(connection.send(event) or b"")
                writer.write(connection.send(h11.EndOfMessage()) or b"")
                await writer.drain()
                if status != 200 or not isinstance(await _next(connection, reader), h11.EndOfMessage):
                    return
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
            patience = IDLE

    async def _answer(self, asked: h11.Request, address: str) -> tuple[int, bytes]:
        how, _, token = dict(asked.headers).get(b"authorization", b"").decode("latin-1").partition(" ")
        verdict = HTTPStatus.UNAUTHORIZED
        if how.lower() == "bearer" and token:
            verdict = await self._judge(token.strip(), address)
        if verdict is not HTTPStatus.OK:
            return verdict, _REFUSED[verdict]
        if asked.method != b"GET":
            return 405, b"another method\n"
        path = asked.target.partition(b"?")[0].decode("ascii", "replace")
        try:
            found = await self._page(path)
        except UnavailableError as error:
            return 503, f"{error}\n".encode()
        return (404, b"no such page: /metrics is one\n") if found is None else (200, found)


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    """The next event, when it is there."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(64 * 1024))
    return event
