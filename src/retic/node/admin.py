"""Envoy's admin page over its unix socket. Reads; refuses to know what the answers mean."""

import asyncio
import pathlib


class AdminError(OSError):
    """Envoy's admin page did not answer, or not with 200."""


async def get(socket: pathlib.Path, path: str, *, method: str = "GET", seconds: float = 5.0) -> bytes:
    """The body of the answer. AdminError otherwise."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                head = ("host: admin", "connection: close", "content-length: 0", "", "")
                writer.write("\r\n".join((f"{method} {path} HTTP/1.1", *head)).encode())
                return await _answer(reader, path)
            finally:
                writer.close()
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise AdminError(f"Envoy's admin page does not answer at {socket}: {error!r}") from error


async def _answer(reader: asyncio.StreamReader, path: str) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = head[0].split(" ", 2)[1]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    if status != "200":
        raise AdminError(f"{path}: {status} {body[:200]!r}")
    return body
