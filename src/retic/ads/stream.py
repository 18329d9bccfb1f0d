"""One discovery stream: a reader that takes requests in, a writer that drains what is due.

The writer composes a response only when the one before has left: while the client does not read, changes
accumulate as names. Nothing here knows what a resource means.
"""

import asyncio
from collections.abc import Callable, Iterator

import grpc
import grpc.aio
import msgspec
import structlog

from retic import xds
from retic.ads import counters as counting
from retic.ads import event, source
from retic.xds import kinds, state

log = structlog.get_logger(__name__)

BREATH = 100
"""After so many names opened at a go, other streams have their turn."""

Call = grpc.aio.ServicerContext[bytes, bytes]


class RefuseError(Exception):
    """The stream is to end with this status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Progress(msgspec.Struct, frozen=True):
    """How far a client is. `sent` and `acked` count resources since it connected; `pending` are type URL
    and name of what was not sent or not answered yet; `refused` is what it rejected, not pending."""

    sent: int
    acked: int
    pending: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, xds.Refused], ...]


class Stream:
    """One call. `peer` is the client's id by its certificate; `news` is called when progress was made."""

    def __init__(
        self, call: Call, peer: str, *, origin: source.Source, protocol: state.Server,
        counters: counting.Counters, on_event: Callable[[event.Event], None], news: Callable[[], None],
    ) -> None:  # fmt: skip
        self._call = call
        self._peer = peer
        self._source = origin
        self._state = protocol
        self._counters = counters
        self._on_event = on_event
        self._news = news
        self._wake = asyncio.Event()
        self._watches: source.Watches | None = None
        self._opening = True
        self._ended = False
        self._acked = 0
        self._refused: dict[tuple[str, str], xds.Refused] = {}
        self.client: xds.Client | None = None

    @property
    def idle(self) -> bool:
        """Whether the client has acknowledged or rejected everything that the graph has for it."""
        return not self._opening and self._state.idle

    @property
    def begun(self) -> bool:
        """Whether the client has asked for its listeners, which it does last, and has answered what it was sent."""
        return any(book.type_url == kinds.LISTENER and book.asked and book.idle for book in self._state.books())

    def progress(self) -> Progress:
        """How far the client is."""
        books = list(self._state.books())
        return Progress(
            sent=self._state.sent,
            acked=self._acked,
            pending=tuple((book.type_url, name) for book in books for name in sorted(book.pending())),
            refused=tuple((type_url, one) for (type_url, _), one in self._rejected()),
        )

    def _rejected(self) -> Iterator[tuple[tuple[str, str], xds.Refused]]:
        for book in self._state.books():
            for name, one in book.refused.items():
                yield (book.type_url, name), one

    async def run(self) -> None:
        """Serve until the client ends the stream or its call is cancelled. Raises `RefuseError`."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not reader.exception():
                self._ended = True
                self._wake.set()
                await writer
            for task in (reader, writer):
                if task.done():
                    task.result()
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            self._finish()

    async def _read(self) -> None:
        while True:
            content = await self._call.read()
            if not isinstance(content, bytes):  # the client has ended its half
                return
            self._counters.received += 1
            self._opening = True
            try:
                received = self._state.receive(content)
            except xds.MalformedError as error:
                raise RefuseError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
            except xds.TooManyError as error:
                raise RefuseError(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from error
            if received.node is not None:
                self._meet(received.node)
            await self._follow(received)
            self._opening = False
            self._wake.set()
            self._tell()

    def _meet(self, node: xds.Node) -> None:
        if node.id != self._peer:
            message = f"the certificate is {self._peer}'s, the node says it is {node.id[:200]!r}"
            raise RefuseError(grpc.StatusCode.PERMISSION_DENIED, message)
        self.client = xds.Client(id=node.id, zone=node.zone)
        self._watches = source.Watches(self._source, self.client, self._state, self._wake.set)
        self._on_event(event.Connected(client=self.client))

    async def _follow(self, received: xds.Received) -> None:
        """Watch what the request asks for, and note what it says about responses."""
        watches = self._watches
        if watches is None:
            raise RefuseError(grpc.StatusCode.INVALID_ARGUMENT, "the first message has no node")
        self._acked += received.acknowledged
        self._counters.acks += received.acked
        self._counters.nacks += received.refusal is not None
        for name in received.dropped:
            watches.close(received.type_url, name)
        if received.wildcard is not None:
            (watches.open_list if received.wildcard else watches.close_list)(received.type_url)
        for count, name in enumerate(received.wanted, 1):
            watches.open(received.type_url, name)
            if count % BREATH == 0:
                await asyncio.sleep(0)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._watches is not None and not self._opening:
                before = self._state.sent
                response = self._state.respond(self._watches.lookup)
                if response is None:
                    break
                self._counters.messages += 1
                self._counters.bytes += len(response)
                self._counters.resources += self._state.sent - before
                await self._call.write(response)
            self._tell()
            if self._ended and not self._wake.is_set():
                return

    def _tell(self) -> None:
        """Report refusals that came or went, and wake whoever waits for progress."""
        if self.client is not None and (self._refused or self._counters.nacks):
            now = dict(self._rejected())
            for type_url, name in self._refused.keys() - now.keys():
                self._on_event(event.Cleared(client=self.client, type_url=type_url, name=name))
            for (type_url, name), one in now.items():
                if self._refused.get((type_url, name)) != one:
                    self._on_event(
                        event.Nack(
                            client=self.client, type_url=type_url, name=name,
                            version=one.version, message=one.message,
                        )
                    )  # fmt: skip
            self._refused = now
        if self._watches is not None and self._watches.failed:
            self._counters.failed += self._watches.failed
            self._watches.failed = 0
        self._news()

    def _finish(self) -> None:
        if self._watches is not None:
            self._watches.close_all()
        if self.client is not None:
            for type_url, name in self._refused:
                self._on_event(event.Cleared(client=self.client, type_url=type_url, name=name))
            self._on_event(event.Disconnected(client=self.client))
