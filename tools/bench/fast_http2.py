"""An HTTP/2 server for benchmarks (h2c): one fixed answer of `--size` bytes to every request.

It reads the frames' heads and nothing else: no header is decoded, and flow control is left to the peer,
whose windows must hold what it has asked for and not yet taken. Requests must have no body.
"""

import asyncio
import gc
import struct

from retic.testing.apps import start

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING = 0x0, 0x1, 0x4, 0x6
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4
_HEAD = struct.Struct(">HBBBI")
_MORE_STREAMS = struct.pack(">HI", 3, 1 << 20)  # SETTINGS_MAX_CONCURRENT_STREAMS


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of RFC 9113, section 4.1."""
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def header_block(size: int) -> bytes:
    """`:status 200` and the length, without the dynamic table (RFC 7541, 6.1 and 6.2.2)."""
    length = str(size).encode()
    # Name 28 of the static table is content-length; a literal's index has four bits of prefix.
    return b"\x88" + bytes((0x0F, 28 - 15, len(length))) + length


class Connection(asyncio.Protocol):
    """One connection; `head` and `body` are the payloads of every answer's two frames."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head, self.body = head, body
        self.rest = b""
        self.begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(frame(_SETTINGS, 0, 0, _MORE_STREAMS))

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        place = 0
        if not self.begun:
            if len(data) < len(_PREFACE):
                self.rest = data
                return
            self.begun, place = True, len(_PREFACE)
        answers = []
        while place + 9 <= len(data):
            high, low, kind, flags, stream = _HEAD.unpack_from(data, place)
            end = place + 9 + (high << 8 | low)
            if end > len(data):
                break
            answers.append(self.answer(kind, flags, stream, data[place + 9 : end]))
            place = end
        self.rest = data[place:]
        if answers:
            self.transport.write(b"".join(answers))

    def answer(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        """What a frame is answered with; nothing in most cases."""
        if kind == _HEADERS and flags & _END_STREAM:
            head = frame(_HEADERS, _END_HEADERS, stream, self.head)
            return head + frame(_DATA, _END_STREAM, stream, self.body)
        if kind == _SETTINGS and not flags & _ACK:
            return frame(_SETTINGS, _ACK, 0, b"")
        if kind == _PING and not flags & _ACK:
            return frame(_PING, _ACK, 0, payload)
        return b""


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    head, body = header_block(given.size), b"x" * given.size
    gc.disable()  # no cycles are made per request, and pauses would show in the percentiles
    await start.serve_protocol(given, lambda: Connection(head, body))


if __name__ == "__main__":
    asyncio.run(main())
