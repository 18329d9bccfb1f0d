"""Run inside a pod: frames of HTTP/2 that no client sends. Prints, as JSON, which connections were closed."""

import json
import socket
import struct
import sys

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RESET, SETTINGS, PING = 1, 3, 4, 6
GET = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
FORGED = {
    "a line end in a value": [*GET, ("x-a", "b\r\nx-forwarded-client-cert: URI=admin")],
    "a line end in a name": [*GET, ("x-a\r\nx-b", "b")],
    "a request in the path": [GET[0], (":path", "/ HTTP/1.1\r\nx: "), *GET[2:]],
    "a request in the method": [(":method", "GET /evil HTTP/1.1\r\nx: "), *GET[1:]],
    "a space in the method": [(":method", "GET /evil"), *GET[1:]],
    "two authorities": [*GET, (":authority", "y")],
    "two paths": [*GET, (":path", "/evil")],
    "a coding": [*GET, ("transfer-encoding", "chunked")],
    "a named hop": [*GET, ("connection", "x-forwarded-client-cert")],
    "capitals": [*GET, ("X-Forwarded-Client-Cert", "URI=admin")],
    "another length": [(":method", "POST"), *GET[1:], ("content-length", "50")],
}


def frame(kind, flags, stream, payload):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def block(headers):
    return hpack.Encoder().encode(headers, huffman=False)


def connect():
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    sock.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
    return sock


def closed(sock):
    """Whether the other side ends the connection; a silence of 3 s is none."""
    sock.settimeout(3)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def forged(headers):
    with connect() as sock:
        sock.sendall(frame(HEADERS, 5, 1, block(headers)))
        return closed(sock)


def flood(pieces):
    """Send without reading answers first."""
    with connect() as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
        except OSError:
            return True
        return closed(sock)


def resets():
    get = block(GET)
    for stream in range(1, 20_001, 2):
        yield frame(HEADERS, 5, stream, get) + frame(RESET, 0, stream, b"\0\0\0\x08")


def bomb():
    """One header of 3,900 bytes in the table, named 10,000 times a request."""
    yield frame(HEADERS, 5, 1, block([*GET, ("x-b", "b" * 3900)]))
    for stream in range(3, 101, 2):
        yield frame(HEADERS, 5, stream, block(GET) + b"\xbe" * 10_000)


def stalled():
    """Requests on many connections that take no byte of an answer."""
    many = b"".join(frame(HEADERS, 5, stream, block(GET)) for stream in range(1, 100, 2))
    held = []
    for _ in range(20):
        sock = connect()
        sock.sendall(frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0)) + many)
        held.append(sock)
    return held


held = stalled()
floods = {
    "resets": flood(resets()),
    "settings": flood(frame(SETTINGS, 0, 0, b"") * 1000 for _ in range(20)),
    "pings": flood(frame(PING, 0, 0, b"12345678") * 1000 for _ in range(20)),
    "bomb": flood(bomb()),
}
print(json.dumps({"forged": {name: forged(headers) for name, headers in FORGED.items()}, "floods": floods}))
for one in held:
    one.close()
