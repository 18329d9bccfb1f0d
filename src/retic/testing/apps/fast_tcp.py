"""A TCP echo server for benchmarks: bytes come back as they are."""

import asyncio
import gc

from retic.testing.apps import start


class Connection(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    gc.disable()
    await start.serve_protocol(given, Connection)


if __name__ == "__main__":
    asyncio.run(main())
