"""A TCP echo server for benchmarks: bytes come back as they are. Told to end, it first answers whom it has."""

import asyncio
import gc
from typing import ClassVar

from retic.testing.apps import start


class Connection(asyncio.Protocol):
    """One connection; `open` are those that there are."""

    open: ClassVar[set["Connection"]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    gc.disable()
    await start.serve_protocol(given, Connection, busy=lambda: bool(Connection.open))


if __name__ == "__main__":
    asyncio.run(main())
