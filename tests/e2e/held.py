"""Run inside a pod: connections that stay open. For each number read, a request on each, and so many at once
on new ones; what was seen is printed as a line of JSON."""

import asyncio
import json
import sys

from retic.testing.load import http2

GET = b"GET /%s HTTP/1.1\r\nhost: web\r\n\r\n"


async def request(reader, writer, path=b""):
    writer.write(GET % path)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return json.loads(await reader.readexactly(length))


async def fresh(count):
    """The certificates that the server sees on `count` requests at once, which cannot share a connection."""

    async def one():
        reader, writer = await asyncio.open_connection("web", 80)
        answer = await request(reader, writer, b"delay/300")
        writer.close()
        return answer["headers"]["x-forwarded-client-cert"]

    return sorted(set(await asyncio.gather(*(one() for _ in range(count)))))


async def main():
    http1 = await asyncio.open_connection("web", 80)
    tcp = await asyncio.open_connection("others", 7000)
    other = await http2.connect("others", 80)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        tcp[1].write(line)
        spoken = (await tcp[0].readline()).decode().split()
        answer = await other.request("GET", "/")
        body = json.loads(answer.body)
        first = await request(*http1)
        print(
            json.dumps(
                {
                    "http1": [first["peer"], first["headers"]["x-forwarded-client-cert"]],
                    "http2": [body["peer"], body["headers"]["x-forwarded-client-cert"]],
                    "tcp": spoken[2],
                    "fresh": await fresh(int(line)),
                }
            ),
            flush=True,
        )


asyncio.run(main())
