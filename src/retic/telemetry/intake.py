"""Takes what an agent's Envoys report (envoy.service.accesslog.v3), keeps the failed, and gives all to who subscribes.

Everything is bounded: entries a second, bytes kept, entries that wait for a subscriber. What is beyond is counted and
forgotten, never waited for: an Envoy whose agent is slow drops entries itself.
"""

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, Self

import grpc
from envoy.service.accesslog.v3 import als_pb2

from retic.telemetry import entries

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
MOST_A_SECOND = 2000
"""So many entries of all Envoys of an agent are looked at in a second; each costs some 50 µs."""
KEPT_BYTES = 4 << 20
"""So much is kept of failed requests, a few thousand of them."""
MOST_WAITING = 1000
"""So many entries wait for one subscriber."""


class _Kept(NamedTuple):
    side: str
    kind: type[entries.Message]
    content: bytes


def _entry(kept: _Kept) -> entries.Entry:
    return entries.entry(kept.side, kept.kind.FromString(kept.content))


class Subscription:
    """Iterate over it; it never ends by itself. `dropped` counts what came too fast, wanted or not. `close` it."""

    def __init__(self, wanted: Callable[[entries.Entry], bool], leave: Callable[["Subscription"], None]) -> None:
        self._wanted = wanted
        self._leave = leave
        self._waiting: collections.deque[entries.Entry] = collections.deque()
        self._news = asyncio.Event()
        self.dropped = 0

    def offer(self, entry: entries.Entry) -> None:
        """One more, if it is wanted and there is room."""
        if not self._wanted(entry):
            return
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(entry)
        self._news.set()

    def close(self) -> None:
        """Get no more."""
        self._leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> entries.Entry:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


class Intake:
    """One per agent. `now` is a clock that never goes back, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._in_second = 0
        self._kept: collections.deque[_Kept] = collections.deque()
        self._kept_bytes = 0
        self._subscriptions: list[Subscription] = []
        self.taken = 0
        self.dropped = 0

    def service(self) -> "grpc.GenericRpcHandler[als_pb2.StreamAccessLogsMessage, als_pb2.StreamAccessLogsResponse]":
        """To be added to the server that Envoy speaks to."""
        method = grpc.stream_unary_rpc_method_handler(
            self._serve,
            request_deserializer=als_pb2.StreamAccessLogsMessage.FromString,
            response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": method})

    async def _serve(
        self, messages: AsyncIterator[als_pb2.StreamAccessLogsMessage], _call: Any
    ) -> als_pb2.StreamAccessLogsResponse:
        name = ""
        async for message in messages:
            name = message.identifier.log_name or name  # only the first has it
            self.take(name, message)
        return als_pb2.StreamAccessLogsResponse()

    def take(self, log_name: str, message: als_pb2.StreamAccessLogsMessage) -> None:
        """The entries of one message; `log_name` is `http/SIDE` or `tcp/SIDE`."""
        side = log_name.partition("/")[2]
        for each in message.http_logs.log_entry or message.tcp_logs.log_entry:
            if entries.of_requests(each):
                continue
            if not self._room():
                self.dropped += 1
                for subscription in self._subscriptions:
                    subscription.dropped += 1
                continue
            self.taken += 1
            if entries.failed(each):
                self._keep(side, each)
            if self._subscriptions:
                entry = entries.entry(side, each)
                for subscription in tuple(self._subscriptions):
                    subscription.offer(entry)

    def subscribe(self, wanted: Callable[[entries.Entry], bool] = lambda _: True) -> Subscription:
        """What comes from now on and is wanted."""
        made = Subscription(wanted, self._subscriptions.remove)
        self._subscriptions.append(made)
        return made

    def failed(self) -> Iterator[entries.Entry]:
        """What failed or was refused, the newest first, as long as it is kept."""
        yield from map(_entry, reversed(self._kept))

    @property
    def kept(self) -> int:
        """How many are kept now."""
        return len(self._kept)

    @property
    def oldest(self) -> float:
        """When the oldest of them began, in seconds since 1970; 0 when there is none."""
        return _entry(self._kept[0]).time if self._kept else 0.0

    def find(self, wanted: str) -> list[entries.Entry]:
        """What is kept of one stream by an id of it, the newest first; both sides may have reported."""
        letters = wanted.encode()
        made = (_entry(kept) for kept in reversed(self._kept) if letters in kept.content)
        return [entry for entry in made if wanted and wanted in (entry.answer, entry.id, entry.request_id)]

    def _room(self) -> bool:
        second = int(self._now())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second <= MOST_A_SECOND

    def _keep(self, side: str, message: entries.Message) -> None:
        content = message.SerializeToString()
        self._kept.append(_Kept(side, type(message), content))
        self._kept_bytes += len(content)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().content)
