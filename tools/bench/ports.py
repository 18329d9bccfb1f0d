"""The three protocols that are measured, and the port at which each server listens in every path."""

import enum
import sys

PYTHON = sys.executable
BODY_BYTES = 1024


class Protocol(enum.Enum):
    """A protocol: its name in tables, the server's port, and the server's module.

    TCP carries HTTP/1 too, so that one client measures both, but no proxy looks into it.
    """

    HTTP1 = ("HTTP/1", 8081, "retic.testing.apps.fast_http1")
    HTTP2 = ("HTTP/2", 8082, "tools.bench.fast_http2")
    TCP = ("TCP", 8083, "retic.testing.apps.fast_http1")

    def __init__(self, title: str, port: int, module: str) -> None:
        self.title = title
        self.port = port
        self.module = module

    def server(self) -> list[str]:
        """The command of the server; its folder must be the repository's."""
        return [PYTHON, "-m", self.module, "--port", str(self.port), "--size", str(BODY_BYTES)]
