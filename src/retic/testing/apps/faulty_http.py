"""An HTTP/1.1 server with faults to order: answers of one status, late ones, and connections that end when idle.

It counts the requests of each path that it has read; /counts answers with them, is not counted, and never fails.
/end/NAME answers, and ends the server of that name: nobody listens from then on.
"""

import argparse
import asyncio
import collections
import json
import os
import signal
import socket

from retic.testing.apps import start


class Faults:
    """What is wrong with a server: `status` in place of 200 (0: it closes without an answer), `delay` before each
    answer, `idle`, the time without a request after which it closes a connection, and `stale`, after which it does so
    at the next request, as if its word had crossed with that; seconds, 0 for neither."""

    def __init__(self, status: int, delay: float, idle: float, stale: float) -> None:
        self.status = status
        self.delay = delay
        self.idle = idle
        self.stale = stale
        self.counts: collections.Counter[str] = collections.Counter()


async def answer(
    name: str, faults: Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection until either side closes."""
    last = 0.0
    while True:
        try:
            async with asyncio.timeout(faults.idle or None):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        except (TimeoutError, asyncio.IncompleteReadError):
            return
        now = asyncio.get_running_loop().time()
        if last and faults.stale and now - last > faults.stale:
            return
        last = now
        _, _, after = head.partition("\r\ncontent-length:")
        await reader.readexactly(int(after.partition("\r\n")[0] or 0))
        path = head.split(" ", 2)[1]
        status, body = 200, name
        if path == "/counts":
            body = json.dumps(faults.counts)
        else:
            faults.counts[path] += 1
            status = faults.status
            await asyncio.sleep(faults.delay)
        if not status:
            return
        writer.write(f"HTTP/1.1 {status} Ordered\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        if path == f"/end/{name}":
            os.kill(os.getpid(), signal.SIGTERM)


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--name", default=os.environ.get("NAME", socket.gethostname()))
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--delay", type=float, default=0, help="seconds before each answer")
    parser.add_argument("--idle", type=float, default=0, help="seconds without a request until it closes; 0 never")
    parser.add_argument("--stale", type=float, default=0, help="the same, but it closes when the next request comes")
    given = parser.parse_args()
    faults = Faults(given.status, given.delay, given.idle, given.stale)
    options = start.Options("0.0.0.0", given.port, start.Identity(given.name, ""), 0)
    await start.serve_streams(options, lambda reader, writer: answer(given.name, faults, reader, writer))


if __name__ == "__main__":
    asyncio.run(main())
