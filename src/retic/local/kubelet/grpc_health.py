"""grpc.health.v1.Health/Check over a given connection: the one gRPC call that a probe makes.

Written by hand because a gRPC library cannot be given a socket of another network namespace. It sends one
request in plain HTTP/2 and reads DATA frames of its stream; header blocks are never decoded, for the answer's
message is all that counts. Refuses answers over 16 kB.
"""

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_STREAM = 1
_LARGEST = 16 * 1024
SERVING = 1


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing and without Huffman (RFC 7541, 6.2.2)."""
    assert len(name) < 127
    return b"\x00" + bytes((len(name),)) + name.encode() + _length(len(value)) + value.encode()


def _length(size: int) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if size < 127:
        return bytes((size,))
    out, rest = bytearray((127,)), size - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    out.append(rest)
    return bytes(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def request(authority: str, service: str) -> bytes:
    """Everything the client sends: preface, settings, and the call's headers and message."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe"),
    )
    block = b"".join(_literal(*header) for header in headers)
    body = b"\x00" + struct.pack(">I", len(message)) + message
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0)
        + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
        + _frame(_DATA, _END_STREAM, _STREAM, body)
    )


async def check(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, authority: str, service: str
) -> int | None:
    """The status of `service` ("": the whole server), 1 being SERVING; None when the call failed.

    Raises OSError or asyncio.IncompleteReadError when the connection ends early, ValueError when it is not
    HTTP/2.
    """
    writer.write(request(authority, service))
    body = bytearray()
    while True:
        header = await reader.readexactly(9)
        size = int.from_bytes(header[:3], "big")
        kind, flags = header[3], header[4]
        stream = int.from_bytes(header[5:9], "big") & 0x7FFFFFFF
        if size > _LARGEST:
            raise ValueError("the answer is not HTTP/2")
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA and stream == _STREAM:
            body += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
        if kind == _GOAWAY or (kind == _RESET and stream == _STREAM):
            return None
        if kind in (_DATA, _HEADERS) and stream == _STREAM and flags & _END_STREAM:
            return status(bytes(body))
        if len(body) > _LARGEST:
            raise ValueError("the answer is too long")


def status(body: bytes) -> int | None:
    """The field `status` of a framed HealthCheckResponse; None when there is no message."""
    if len(body) < 5 or body[0] != 0:
        return None
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    if not message:
        return 0
    return message[1] if len(message) >= 2 and message[0] == 0x08 else None
