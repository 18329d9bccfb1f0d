"""A TCP echo server that waits for its client: each line comes back as `NAME VERSION PEER LINE`."""

import asyncio

from retic.testing.apps import start


async def echo_lines(
    identity: start.Identity, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Echo until the client has said all; its half-close is answered after the last line."""
    peer = start.peer(writer.get_extra_info("peername"))
    prefix = f"{identity.name} {identity.version or '-'} {peer} ".encode()
    while line := await reader.readline():
        writer.write(prefix + line)
        await writer.drain()


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    await start.serve_streams(given, lambda reader, writer: echo_lines(given.identity, reader, writer))


if __name__ == "__main__":
    asyncio.run(main())
