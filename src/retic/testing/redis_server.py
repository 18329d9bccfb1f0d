"""A real Redis for tests: Debian's redis-server on a socket in a folder, with a password, ended with the test."""

import contextlib
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator

from retic.testing import wait


class Redis:
    """`start` and `stop` it; `url` and `credentials` are what `retic up` is told."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._running: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.credentials = folder / "redis.password"
        self.credentials.write_text("open sesame\n")
        lines = ("port 0", f"unixsocket {self._socket}", 'save ""', f"dir {folder}", 'requirepass "open sesame"', "")
        (folder / "redis.conf").write_text("\n".join(lines))

    def start(self) -> None:
        """Start it and wait until it answers. AssertionError when there is no redis-server."""
        program = shutil.which("redis-server")
        assert program, "there is no redis-server on this machine: make setup installs it"
        with (self._folder / "redis.log").open("ab") as log:
            self._running = subprocess.Popen(
                [program, str(self._folder / "redis.conf")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait.until(self._answers, "Redis answers")

    def stop(self) -> None:
        """Kill it; what it counted is gone."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None
            self._socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self._socket))
            asked.sendall(b"PING\r\n")
            return asked.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Redis]:
    """One that is there, and ends."""
    made = Redis(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
