"""An HTTP/2 echo server in plaintext with prior knowledge (h2c). It refuses HTTP/1: see echo_http."""

import asyncio

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from retic.testing.apps import answers, start


class Stream:
    """One request on its way in, or its answer on the way out."""

    def __init__(self, number: int, headers: list[tuple[str, str]]) -> None:
        self.number = number
        self.pseudo = {name: value for name, value in headers if name.startswith(":")}
        self.headers: dict[str, str] = {}
        for name, value in headers:
            key = "host" if name == ":authority" else name
            if not key.startswith(":"):
                self.headers[key] = f"{self.headers[key]}, {value}" if key in self.headers else value
        self.size = self.frames = 0
        self.window = asyncio.Event()


class Connection(asyncio.Protocol):
    """One client's connection with all its streams."""

    def __init__(self, identity: start.Identity) -> None:
        self.identity = identity
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.wire = h2.connection.H2Connection(config=config)
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.peer = start.peer(transport.get_extra_info("peername"))
        self.wire.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        for task in self.tasks:
            task.cancel()

    def flush(self) -> None:
        if self.transport is not None and (data := self.wire.data_to_send()):
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.wire.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            if self.transport is not None:
                self.transport.close()
            return
        for event in events:
            self.take(event)
        self.flush()

    def take(self, event: h2.events.Event) -> None:
        """Enter one event of the wire into the state of its stream."""
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=list(headers)):
                self.count += 1
                pairs = [(str(name), str(value)) for name, value in headers]
                self.streams[number] = Stream(self.count, pairs)
            case h2.events.DataReceived(stream_id=int(number), flow_controlled_length=int(length)):
                stream = self.streams[number]
                stream.size, stream.frames = stream.size + len(event.data or b""), stream.frames + 1
                self.wire.acknowledge_received_data(length, number)
            case h2.events.StreamEnded(stream_id=int(number)):
                task = asyncio.get_running_loop().create_task(self.answer(number))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            case h2.events.StreamReset(stream_id=int(number)):
                self.streams.pop(number, None)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream in self.streams.values():
                    stream.window.set()

    async def answer(self, number: int) -> None:
        """Send the answer to a complete request; a stream that was reset meanwhile gets none."""
        stream = self.streams[number]
        request = answers.Request(
            stream.pseudo[":method"], stream.pseudo.get(":path", ""), "HTTP/2", stream.headers,
            stream.size, stream.frames, self.peer, stream.number,
        )  # fmt: skip
        reply = answers.reply(request, self.identity)
        await asyncio.sleep(reply.delay)
        try:
            if reply.close:
                self.wire.reset_stream(number)
            else:
                await self.send(number, stream, reply)
        except (h2.exceptions.StreamClosedError, KeyError):
            return
        finally:
            self.streams.pop(number, None)
            self.flush()

    async def send(self, number: int, stream: Stream, reply: answers.Reply) -> None:
        headers = [(":status", str(reply.status)), ("server", self.identity.name)]
        if reply.pieces:
            headers.append(("content-type", reply.content_type))
        self.wire.send_headers(number, headers, end_stream=not reply.pieces)
        for piece in reply.pieces:
            await self.send_piece(number, stream, piece)
            if len(reply.pieces) > 1:
                await asyncio.sleep(answers.PIECE_SECONDS)
        if reply.pieces:
            self.wire.end_stream(number)

    async def send_piece(self, number: int, stream: Stream, piece: bytes) -> None:
        """Send within the peer's flow-control windows, waiting for them to open."""
        while piece:
            room = min(
                self.wire.local_flow_control_window(number), self.wire.max_outbound_frame_size, len(piece)
            )
            if room <= 0:
                stream.window.clear()
                self.flush()
                await stream.window.wait()
                continue
            self.wire.send_data(number, piece[:room])
            piece = piece[room:]
            self.flush()


async def main() -> None:
    """Serve until SIGTERM."""
    given = start.options(__doc__ or "")
    await start.serve_protocol(given, lambda: Connection(given.identity))


if __name__ == "__main__":
    asyncio.run(main())
