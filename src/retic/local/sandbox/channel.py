"""Messages with file descriptors over a connected unix SEQPACKET socket, and calls made of them.

Either side of a mesh's inner sockets speaks this: pid 1 to the spawner, pid 1 to the broker. There is no
authentication: who holds the inherited socket may ask. Refuses partial messages: one packet is one message,
and what does not fit into a packet travels in a memfd.
"""

import array
import asyncio
import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

_PACKET = 60_000
_FDS = 16
_IN_MEMFD = b"\0"
_GONE = "the other side of the socket is gone"


class Packet(msgspec.Struct, frozen=True):
    """One message and the descriptors that came with it; the receiver owns (must close) them."""

    body: bytes
    fds: tuple[int, ...] = ()
    cut: bool = False
    """The kernel dropped descriptors: this process may have no more of them."""

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request (verb, id), an answer (id, body or error), or news (verb, no id)."""

    id: int = 0
    verb: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    errno: int = 0


class LostError(ConnectionError):
    """The other side is gone."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, body: bytes, fds: Sequence[int] = ()) -> None:
    """Send one packet. Raises BlockingIOError when a non-blocking socket is full, LostError at the end."""
    spare: list[int] = []
    try:
        if len(body) > _PACKET:
            memory = os.memfd_create("message")
            spare.append(memory)
            with open(memory, "wb", closefd=False) as file:
                file.write(body)
            body, fds = _IN_MEMFD, (*fds, memory)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([body], rights, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise LostError(_GONE) from error
    finally:
        for fd in spare:
            os.close(fd)


def receive(sock: socket.socket) -> Packet:
    """Receive one packet. Raises LostError at the end, BlockingIOError when there is none yet."""
    size = array.array("i").itemsize * _FDS
    try:
        body, rights, flags, _ = sock.recvmsg(_PACKET + 1, socket.CMSG_SPACE(size), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError as error:
        raise LostError(_GONE) from error
    fds = array.array("i")
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if not body:
        raise LostError(_GONE)
    cut = bool(flags & socket.MSG_CTRUNC)
    if body == _IN_MEMFD and fds:
        memory = fds.pop()
        with open(memory, "rb") as file:
            file.seek(0)
            body = file.read()
    return Packet(body, tuple(fds), cut)


def encode(message: Message) -> bytes:
    return msgspec.json.encode(message)


def decode(body: bytes) -> Message:
    return msgspec.json.decode(body, type=Message)


def raw(value: object) -> msgspec.Raw:
    """`value` as the body of a Message."""
    return msgspec.Raw(msgspec.json.encode(value))


class Answer(msgspec.Struct, frozen=True):
    """What came back: the body, and descriptors that the caller must close or adopt."""

    body: msgspec.Raw
    fds: tuple[int, ...]

    def value(self, kind: type[T]) -> T:
        return msgspec.json.decode(self.body, type=kind)


class _End:
    """One end in an event loop: reads every packet, and sends without blocking the loop."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.lost = asyncio.Event()
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        """Stop; whoever waits for the other side gets LostError."""
        if not self.lost.is_set():
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self.lost.set()
            self._closed()

    def _closed(self) -> None:
        raise NotImplementedError

    def _deliver(self, packet: Packet) -> None:
        raise NotImplementedError

    async def _send(self, message: Message, fds: Sequence[int]) -> None:
        body = encode(message)
        async with self._sending:
            while not self.lost.is_set():
                try:
                    return send(self._sock, body, fds)
                except BlockingIOError:
                    await self._writable()
            raise LostError(_GONE)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        number = self._sock.fileno()
        self._loop.add_writer(number, _set, ready)
        lost: asyncio.Future[bool] = asyncio.ensure_future(self.lost.wait())
        try:
            waited: tuple[asyncio.Future[Any], ...] = (ready, lost)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            self._loop.remove_writer(number)

    def _read(self) -> None:
        while not self.lost.is_set():
            try:
                packet = receive(self._sock)
            except BlockingIOError:
                return
            except LostError:
                self.close()
                return
            self._deliver(packet)


class Caller(_End):
    """The asking side. Calls may overlap; answers may come in any order.

    `news` is called with messages that answer nothing. `lost` is set once the other side is gone; from then
    on every call raises LostError.
    """

    def __init__(self, sock: socket.socket, news: Callable[[Message], None] | None = None) -> None:
        self._news = news
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        super().__init__(sock)

    async def call(self, verb: str, body: object, fds: Sequence[int] = ()) -> Answer:
        """Ask and wait. Raises OSError with the other side's errno and words, LostError when it is gone.

        A call given up (cancelled) is still done by the other side; its descriptors are closed on arrival.
        """
        number = next(self._ids)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = future
        try:
            await self._send(Message(id=number, verb=verb, body=raw(body)), fds)
            return await future
        finally:
            self._waiting.pop(number, None)
            if future.cancelled() or not future.done():
                future.cancel()

    def _deliver(self, packet: Packet) -> None:
        message = decode(packet.body)
        future = self._waiting.get(message.id)
        if future is None or future.done():
            packet.close()
            if message.id == 0 and self._news is not None:
                self._news(message)
        elif packet.cut:
            packet.close()
            future.set_exception(OSError(errno.EMFILE, "no descriptor is left for what was asked"))
        elif message.error:
            packet.close()
            future.set_exception(OSError(message.errno, message.error))
        else:
            future.set_result(Answer(message.body, packet.fds))

    def _closed(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LostError(_GONE))


class Answerer(_End):
    """The answering side, for work that takes time: each request is a task.

    `serve` returns the body of the answer and descriptors, which are closed once sent. What it raises becomes
    the answer's error.
    """

    def __init__(
        self, sock: socket.socket, serve: Callable[[Message], Awaitable[tuple[object, Sequence[int]]]]
    ) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(sock)

    def _deliver(self, packet: Packet) -> None:
        packet.close()
        task = self._loop.create_task(self._answer(decode(packet.body)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Message) -> None:
        fds: Sequence[int] = ()
        try:
            body, fds = await self._serve(request)
            answer = Message(id=request.id, body=raw(body))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            answer = failure(request.id, error)
        try:
            with contextlib.suppress(LostError):
                await self._send(answer, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _closed(self) -> None:
        for task in self._tasks:
            task.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def failure(number: int, error: Exception) -> Message:
    """The answer that says what went wrong; never empty."""
    if isinstance(error, OSError) and error.strerror:
        return Message(id=number, error=error.strerror, errno=error.errno or 0)
    code = getattr(error, "code", 0)  # netlink's errors
    return Message(
        id=number, error=str(error) or type(error).__name__, errno=code if type(code) is int else 0
    )
