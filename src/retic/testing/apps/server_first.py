"""A TCP server that speaks first, as SMTP or MySQL do: `NAME VERSION PEER ready`, then echoes lines."""

import asyncio

from retic.testing.apps import echo_tcp, start


async def greet(
    identity: start.Identity, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send the banner at once, then echo."""
    peer = start.peer(writer.get_extra_info("peername"))
    writer.write(f"{identity.name} {identity.version or '-'} {peer} ready\n".encode())
    await writer.drain()
    await echo_tcp.echo_lines(identity, reader, writer)


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    await start.serve_streams(given, lambda reader, writer: greet(given.identity, reader, writer))


if __name__ == "__main__":
    asyncio.run(main())
