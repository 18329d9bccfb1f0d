"""Sends spans to collectors, by gRPC or HTTP (OpenTelemetry Protocol, OTLP), a second's together.

What cannot be sent is dropped, and how much that was is logged: no request waits for a collector, and nothing is kept
for one that is away but what came in the meantime of one attempt.
"""

import asyncio
import collections
import functools
import ssl
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
        targets = collector.tls.targets if collector.tls else collector.targets
        if not targets:
            return "it is nowhere: no endpoint is ready"
        message = spans.request(some)
        reason = ""
        for _ in range(min(2, len(targets))):
            target = targets[self._turns[name] % len(targets)]
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


def _channel(target: str, tls: told.Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target)
    trusted = grpc.ssl_channel_credentials(tls.roots.encode() or None)
    return grpc.aio.secure_channel(target, trusted, options=[("grpc.ssl_target_name_override", tls.hostname)])


@functools.lru_cache(maxsize=16)
def _trusted(roots: str) -> ssl.SSLContext:
    """Made once: to read all that the public trusts takes milliseconds. As in gRPC, what is said is trusted, be it the
    authority's own authority or not."""
    context = ssl.create_default_context(cadata=roots) if roots else httpx.create_ssl_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def _by_grpc(
    target: str, collector: told.Collector, message: trace_service_pb2.ExportTraceServiceRequest
) -> None:
    async with _channel(target, collector.tls) as channel:
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
    tls = collector.tls
    scheme = "https" if tls else "http"
    named = {"sni_hostname": tls.hostname} if tls else {}
    if tls:
        headers["host"] = f"{tls.hostname}:{target.rpartition(':')[2]}"
    verify = _trusted(tls.roots if tls else "")
    async with httpx.AsyncClient(timeout=collector.seconds, trust_env=False, verify=verify) as client:
        answer = await client.post(
            f"{scheme}://{target}{collector.path}", content=message.SerializeToString(), headers=headers,
            extensions=named,
        )
        answer.raise_for_status()
