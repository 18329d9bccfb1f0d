"""`pods/exec` of `api_server`: the command runs here, as if it ran in the container of an agent.

It does what a container runtime does: the command's input ends when whoever began it leaves, and nothing else ends it.
"""

import asyncio
import contextlib
import json
import pathlib
import sys
import urllib.parse
from collections.abc import Iterable
from typing import Self

from websockets import exceptions
from websockets.asyncio import server as sockets
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from retic.testing import api_server

_CLOSED = b"\xff\x00"  # the input's end, since v5.channel.k8s.io
_CHUNK = 1000  # small, so that lines come in pieces


class Commands:
    """For pods of one server. `folders` are the agents' folders by `NAMESPACE/POD`; others are refused with 403. Pods
    of `old` have an image without what is asked for. `running` are the commands that have not ended; `begun` counts
    those that began, `beats` empty lines of input."""

    def __init__(self, server: api_server.Server, protocols: Iterable[str] = ("v5.channel.k8s.io",)) -> None:
        self._server = server
        self._protocols = [Subprotocol(each) for each in protocols]
        self.folders: dict[str, pathlib.Path] = {}
        self.old: set[str] = set()
        self.begun = 0
        self.beats = 0
        self.running: set[asyncio.subprocess.Process] = set()

    async def __aenter__(self) -> Self:
        self._sockets = await sockets.serve(
            self._talk, "127.0.0.1", 0, subprotocols=self._protocols, process_request=self._allowed, max_size=None
        )
        self._server.upgrades = self._bridge
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.upgrades = None
        self._sockets.close()
        for process in tuple(self.running):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                process.kill()
            await process.wait()

    async def _bridge(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = next(iter(self._sockets.sockets)).getsockname()[1]
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        inner_writer.write(head)
        ways = [asyncio.create_task(_copied(reader, inner_writer)), asyncio.create_task(_copied(inner_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            inner_writer.close()

    async def _allowed(self, _: sockets.ServerConnection, request: Request) -> Response | None:
        if _pod(request.path) in {*self.folders, *self.old}:
            return None
        body = api_server.status(403, "Forbidden", 'cannot get resource "pods/exec"')
        return Response(403, "Forbidden", Headers({"Content-Length": str(len(body))}), body)

    async def _talk(self, connection: sockets.ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        pod, words = _pod(path), query["command"]
        folder = self.folders.get(pod)
        module = "retic.node.none" if pod in self.old else words[2]
        line = [sys.executable, "-m", module, *((str(folder),) if folder else words[3:4]), *words[4:]]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe, stderr=pipe)
        self.begun += 1
        self.running.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        told = asyncio.gather(
            _told(connection, 1, process.stdout), _told(connection, 2, process.stderr), return_exceptions=True
        )
        heard = asyncio.create_task(self._heard(connection, process.stdin))
        try:
            await told
            code = await process.wait()
            with contextlib.suppress(exceptions.ConnectionClosed):
                await connection.send(b"\x03" + json.dumps(_status(code)).encode())
        finally:
            heard.cancel()
            await asyncio.gather(heard, return_exceptions=True)
            self.running.discard(process)

    async def _heard(self, connection: sockets.ServerConnection, into: asyncio.StreamWriter) -> None:
        try:
            async for message in connection:
                assert isinstance(message, bytes)
                if message == _CLOSED:
                    return
                self.beats += message == b"\x00\n"
                into.write(message[1:])
        finally:
            into.close()


async def _told(connection: sockets.ServerConnection, channel: int, source: asyncio.StreamReader) -> None:
    while chunk := await source.read(_CHUNK):
        with contextlib.suppress(exceptions.ConnectionClosed):
            await connection.send(bytes((channel,)) + chunk)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()


def _pod(path: str) -> str:
    parts = urllib.parse.urlsplit(path).path.split("/")
    return f"{parts[4]}/{parts[6]}"


def _status(code: int) -> dict[str, object]:
    if code == 0:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": "it failed", "details": {"causes": causes}}
