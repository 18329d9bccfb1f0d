"""What every server here shares: its arguments, its end at SIGTERM, and the line that says it listens."""

import argparse
import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable

import msgspec

QUIET, LAST = 0.5, 5.0  # seconds


class Identity(msgspec.Struct, frozen=True):
    """Who answers: shown in every reply, so that a test sees which backend it reached."""

    name: str
    version: str


class Options(msgspec.Struct, frozen=True):
    """The arguments all servers take; `size` (bytes) only means something to those that say so."""

    host: str
    port: int
    identity: Identity
    size: int


def options(description: str) -> Options:
    """Parse the command line; `--port 0` lets the kernel choose."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8080")))
    parser.add_argument("--name", default=os.environ.get("NAME", socket.gethostname()))
    parser.add_argument("--version", default=os.environ.get("VERSION", ""))
    parser.add_argument("--size", type=int, default=1024, help="bytes of a fixed body")
    given = parser.parse_args()
    return Options(given.host, given.port, Identity(given.name, given.version), given.size)


def announce(host: str, port: int) -> None:
    """Say on standard output that connections are accepted from now on."""
    print(f"listening {host}:{port}", flush=True)


def bound_port(server: asyncio.Server) -> int:
    """The port that a server got."""
    port: int = server.sockets[0].getsockname()[1]
    return port


def peer(name: object) -> str:
    """A socket's peer name as `address:port`, or "" when the peer has gone."""
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""


async def until_told() -> None:
    """Return at SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


async def serve_streams(
    given: Options, answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    """Run `answer` for each connection until told to end; a peer that goes away is no error."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, given.host, given.port, backlog=1024)
    announce(given.host, bound_port(server))
    await until_told()
    server.close()


async def serve_protocol(
    given: Options, make: Callable[[], asyncio.Protocol], *, busy: Callable[[], bool] | None = None
) -> None:
    """As `serve_streams` for servers that want no streams. One that says whether it is `busy` is not ended before it
    has been idle for a while, as a server should be whose connections nobody can make again."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, given.host, given.port, backlog=4096, reuse_port=True)
    announce(given.host, bound_port(server))
    await until_told()
    if busy is not None:
        await _until_idle(busy)
    server.close()


async def _until_idle(busy: Callable[[], bool]) -> None:
    """Idle for `QUIET`, since who has connected already may not have been seen yet; after `LAST` at most."""
    now = asyncio.get_running_loop().time
    last, idle = now() + LAST, now() + QUIET
    while now() < min(last, idle):
        if busy():
            idle = now() + QUIET
        await asyncio.sleep(QUIET / 10)
