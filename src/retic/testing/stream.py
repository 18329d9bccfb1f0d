"""A watch stream's server that does what a test tells it, on a real socket."""

import asyncio
from pathlib import Path


class Server:
    """Sends `greeting` to whoever connects, then what `send` is given; keeps the requests it was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.greeting = b""
        self.requests: list[bytes] = []
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; an old socket file is replaced."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._clients):
            writer.close()
        self._clients.clear()
        self.path.unlink(missing_ok=True)

    async def send(self, data: bytes) -> None:
        """Write to every client, as it is."""
        for writer in tuple(self._clients):
            writer.write(data)
            await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readline())
        writer.write(self.greeting)
        await writer.drain()
        self._clients.add(writer)
