"""A careless HTTP server that writes down every byte it gets: what an attack must not bring about is seen here.

HTTP/1 as lenient as can be (bare LF, names with spaces before the colon, the last of several lengths), HTTP/2 by prior
knowledge, and whatever else comes is written down and answered by nothing. Each thing is one line of JSON in `LOG`:
`open`, `bytes` (latin-1) and, of HTTP/2, `headers`. Refuses to judge what it gets.
"""

import asyncio
import json
import os
import re

import h2.config
import h2.connection
import h2.events

from retic.testing.apps import start

_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d+)")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Log:
    """A file of lines, written at once."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", buffering=1)  # noqa: SIM115 - for as long as the server lives

    def write(self, what: str, value: object) -> None:
        """One line."""
        self._file.write(json.dumps({what: value}) + "\n")


async def answer(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until either side closes it."""
    log.write("open", start.peer(writer.get_extra_info("peername")))
    got = await reader.read(65536)
    if got.startswith(_PREFACE[:16]):
        await _http2(log, reader, writer, got)
        return
    while got:
        log.write("bytes", got.decode("latin-1"))
        for _ in range(_requests(got)):
            writer.write(_ANSWER)
        await writer.drain()
        got = await reader.read(65536)


def _requests(got: bytes) -> int:
    """How many heads end in these bytes: a body that looks like a request is taken for one."""
    return len(_END.findall(got)) or int(got.startswith(b"GET "))


async def _http2(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: bytes) -> None:
    config = h2.config.H2Configuration(client_side=False, validate_inbound_headers=False, header_encoding=None)
    made = h2.connection.H2Connection(config)
    made.initiate_connection()
    while got:
        for event in made.receive_data(got):
            if isinstance(event, h2.events.RequestReceived):
                said = [[bytes(n).decode("latin-1"), bytes(v).decode("latin-1")] for n, v in event.headers or ()]
                log.write("headers", said)
            if isinstance(event, h2.events.DataReceived) and event.data:
                log.write("bytes", event.data.decode("latin-1"))
            if isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
                made.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
                made.send_data(event.stream_id, b"ok", end_stream=True)
        writer.write(made.data_to_send())
        await writer.drain()
        got = await reader.read(65536)


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    log = Log(os.environ["LOG"])
    await start.serve_streams(given, lambda reader, writer: answer(log, reader, writer))


if __name__ == "__main__":
    asyncio.run(main())
