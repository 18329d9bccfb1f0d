"""The server's side of WebSocket (RFC 6455), as far as an echo needs it: no extensions, no fragments."""

import asyncio
import base64
import hashlib
from collections.abc import Mapping

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked final frame (section 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([126]) + size.to_bytes(2)
    else:
        length = bytes([127]) + size.to_bytes(8)
    return bytes([0x80 | opcode]) + length + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and unmasked payload of the next frame."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str], greeting: bytes
) -> None:
    """Accept the upgrade, send `greeting` as text, then echo each message until the peer closes."""
    accept = accept_key(headers.get("sec-websocket-key", ""))
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + accept.encode() + b"\r\n\r\n"
    )
    writer.write(frame(_TEXT, greeting))
    while True:
        opcode, payload = await read_frame(reader)
        if opcode == _CLOSE:
            writer.write(frame(_CLOSE, payload[:2]))
            await writer.drain()
            return
        if opcode == _PING:
            writer.write(frame(_PONG, payload))
        elif opcode in (_TEXT, _BINARY):
            writer.write(frame(opcode, payload))
        await writer.drain()
