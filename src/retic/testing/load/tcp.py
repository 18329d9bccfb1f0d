"""A TCP client that sends a line of fixed size and waits until as many bytes have come back."""

import asyncio

from retic.testing.load import record


class Client:
    """One connection; a worker of its own uses it."""

    def __init__(self, host: str, port: int, size: int, *, keep_alive: bool) -> None:
        """`size` in bytes, at least 1."""
        self._host, self._port, self._keep = host, port, keep_alive
        self._line = b"x" * (size - 1) + b"\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def once(self) -> None:
        """One round trip. Raises `record.Failed("wrong answer")`, OSError or EOFError."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(self._line)
        answer = await reader.readexactly(len(self._line))
        if answer != self._line:
            raise record.Failed("wrong answer")
        if not self._keep:
            self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
