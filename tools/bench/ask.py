"""One request from inside a place, and watching for the answer to change: plain sockets, as little as can be.

`python -m tools.bench.ask first ADDRESS PORT` prints the milliseconds from connecting to the whole answer.
`... ask until ADDRESS PORT LENGTH` asks on new connections until the answer's content-length is LENGTH, and
prints when that was, in seconds of the machine's monotonic clock; it says `asking` before it begins.
"""

import re
import socket
import sys
import time

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_PATIENCE = 20.0


def length(address: str, port: int) -> int:
    """Ask once; the length that the answer says it has. RuntimeError unless it is a 200."""
    with socket.create_connection((address, port), timeout=_PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
        said = b""
        while piece := sock.recv(65536):
            said += piece
            head, end, body = said.partition(b"\r\n\r\n")
            found = _LENGTH.search(head + b"\r\n")
            if end and found and len(body) >= int(found[1]):
                break
    found = _LENGTH.search(said)
    if not said.startswith(b"HTTP/1.1 200") or not found:
        raise RuntimeError(f"not the answer that was expected: {said[:200]!r}")
    return int(found[1])


def first(address: str, port: int) -> float:
    """Milliseconds of one request on a new connection."""
    begin = time.monotonic()
    length(address, port)
    return (time.monotonic() - begin) * 1000


def until(address: str, port: int, wanted: int) -> float:
    """When the answer was first seen to have the wanted length. RuntimeError after some seconds."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if length(address, port) == wanted:
            return time.monotonic()
    raise RuntimeError("the answer did not change")


if __name__ == "__main__":
    verb, where, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if verb == "first":
        print(first(where, number))
    else:
        print("asking", flush=True)
        print(until(where, number, int(sys.argv[4])))
