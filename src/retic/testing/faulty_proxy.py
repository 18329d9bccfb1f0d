"""A TCP proxy on 127.0.0.1 that spoils what passes through it, as a test tells it."""

import asyncio
import contextlib
import random


class Proxy:
    """From a port of its own to `host`:`port`. Whatever it is told holds for the connections of that moment."""

    def __init__(self, host: str, port: int, chance: random.Random | None = None) -> None:
        self._target = host, port
        self._chance = chance or random.Random()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._refuses = False
        self.port = 0
        self.accepted = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        self.kill()

    def kill(self) -> None:
        """Reset every connection."""
        for link in tuple(self._links):
            link.abort()

    def refuse(self, refuses: bool) -> None:
        """Whether new connections are closed at once."""
        self._refuses = refuses

    def freeze(self) -> None:
        """Connections stay open, but nothing comes from the server any more: half dead."""
        for link in self._links:
            link.frozen = True

    def delay(self, seconds: float) -> None:
        """Hold back what comes from the server."""
        for link in self._links:
            link.wait = seconds

    def truncate(self) -> None:
        """Of the next bytes from the server half is passed on, then the connection ends."""
        for link in self._links:
            link.cut = True

    def corrupt(self) -> None:
        """In the next bytes from the server one is another."""
        for link in self._links:
            link.spoil = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, back, self._chance)
        self._links.add(link)
        try:
            await asyncio.gather(link.out(reader), link.back(there))
        finally:
            link.abort()
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, chance: random.Random) -> None:
        self._client, self._server, self._chance = client, server, chance
        self.frozen, self.cut, self.spoil, self.wait = False, False, False, 0.0

    def abort(self) -> None:
        self._client.transport.abort()
        self._server.transport.abort()

    async def out(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self._server.write(data)
                await self._server.drain()
        self._server.close()

    async def back(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.frozen:
                    continue
                if self.wait:
                    await asyncio.sleep(self.wait)
                if self.spoil:
                    data, self.spoil = self._spoilt(data), False
                if self.cut:
                    self._client.write(data[: len(data) // 2])
                    break
                self._client.write(data)
                await self._client.drain()
        self._client.close()

    def _spoilt(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._chance.randrange(8))]) + data[at + 1 :]
