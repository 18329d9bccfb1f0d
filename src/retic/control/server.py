"""The unix socket: one JSON line is a request, one JSON line or a stream of them the answer.

    {"ask":"why","resource":"routes/shop"}   ->   {"answer":{...}}   or   {"error":"..."}

Peers of another user are refused by SO_PEERCRED, whatever the file's mode says.
"""

import asyncio
import contextlib
import os
import pathlib
import socket
import struct

import msgspec
import structlog

from retic.control import model, service

_LONGEST = 64 * 1024  # bytes of a request
_PATIENCE = 10.0  # seconds for a request to arrive
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)

log = structlog.get_logger()
_decoder: msgspec.json.Decoder[model.Request] = msgspec.json.Decoder(model.Request)


class Server:
    """Listens while it is open; a socket file that an earlier life left behind is replaced.

    `owner`: whose processes may ask, by user id; this process's own user by default.
    """

    def __init__(self, answers: service.Service, path: pathlib.Path, *, owner: int | None = None) -> None:
        self._answers = answers
        self._owner = os.geteuid() if owner is None else owner
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen from now on. Raises OSError when the socket cannot be made."""
        self._server = await asyncio.start_unix_server(self._serve, sock=_bound(self._path), limit=_LONGEST)

    async def close(self) -> None:
        """Stop listening, end streams, remove the socket file."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_PATIENCE):
            line = await reader.readline()
        if not line:
            return
        if _peer(writer) != self._owner:
            await _send(writer, {"error": "only the user who started the mesh may ask it"})
            return
        try:
            request = _decoder.decode(line)
        except msgspec.MsgspecError as error:
            await _send(writer, {"error": f"not a request: {error}"})
            return
        if isinstance(request, model.AskFollow | model.AskTap):
            await self._follow(request, reader, writer)
        else:
            await _send(writer, await self._answer(request))

    async def _answer(self, request: model.Request) -> dict[str, object]:
        try:
            return {"answer": await self._answers.answer(request)}
        except service.Refused as error:
            return {"error": str(error)}
        except Exception as error:
            log.exception("a request failed", request=request)
            return {"error": f"the control plane could not answer: {error!r}"}

    async def _follow(
        self, request: model.AskFollow | model.AskTap, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def send() -> None:
            async with contextlib.aclosing(self._answers.stream(request)) as values:
                try:
                    async for value in values:
                        await _send(writer, {"answer": value})
                except service.Refused as error:
                    await _send(writer, {"error": str(error)})

        sending = asyncio.ensure_future(send())
        leaving = asyncio.ensure_future(reader.read(1))  # ends when the client does
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            for done in await asyncio.gather(sending, leaving, return_exceptions=True):
                if isinstance(done, Exception) and not isinstance(done, OSError):
                    log.error("a stream failed", error=repr(done))


async def _send(writer: asyncio.StreamWriter, value: object) -> None:
    writer.write(msgspec.json.encode(value) + b"\n")
    await writer.drain()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The peer's user id, as this process's user namespace sees it."""
    sock = writer.get_extra_info("socket")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def _bound(path: pathlib.Path) -> socket.socket:
    """A socket at `path` that nobody else may open at any moment: made aside, closed off, put in place."""
    aside = path.with_name(f".{path.name}")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(aside))
        aside.chmod(0o600)
        sock.setblocking(False)
        sock.listen(64)
        aside.rename(path)
    except OSError:
        sock.close()
        raise
    return sock
