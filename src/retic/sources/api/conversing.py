"""A command in a container that one speaks with: lines to its standard input, lines of its standard output.

As in `executing`, by `pods/exec`. No container runtime ends a command because whoever ran it has left: only the end of
its standard input tells it. So only for commands that end by that.
"""

import asyncio
import collections
import contextlib
from collections.abc import Sequence

from websockets import exceptions
from websockets.asyncio import client as sockets

from retic.sources.api import executing, kubeconfig, tls
from retic.sources.api.errors import Error, LostError

LONGEST_LINE = 64 * 1024 * 1024
"""The longest line that a command may print, in bytes."""
PATIENCE = 1.0
"""Seconds in which a command that has lost its input may end."""
_MOST_SAID = 16 * 1024  # bytes of the error stream that are kept, the last
_CLOSE = 255  # a message that ends a channel; since v5.channel.k8s.io


class EndedError(LostError):
    """The command has ended by itself, with that exit code. `said` is what came by its error stream, its end."""

    def __init__(self, place: executing.Place, code: int, said: str) -> None:
        last = (said.splitlines() or [f"exit code {code}"])[-1]
        super().__init__(f"the command in {place.namespace}/{place.pod} ended: {last}")
        self.code = code
        self.said = said


class Conversation:
    """`aclose` it, which ends the command too. For one task at a time, but for `send`."""

    def __init__(self, access: kubeconfig.Access, place: executing.Place, socket: sockets.ClientConnection) -> None:
        self._access = access
        self._place = place
        self._socket = socket
        self._lines: collections.deque[bytes] = collections.deque()
        self._part = bytearray()
        self._said = b""
        self._ended = False

    async def send(self, line: bytes) -> None:
        """Send bytes, which should end with a line's end. Error when the command or the connection has gone."""
        with executing.translated(self._access, self._place):
            await self._socket.send(bytes((executing.IN,)) + line)

    async def line(self) -> bytes:
        """The next line, with its end. EndedError when the command has ended; another Error when it was not started,
        or cannot be heard any more."""
        while not self._lines:
            await self._hear()
        return self._lines.popleft()

    async def aclose(self) -> None:
        """End the command's input, wait for a moment until it has ended, and close the connection."""
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if not self._ended and self._socket.subprotocol == executing.CLOSING:
                    with executing.translated(self._access, self._place):
                        await self._socket.send(bytes((_CLOSE, executing.IN)))
                    while True:
                        await self._hear()
                        self._lines.clear()
        with contextlib.suppress(OSError, exceptions.WebSocketException):
            await self._socket.close()

    async def _hear(self) -> None:
        """Take one message."""
        with executing.translated(self._access, self._place):
            channel, content = executing.parted(await self._socket.recv())
        if channel == executing.OUT:
            *lines, rest = content.split(b"\n")
            for line in lines:
                self._lines.append(bytes(self._part) + line + b"\n")
                self._part.clear()
            self._part += rest
            if len(self._part) > LONGEST_LINE:
                raise LostError(f"a command printed a line of more than {LONGEST_LINE} bytes")
        elif channel == executing.ERR:
            self._said = (self._said + content)[-_MOST_SAID:]
        elif channel == executing.STATUS:
            self._ended = True
            code = executing.code(content)
            raise EndedError(self._place, code, self._said.decode(errors="replace").strip())


async def converse(
    access: kubeconfig.Access,
    headers: Sequence[tuple[str, str]],
    pair: tls.Pair | None,
    place: executing.Place,
    command: Sequence[str],
) -> Conversation:
    """Run it. ApiError when the server refuses, UnreachableError when it cannot be reached."""
    url = place.url(access.cluster.server, command, stdin=True)
    with executing.translated(access, place):
        return Conversation(access, place, await executing.opened(access, headers, pair, url))
