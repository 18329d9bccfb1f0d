"""One HTTP/2 client connection with prior knowledge (h2c) and any number of streams at a time."""

import asyncio

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec

from retic.testing.load import record


class Answer(msgspec.Struct):
    """What came back on a stream so far."""

    done: asyncio.Future[None]
    status: int = 0
    body: bytearray = msgspec.field(default_factory=bytearray)


_GOAWAY = 7  # RFC 9113, section 6.8
_HEAD = 9  # bytes of a frame before its payload


class Connection(asyncio.Protocol):
    """Made by `connect`. Bodies are not sent, only received."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._wire = h2.connection.H2Connection(config=config)
        self._answers: dict[int, Answer] = {}
        self._lost: Exception | None = None
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or EOFError()
        for answer in self._answers.values():
            if not answer.done.done():
                answer.done.set_exception(self._lost)
        self._answers.clear()

    @property
    def usable(self) -> bool:
        return self._lost is None and self._transport is not None and not self._transport.is_closing()

    def _flush(self) -> None:
        if self._transport is not None and (data := self._wire.data_to_send()):
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._wire.receive_data(self._without_goaway(data))
        except h2.exceptions.ProtocolError:
            self.close()
            return
        for event in events:
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=int(number), headers=list(headers)):
                if answer := self._answers.get(number):
                    answer.status = int({str(name): str(value) for name, value in headers}[":status"])
            case h2.events.DataReceived(stream_id=int(number), flow_controlled_length=int(length)):
                self._wire.acknowledge_received_data(length, number)
                if answer := self._answers.get(number):
                    answer.body += event.data or b""
            case h2.events.StreamEnded(stream_id=int(number)):
                answer = self._answers.pop(number, None)
                if answer and not answer.done.done():
                    answer.done.set_result(None)
            case h2.events.StreamReset(stream_id=int(number)):
                answer = self._answers.pop(number, None)
                if answer and not answer.done.done():
                    answer.done.set_exception(record.Failed("stream reset"))

    def _without_goaway(self, data: bytes) -> bytes:
        """The whole frames received so far. Of a GOAWAY h2 is not told: it would refuse whatever comes after,
        but streams in flight still end. The next request takes a new connection."""
        self._received += data
        frames = bytearray()
        while len(self._received) >= _HEAD:
            size = _HEAD + int.from_bytes(self._received[:3], "big")
            if len(self._received) < size:
                break
            if self._received[3] == _GOAWAY:
                self._lost = EOFError()
            else:
                frames += self._received[:size]
            del self._received[:size]
        return bytes(frames)

    async def request(
        self, method: str, path: str, authority: str = "h2", headers: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """Send a request without a body; returns the whole answer. Raises what ended the connection."""
        if self._lost is not None:
            raise self._lost
        pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
        number = self._wire.get_next_available_stream_id()
        answer = Answer(asyncio.get_running_loop().create_future())
        self._answers[number] = answer
        self._wire.send_headers(number, [*pseudo, *headers], end_stream=True)
        self._flush()
        await answer.done
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(host: str, port: int) -> Connection:
    """A new connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


class Client:
    """The load generator's view, shared by all workers of one connection."""

    def __init__(
        self, host: str, port: int, path: str, authority: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        self._host, self._port = host, port
        self._path, self._authority, self._headers = path, authority, headers
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    async def once(self) -> None:
        """One request. Raises `record.Failed` for a status of 400 or more, OSError or EOFError else."""
        async with self._opening:
            if self._connection is None or not self._connection.usable:
                self._connection = await connect(self._host, self._port)
            connection = self._connection
        answer = await connection.request("GET", self._path, self._authority, self._headers)
        if answer.status >= 400:
            raise record.Failed(f"status {answer.status}")

    def close(self) -> None:
        """Give up the connection after a failure, unless other streams still use a sound one."""
        if self._connection is not None and not self._connection.usable:
            self._connection = None

    def end(self) -> None:
        """Close for good."""
        if self._connection is not None:
            self._connection.close()
