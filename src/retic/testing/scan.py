"""A pod that scans: one request to each of many addresses and ports, at a rate, and what came of them.

    python -m retic.testing.scan FIRST ADDRESSES PORTS RATE SECONDS

Addresses are counted up from FIRST (IPv4, or IPv4:PORT), ports from 1000 or PORT, all addresses of a port first;
RATE is in destinations a second, and none is begun after SECONDS. Prints one JSON object: `tried`, `seconds`,
and how many got which status code, or `closed`, `refused`, `timeout` or an error's name. It takes little
processor time itself, so that what its neighbours feel is the scan.
"""

import collections
import contextlib
import errno
import ipaddress
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator

_PATIENCE = 3.0  # seconds for one destination
_FIRST_PORT = 1000
_REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
_NAMES = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "closed", errno.EPIPE: "closed"}


def destinations(first: str, addresses: int, ports: int) -> Iterator[tuple[str, int]]:
    """Each address of a port, then the next port."""
    address, _, given = first.partition(":")
    base, lowest = ipaddress.IPv4Address(address), int(given or _FIRST_PORT)
    for port in range(lowest, lowest + ports):
        for number in range(addresses):
            yield str(base + number), port


class Scan:
    """Connections that are under way, and the outcomes of those that were."""

    def __init__(self) -> None:
        self.seen: collections.Counter[str] = collections.Counter()
        self._selector = selectors.DefaultSelector()
        self._ends: dict[socket.socket, float] = {}

    def begin(self, destination: tuple[str, int]) -> None:
        """Start a connection; its outcome is counted by a later `look`."""
        sock = socket.socket()
        sock.setblocking(False)
        code = sock.connect_ex(destination)
        if code not in (0, errno.EINPROGRESS):
            self._count(sock, _NAMES.get(code, os.strerror(code)))
            return
        self._ends[sock] = time.monotonic() + _PATIENCE
        self._selector.register(sock, selectors.EVENT_WRITE)

    def look(self, seconds: float) -> None:
        """See to what is ready within `seconds`, and give up what took too long."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                self._step(sock, key.events)
            except OSError as error:
                self._count(sock, _NAMES.get(error.errno or 0, type(error).__name__))
        now = time.monotonic()
        for sock in [sock for sock, end in self._ends.items() if end < now]:
            self._count(sock, "timeout")

    @property
    def is_busy(self) -> bool:
        """Whether a connection is under way."""
        return bool(self._ends)

    def _step(self, sock: socket.socket, events: int) -> None:
        if events == selectors.EVENT_READ:
            answer = sock.recv(12)
            self._count(sock, answer.decode("latin-1")[9:] or "closed")
            return
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
        sock.send(_REQUEST)
        self._selector.modify(sock, selectors.EVENT_READ)

    def _count(self, sock: socket.socket, outcome: str) -> None:
        self.seen[outcome] += 1
        self._ends.pop(sock, None)
        with contextlib.suppress(KeyError):
            self._selector.unregister(sock)
        sock.close()


def run(first: str, addresses: int, ports: int, rate: float, seconds: float) -> dict[str, float]:
    """The whole scan; see the module."""
    scan, begun, tried = Scan(), time.monotonic(), 0
    for number, destination in enumerate(destinations(first, addresses, ports)):
        due = begun + number / rate
        if due > begun + seconds:
            break
        while (left := due - time.monotonic()) > 0:
            scan.look(left)
        scan.begin(destination)
        tried += 1
    while scan.is_busy:
        scan.look(0.1)
    return {"tried": tried, "seconds": round(time.monotonic() - begun, 2), **scan.seen}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))))
