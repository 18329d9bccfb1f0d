"""An HTTP/1.1 echo server with keep-alive, chunked bodies and WebSocket. It refuses HTTP/2: see echo_h2."""

import asyncio
import http

from retic.testing.apps import answers, start, websocket


class Head:
    """The first line and headers of a request."""

    def __init__(self, raw: bytes) -> None:
        """Parse what stands before the empty line; raises ValueError when it is not HTTP/1."""
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.method, self.target, self.protocol = first.split(" ", 2)
        if not self.protocol.startswith("HTTP/1."):
            raise ValueError(first)
        self.headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            key, text = name.strip().lower(), value.strip()
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    @property
    def keeps_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish and (self.protocol == "HTTP/1.1" or "keep-alive" in wish)


async def _body(reader: asyncio.StreamReader, head: Head) -> tuple[int, int]:
    """Read the body; returns its bytes and the number of its chunks (0 when it was not chunked)."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        total = chunks = 0
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
            total, chunks = total + size, chunks + 1
        while (await reader.readline()).strip():
            pass
        return total, chunks
    left = total = int(head.headers.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, 1 << 16))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
    return total, 0


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Status"


async def _send(writer: asyncio.StreamWriter, head: Head, reply: answers.Reply, name: str) -> None:
    streamed = len(reply.pieces) > 1
    lines = [f"HTTP/1.1 {reply.status} {_reason(reply.status)}", f"server: {name}"]
    if reply.status not in (204, 304):
        lines.append(f"content-type: {reply.content_type}")
        length = sum(map(len, reply.pieces)) + reply.cut  # one byte never comes
        lines.append("transfer-encoding: chunked" if streamed else f"content-length: {length}")
    if not head.keeps_alive:
        lines.append("connection: close")
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    if head.method == "HEAD":
        return
    for piece in reply.pieces:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if streamed else piece)
        await writer.drain()
        if streamed:
            await asyncio.sleep(answers.PIECE_SECONDS)
    if streamed:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def answer(
    identity: start.Identity, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the requests of one connection, one after the other, until either side closes."""
    peer = start.peer(writer.get_extra_info("peername"))
    number = 0
    while raw := await _read_head(reader):
        number += 1
        try:
            head = Head(raw)
        except ValueError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        if "websocket" in head.headers.get("upgrade", "").lower():
            facts = _request(head, 0, 0, peer, number)
            await websocket.converse(reader, writer, head.headers, answers.seen(facts, identity))
            return
        if head.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size, chunks = await _body(reader, head)
        reply = answers.reply(_request(head, size, chunks, peer, number), identity)
        await asyncio.sleep(reply.delay)
        if reply.close:
            return
        await _send(writer, head, reply, identity.name)
        if reply.cut or not head.keeps_alive:
            return


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _request(head: Head, size: int, chunks: int, peer: str, number: int) -> answers.Request:
    return answers.Request(
        head.method, head.target, head.protocol, head.headers, size, chunks, peer, number
    )


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    await start.serve_streams(given, lambda reader, writer: answer(given.identity, reader, writer))


if __name__ == "__main__":
    asyncio.run(main())
