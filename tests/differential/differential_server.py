"""Run inside a pod as `server NAME`: HTTP/1.1 and HTTP/2 on 8080 and 8081, lines on 8082. Says who answers, and what
it was asked."""

import asyncio
import contextlib
import json
import sys

import h2.config
import h2.connection
import h2.events

NAME = sys.argv[1]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


def told(target, authority, headers):
    return json.dumps({"target": target, "authority": authority, "headers": headers}).encode()


def joined(pairs):
    found = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


async def http1(reader, writer, first):
    head = first
    while head:
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        pairs = [(n.strip().lower(), v.strip()) for n, _, v in (f.partition(":") for f in fields)]
        headers = joined(pairs)
        method, target = line.split(" ")[:2]
        body = told(target, headers.pop("host", ""), headers)
        writer.write(
            f"HTTP/1.1 200 OK\r\nx-answered-by: {NAME}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + (b"" if method == "HEAD" else body)
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")


async def http2(reader, writer, first):
    wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
    wire.initiate_connection()
    data = first
    while data:
        for event in wire.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                pseudo = {n: v for n, v in event.headers if n.startswith(":")}
                headers = joined([(n, v) for n, v in event.headers if not n.startswith(":")])
                body = told(pseudo[":path"], pseudo.get(":authority", ""), headers)
                wire.send_headers(event.stream_id, [(":status", "200"), ("x-answered-by", NAME)])
                wire.send_data(event.stream_id, body, end_stream=True)
        writer.write(wire.data_to_send())
        await writer.drain()
        data = await reader.read(65536)


async def http(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        first = await reader.readuntil(b"\r\n\r\n")
        await (http2 if first == _PREFACE else http1)(reader, writer, first)
    writer.close()


async def lines(reader, writer):
    with contextlib.suppress(ConnectionError):
        while await reader.readline():
            writer.write(f"{NAME}\n".encode())
    writer.close()


async def main():
    for port, serve in ((8081, http), (8082, lines), (8080, http)):
        await asyncio.start_server(serve, "0.0.0.0", port)
    await asyncio.Event().wait()


asyncio.run(main())
