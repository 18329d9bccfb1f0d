"""`python -m retic.node.ready ADMIN_SOCKET [--drain SECONDS]`: a kubelet's question to a gateway's pod.

Exit status 0 when Envoy has its configuration and serves, 1 otherwise. With `--drain` it is told to close its
connections one by one as their requests end, and is waited for. Standard library only: it runs every few seconds.
"""

import argparse
import http.client
import json
import socket
import sys
import time
from typing import Any

_SECONDS = 2.0
_EVERY = 0.5
_SPREAD = 5.0  # seconds until everybody knows that this pod is no endpoint any more


class _Admin(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("admin", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def ask(path: str, question: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of an answer of Envoy's admin page. OSError, http.client.HTTPException without one."""
    connection = _Admin(path)
    try:
        connection.request(method, question)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ready(path: str) -> bool:
    """Whether Envoy has had its first configuration and is not draining."""
    try:
        return ask(path, "/ready")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def drain(path: str, seconds: float) -> bool:
    """Let what is under way end; whether it did. Connections are still taken until everybody has gone elsewhere."""
    end = time.monotonic() + seconds
    try:
        ask(path, "/drain_listeners?graceful&skip_exit", "POST")
        time.sleep(min(_SPREAD, seconds))
        while _connections(path):
            if time.monotonic() >= end:
                return False
            time.sleep(_EVERY)
    except (OSError, http.client.HTTPException, ValueError):
        return False  # Envoy has ended: nothing is left to wait for
    return True


def _connections(path: str) -> int:
    status, body = ask(path, "/stats?format=json&filter=^http\\..*downstream_cx_active$")
    found: list[dict[str, Any]] = json.loads(body).get("stats", []) if status == http.client.OK else []
    return sum(int(each.get("value", 0)) for each in found if ".admin." not in str(each.get("name")))


def main() -> int:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m retic.node.ready")
    parser.add_argument("socket", help="Envoy's admin socket")
    parser.add_argument("--drain", type=float, default=0.0, metavar="SECONDS")
    given = parser.parse_args()
    if given.drain:
        drain(given.socket, given.drain)
        return 0
    return 0 if ready(given.socket) else 1


if __name__ == "__main__":
    sys.exit(main())
