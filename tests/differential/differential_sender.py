"""Run inside a pod: reads lists of requests, one JSON line each, sends them over few connections, prints what came.

A request: {"host", "port", "kind": "http" or "tcp", "text", "server_name": of TLS, "fresh": on a new connection}, of
which `text` is all of the head. An answer: {"status", "headers", "body"}, status 0 when the connection ended without
one; for "tcp" the line that came, "" when none did.
"""

import asyncio
import contextlib
import json
import ssl
import sys

_WAIT = 3.0


class Line:
    """Connections to one place, opened when needed and kept while they live."""

    def __init__(self, host, port, server_name):
        self.host, self.port, self.server_name = host, port, server_name
        self.open = None

    async def within(self, request):
        try:
            return await asyncio.wait_for(getattr(self, request["kind"])(request["text"]), _WAIT)
        except TimeoutError:
            await self.close()
            return {"status": -1, "headers": {}, "body": ""}

    async def http(self, text):
        for fresh in (False, True):  # a kept connection may have been closed meanwhile
            try:
                if fresh or self.open is None:
                    await self.close()
                    self.open = await self._connect()
                return await self._once(text)
            except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await self.close()
        return {"status": 0, "headers": {}, "body": ""}

    async def _connect(self):
        if not self.server_name:
            return await asyncio.open_connection(self.host, self.port)
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        return await asyncio.open_connection(self.host, self.port, ssl=tls, server_hostname=self.server_name)

    async def _once(self, text):
        reader, writer = self.open
        writer.write(text.encode("latin-1"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")[:-2]
        headers = {n.strip().lower(): v.strip() for n, _, v in (f.partition(":") for f in fields)}
        body = b""
        if text.startswith("HEAD "):
            pass
        elif "chunked" in headers.get("transfer-encoding", ""):
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            await self.close()
        return {"status": int(line.split(" ")[1]), "headers": headers, "body": body.decode("latin-1")}

    async def tcp(self, text):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        with contextlib.suppress(ConnectionError):
            writer.write(text.encode())
            answer = await reader.readline()
            writer.close()
            return {"status": 0, "headers": {}, "body": answer.decode()}
        return {"status": 0, "headers": {}, "body": ""}

    async def close(self):
        if self.open is not None:
            self.open[1].close()
            self.open = None


LINES = {}


async def run(requests):
    async def some(place, mine):
        line = LINES.setdefault(place, Line(*place))
        return [(i, await line.within(r)) for i, r in mine]

    by_place = {}
    for i, request in enumerate(requests):
        place = request["host"], request["port"], request.get("server_name", "")
        if request.get("fresh"):
            await LINES.pop(place, Line(*place)).close()
        by_place.setdefault(place, []).append((i, request))
    found = await asyncio.gather(*(some(place, mine) for place, mine in by_place.items()))
    return [answer for _, answer in sorted((pair for part in found for pair in part), key=lambda pair: pair[0])]


async def main():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            print(json.dumps({"answer": await run(json.loads(line))}), flush=True)
        except Exception as error:
            print(json.dumps({"error": repr(error)}), flush=True)


asyncio.run(main())
