"""Sends spans to collectors, by gRPC or HTTP (OpenTelemetry Protocol, OTLP), a second's together.

What cannot be sent is dropped, and how much that was is logged: no request waits for a collector, and nothing is kept
for one that is away but what came in the meantime of one attempt.
"""

import asyncio
import collections
import time
from collections.abc import Mapping

import grpc
import grpc.aio
import httpx
import structlog
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from retic.node import told
from retic.telemetry import spans

EVERY = 1.0  # seconds
LAST_SECONDS = 2.0  # for what waits at the end
MOST_WAITING = 4096  # spans for one collector
MOST_AT_ONCE = 512  # in one message
QUIET = 30.0  # seconds between two lines of the log that say the same
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# The mesh is not to trace its own sending.
_UNTRACED = ("traceparent", "00-00000000000000000000000000000001-0000000000000001-00")
_log = structlog.get_logger("retic.node")


class Exporting:
    """`set` says which collectors there are; `run` sends until cancelled."""

    def __init__(self) -> None:
        self._collectors: Mapping[str, told.Collector] = {}
        self._waiting: dict[str, collections.deque[spans.Traced]] = {}
        self._dropped: collections.Counter[str] = collections.Counter()
        self._turns: collections.Counter[str] = collections.Counter()
        self._said: dict[str, float] = {}
        self.sent = 0

    def set(self, known: Mapping[str, told.Collector]) -> None:
        """The collectors from now on; what waits for others is forgotten."""
        self._collectors = known
        self._waiting = {name: found for name, found in self._waiting.items() if name in known}

    def add(self, collector: str, span: spans.Traced) -> None:
        """One more to send."""
        queue = self._waiting.setdefault(collector, collections.deque())
        if len(queue) >= MOST_WAITING:
            self._dropped[collector] += 1
            return
        queue.append(span)

    async def run(self) -> None:
        """Send what waits, every second."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self.flush()
        finally:
            await asyncio.shield(self._last())

    async def _last(self) -> None:
        async with asyncio.timeout(LAST_SECONDS):
            await self.flush()

    async def flush(self) -> None:
        """Send all that waits now; to several collectors at once."""
        await asyncio.gather(*map(self._empty, list(self._waiting)))

    async def _empty(self, name: str) -> None:
        queue = self._waiting[name]
        collector = self._collectors.get(name, told.Collector())
        while queue:
            some = [queue.popleft() for _ in range(min(len(queue), MOST_AT_ONCE))]
            reason = await self._send(name, collector, some)
            if reason:
                self._dropped[name] += len(some)
                self._say(name, reason)
                return
            self.sent += len(some)

    async def _send(self, name: str, collector: told.Collector, some: list[spans.Traced]) -> str:
        """Why it could not be sent, "" when it was. Each attempt goes to the next place where the collector is."""
        if not collector.targets:
            return "it is nowhere: no endpoint is ready"
        message = spans.request(some)
        reason = ""
        for _ in range(min(2, len(collector.targets)) or 1):
            target = collector.targets[self._turns[name] % len(collector.targets)]
            try:
                await (_by_http if collector.path else _by_grpc)(target, collector, message)
                return ""
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                reason = f"{target}: {error!r}"
            except grpc.aio.AioRpcError as error:
                reason = f"{target}: {error.code().name} {error.details()}"
            self._turns[name] += 1
        return reason

    def _say(self, name: str, reason: str) -> None:
        now = time.monotonic()
        if now - self._said.get(name, -QUIET) >= QUIET:
            _log.warning("spans were dropped", collector=name, spans=self._dropped.pop(name), reason=reason[:300])
            self._said[name] = now


async def _by_grpc(
    target: str, collector: told.Collector, message: trace_service_pb2.ExportTraceServiceRequest
) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(
            _METHOD,
            request_serializer=trace_service_pb2.ExportTraceServiceRequest.SerializeToString,
            response_deserializer=trace_service_pb2.ExportTraceServiceResponse.FromString,
        )
        await call(message, timeout=collector.seconds, metadata=(_UNTRACED,))


async def _by_http(
    target: str, collector: told.Collector, message: trace_service_pb2.ExportTraceServiceRequest
) -> None:
    headers = {"content-type": "application/x-protobuf", _UNTRACED[0]: _UNTRACED[1]}
    async with httpx.AsyncClient(timeout=collector.seconds, trust_env=False) as client:
        answer = await client.post(
            f"http://{target}{collector.path}", content=message.SerializeToString(), headers=headers
        )
        answer.raise_for_status()
