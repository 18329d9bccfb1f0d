"""A server with very many ports, for a policy on each: `python many_ports.py FIRST COUNT FIRST_TCP COUNT_TCP`.

HTTP/1.1 on the first ones, whatever is asked; on the others lines that come back, after a greeting.
"""

import asyncio
import sys


async def http(reader, writer):
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def tcp(reader, writer):
    writer.write(b"ready\n")
    while line := await reader.readline():
        writer.write(line)


def served(speak):
    async def one(reader, writer):
        try:
            await speak(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return one


async def main(first, count, first_tcp, count_tcp):
    for speak, begin, number in ((http, first, count), (tcp, first_tcp, count_tcp)):
        for port in range(begin, begin + number):
            await asyncio.start_server(served(speak), "0.0.0.0", port)
    await asyncio.start_server(served(http), "0.0.0.0", 8080)
    await asyncio.Event().wait()


asyncio.run(main(*map(int, sys.argv[1:])))
