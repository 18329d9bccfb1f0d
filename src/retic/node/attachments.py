"""The socket of the CNI plugin on a cluster: one JSON line with the pod's network namespace, one line back.

`{"add": POD}` with a descriptor of the namespace answers `{"ok": true, "mesh": BOOL}` once the pod is captured, or is
not to be; `{"del": POD}` once its listeners are closed; `{"check": POD}` and `{"status": true}`; what fails answers
`{"error": TEXT}`, and `{"again": true}` when another agent serves at the same path now. Only root may ask: the
socket's mode is 0600, and the kernel says who is at the other end.
"""

import asyncio
import contextlib
import os
import pathlib
import socket
import struct

import msgspec
import structlog

from retic.node import gate, listed, membership, pods

LONGEST = 64 << 10  # bytes of one line
MOST = 512  # questions at a time; more wait to be accepted
SECONDS = 5.0  # for a question to arrive
_SO_PEERCRED = struct.Struct("=iII")
_log = structlog.get_logger("retic.node")


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: membership.Asked | None = None
    delete: membership.Asked | None = msgspec.field(name="del", default=None)
    check: membership.Asked | None = None
    status: bool = False


class Attachments:
    """Serves from `start` to `close`. `allowed` is the one user id that may ask."""

    def __init__(self, path: pathlib.Path, members: membership.Membership, *, allowed: int = 0) -> None:
        self._path = path
        self._members = members
        self._allowed = allowed
        self._listener: socket.socket | None = None
        self._inode = 0
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. An agent before that listens on the same path is replaced, and no question is refused meanwhile."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        before = os.umask(0o177)
        try:
            listener.bind(str(fresh))
        finally:
            os.umask(before)
        listener.listen(MOST)
        self._inode = fresh.stat().st_ino
        fresh.replace(self._path)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener), name="attachments")

    async def close(self) -> None:
        """Listen no longer; the next agent's socket stays."""
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener:
            self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(MOST)
        while True:
            await places.acquire()
            asking, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(self._serve(asking))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: places.release())

    async def _serve(self, asking: socket.socket) -> None:
        asking.setblocking(False)
        handed: list[int] = []
        try:
            answer = await self._answer(asking, handed)
            await asyncio.get_running_loop().sock_sendall(asking, msgspec.json.encode(answer) + b"\n")
        except OSError as error:
            _log.info("the CNI plugin has not waited", reason=str(error))
        finally:
            for descriptor in handed:
                os.close(descriptor)
            asking.close()

    async def _answer(self, asking: socket.socket, handed: list[int]) -> dict[str, object]:
        user = _SO_PEERCRED.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _SO_PEERCRED.size))[1]
        if user != self._allowed:
            _log.warning("somebody else than the runtime asks", user=user)
            return {"error": f"user {user} may not ask"}
        try:
            async with asyncio.timeout(SECONDS):
                line = await _line(asking, handed)
            return await self._obey(msgspec.json.decode(line, type=_Request), handed)
        except gate.SupersededError:
            return {"again": True}
        except TimeoutError:
            return {"error": f"no whole line within {SECONDS:.0f} s"}
        except (msgspec.DecodeError, pods.EnrolError, ValueError) as error:
            _log.warning("a pod is refused", reason=str(error))
            return {"error": str(error)}
        except Exception as error:
            _log.exception("a CNI request failed")
            return {"error": f"the agent failed: {error!r}"}

    async def _obey(self, request: _Request, handed: list[int]) -> dict[str, object]:
        for asked in (request.add, request.delete, request.check):
            if asked is not None and not listed.usable_uid(asked.uid):
                return {"error": f"{asked.uid[:200]!r} is no uid"}
        if request.add is not None:
            if len(handed) != 1:
                return {"error": "one descriptor of the pod's network namespace must come with the line"}
            return {"ok": True, "mesh": await self._members.join(request.add, handed[0])}
        if request.delete is not None:
            await self._members.gone(request.delete)
        elif request.check is not None:
            self._members.check(request.check)
        elif not request.status:
            return {"error": 'write {"add": ...}, {"del": ...}, {"check": ...} or {"status": true}'}
        return {"ok": True}


async def _line(asking: socket.socket, handed: list[int]) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        await _readable(asking)
        try:
            part, descriptors, _, _ = socket.recv_fds(asking, LONGEST, 8, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            continue
        handed.extend(descriptors)
        line += part
        if not part or len(line) > LONGEST:
            raise ValueError(f"a request is one line of at most {LONGEST} bytes")
    return line


async def _readable(asking: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(asking, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(asking)
