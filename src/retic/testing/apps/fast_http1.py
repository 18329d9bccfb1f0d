"""An HTTP/1.1 server for benchmarks: one fixed answer of `--size` bytes to every request.

It counts empty lines and looks at nothing else, so requests must have no body; pipelining works.
"""

import asyncio
import gc

from retic.testing.apps import start

_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection; `answer` is the whole response."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        count = data.count(_END)
        if count:
            self.transport.write(self.answer if count == 1 else self.answer * count)
        self.rest = b"" if data.endswith(_END) else data[data.rfind(_END) + 4 if count else 0 :]


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {given.size}\r\n\r\n"
    answer = head.encode() + b"x" * given.size
    gc.disable()  # no cycles are made per request, and pauses would show in the percentiles
    await start.serve_protocol(given, lambda: Connection(answer))


if __name__ == "__main__":
    asyncio.run(main())
