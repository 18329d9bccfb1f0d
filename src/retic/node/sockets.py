"""An agent's own unix sockets: lines of JSON, mode 0600, and never a moment without one at the path."""

import asyncio
import os
import pathlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

LINE_BYTES = 1 << 20
MOST_BYTES = 64 << 20  # of a line that another agent of ours writes: its pods and clusters
Connected: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(socket: pathlib.Path, connected: Connected) -> asyncio.Server:
    """Serve at the path; whoever served there before is out of reach from that moment on."""
    draft = socket.with_suffix(".new")
    draft.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(connected, str(draft), limit=LINE_BYTES)
    finally:
        os.umask(before)
    draft.rename(socket)
    return server


async def pass_on(socket: pathlib.Path, line: bytes) -> bytes:
    """The answer of who serves at the path now. OSError when nobody does."""
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=MOST_BYTES)
    try:
        writer.write(line)
        return await reader.readline()
    finally:
        writer.close()
