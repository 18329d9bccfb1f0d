"""The controller's HTTPS port: `/validate` for the API server, `/healthz` and `/readyz` for the kubelet.

HTTP/1.1 over h11, with bounds on everything that a caller chooses: bytes, seconds, connections. Serves a certificate
of the mesh's own authority and renews it while it runs.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import h11
import msgspec
import structlog

from retic.identity import current, serving

log = structlog.get_logger(__name__)

MOST_BYTES = 8 * 1024 * 1024
"""Of one request: two objects of etcd's 1.5 MiB, and what JSON makes of them."""
SECONDS, IDLE = 10.0, 90.0
"""For one request, from its first byte, and between two."""
CONNECTIONS = 512

Validate = Callable[[bytes], bytes]
"""From an AdmissionReview to its answer; ValueError when it is none."""


class Server:
    """`names` are the DNS names that the API server calls it by; `ready` says whether work can be done."""

    def __init__(
        self, signer: current.Current, names: tuple[str, ...], validate: Validate, ready: Callable[[], bool]
    ) -> None:
        self._own, self._validate, self._ready = serving.Own(signer, names), validate, ready
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. OSError when it cannot be had."""
        self._server = await asyncio.start_server(
            self._serve, host, port, ssl=self._own.context, ssl_handshake_timeout=SECONDS, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def run(self) -> None:
        """Renew the certificate in time, until cancelled."""
        await self._own.run()

    async def close(self) -> None:
        """Take no more connections and end those that there are."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError, asyncio.IncompleteReadError):
            pass  # the caller is gone, or speaks something else
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
        while True:
            async with asyncio.timeout(IDLE):
                asked = await _next(connection, reader)
            if not isinstance(asked, h11.Request):
                return
            async with asyncio.timeout(SECONDS):
                status, body = await self._answer(connection, reader, asked)
                kind = b"application/json" if status == 200 and body[:1] == b"{" else b"text/plain; charset=utf-8"
                headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
                if connection.their_state is not h11.DONE:
                    headers.append((b"connection", b"close"))
                head = h11.Response(status_code=status, headers=headers)
                for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _answer(
        self, connection: h11.Connection, reader: asyncio.StreamReader, asked: h11.Request
    ) -> tuple[int, bytes]:
        content = bytearray()
        while not isinstance(event := await _next(connection, reader), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the request ended early")
            content += event.data
            if len(content) > MOST_BYTES:
                return 413, f"more than {MOST_BYTES} bytes".encode()
        match asked.target.partition(b"?")[0], asked.method:
            case b"/healthz", b"GET":
                return 200, b"ok"
            case b"/readyz", b"GET":
                return (200, b"ok") if self._ready() else (503, b"the objects are not all there yet")
            case b"/validate", b"POST":
                return self._validated(bytes(content))
            case (b"/validate" | b"/healthz" | b"/readyz"), _:
                return 405, b"another method"
        return 404, b"no such page"

    def _validated(self, content: bytes) -> tuple[int, bytes]:
        try:
            return 200, self._validate(content)
        except (msgspec.MsgspecError, ValueError) as error:
            return 400, f"no AdmissionReview: {error}".encode()[:500]


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    """The next event, when it is there."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(64 * 1024))
    return event
