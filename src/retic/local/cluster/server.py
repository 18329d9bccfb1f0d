"""cluster.sock: the watch stream, what runs at the moment, how to enter it, and waiting until all is settled."""

import asyncio
import contextlib
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from retic.local.cluster import published

_LONGEST = 64 * 1024  # bytes of a request
log = structlog.get_logger(__name__)


class _Request(msgspec.Struct, frozen=True):
    watch: bool = False
    get: str = ""
    settle: float | None = None
    namespace: str = ""
    pod: str = ""
    container: str = ""


class Server:
    """Answers on a unix socket of mode 0600. `status`, `settle` and `inside` (of namespace, pod and container)
    give what is sent as JSON."""

    def __init__(
        self,
        objects: published.Published,
        status: Callable[[], dict[str, Any]],
        settle: Callable[[float], Awaitable[dict[str, Any]]],
        inside: Callable[[str, str, str], dict[str, Any]],
    ) -> None:
        self._objects = objects
        self._status = status
        self._settle = settle
        self._inside = inside
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: pathlib.Path) -> None:
        """Listen. OSError when the socket cannot be made."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path=str(path), limit=_LONGEST)
        path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, ValueError, asyncio.LimitOverrunError):
            return
        except Exception:
            log.exception("a request failed")
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(await reader.readline(), type=_Request)
        except msgspec.MsgspecError as error:
            await _send(writer, {"error": f"not a request: {error}"})
            return
        if request.watch:
            await self._objects.watch(reader, writer)
        elif request.settle is not None:
            await _send(writer, await self._settle(request.settle))
        elif request.get == "status":
            await _send(writer, self._status())
        elif request.get == "inside":
            await _send(writer, self._inside(request.namespace, request.pod, request.container))
        else:
            await _send(writer, {"error": "ask for watch, settle, get: status or get: inside"})


async def _send(writer: asyncio.StreamWriter, value: object) -> None:
    writer.write(msgspec.json.encode(value) + b"\n")
    await writer.drain()
