"""Running a load: workers, each with a connection or a stream, in one event loop, open or closed loop."""

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
import urllib.parse
from typing import Protocol

import msgspec

from retic.testing.load import cpu, http1, http2, pace, record, tcp


class Plan(msgspec.Struct, frozen=True):
    """A run. `url` is http://, h2c:// or tcp://host:port; `rate` 0 means closed loop; times in seconds."""

    url: str
    rate: float = 0.0
    seconds: float = 10.0
    warm_up: float = 1.0
    connections: int = 8
    streams: int = 8
    """Requests at a time on each HTTP/2 connection."""
    timeout: float = 10.0
    """From when a request was due."""
    keep_alive: bool = True
    size: int = 64
    """Bytes of a TCP round trip."""
    headers: tuple[tuple[str, str], ...] = ()
    seed: int = 1
    cpu: tuple[int, ...] = ()
    """Processes whose processor time is measured."""

    @property
    def protocol(self) -> str:
        return self.url.partition(":")[0]


class Client(Protocol):
    """What a worker drives."""

    async def once(self) -> None: ...
    def close(self) -> None: ...


def clients(plan: Plan) -> list[Client]:
    """One client per worker; HTTP/2 workers share connections. Raises ValueError for another scheme."""
    url = urllib.parse.urlsplit(plan.url)
    host, authority = url.hostname or "", url.netloc
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    workers: list[Client] = []
    for _ in range(plan.connections):
        match url.scheme:
            case "http":
                wire = http1.request(authority, path, list(plan.headers))
                workers.append(http1.Client(host, url.port or 80, wire, keep_alive=plan.keep_alive))
            case "h2c":
                shared = http2.Client(host, url.port or 80, path, authority, plan.headers)
                workers.extend([shared] * plan.streams)
            case "tcp":
                if url.port is None:
                    raise ValueError(f"{plan.url}: a tcp:// target needs a port")
                workers.append(tcp.Client(host, url.port, plan.size, keep_alive=plan.keep_alive))
            case other:
                raise ValueError(f"{other}:// is none of http://, h2c://, tcp://")
    return workers


class _Span:
    """The part of a run that counts: what was due in it. The rest warms up or drains."""

    def __init__(self, plan: Plan) -> None:
        self.start = time.monotonic() + 0.05
        self.begin = self.start + plan.warm_up
        self.end = self.begin + plan.seconds

    def cut(self) -> None:
        """End it now; what is due later is not asked for."""
        self.end = max(self.begin, min(self.end, time.monotonic()))

    def counts(self, due: float) -> bool:
        return self.begin <= due < self.end


async def _one(client: Client, plan: Plan, due: float, span: _Span, into: record.Record) -> None:
    now = time.monotonic()
    if span.counts(due):
        into.queued = max(into.queued, now - due)
    try:
        async with asyncio.timeout(due + plan.timeout - now):
            await client.once()
    except (OSError, EOFError, record.Failed, TimeoutError) as error:
        client.close()
        if span.counts(due):
            into.bad(record.kind_of(error), time.time() - (time.monotonic() - due))
    else:
        if span.counts(due):
            into.good(time.monotonic() - due)


async def _open_loop(plan: Plan, workers: list[Client], span: _Span, into: record.Record) -> None:
    queue: asyncio.Queue[float | None] = asyncio.Queue()

    async def work(client: Client) -> None:
        while (due := await queue.get()) is not None:
            await _one(client, plan, due, span, into)

    timer = pace.Timer()
    tasks = [asyncio.create_task(work(client)) for client in workers]
    try:
        for due in pace.poisson(plan.rate, span.start, span.end - span.start, plan.seed):
            await timer.until(due)
            if due >= span.end:
                break
            queue.put_nowait(due)
        for _ in workers:
            queue.put_nowait(None)
        await asyncio.gather(*tasks)
    finally:
        timer.close()
        for task in tasks:
            task.cancel()


async def _closed_loop(plan: Plan, workers: list[Client], span: _Span, into: record.Record) -> None:
    async def work(client: Client, first: float) -> None:
        await asyncio.sleep(first - time.monotonic())
        while (now := time.monotonic()) < span.end:
            await _one(client, plan, now, span, into)

    # Workers that begin together stay in phase and queue behind each other: spread them over 100 ms.
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(workers):
            group.create_task(work(client, span.start + 0.1 * number / len(workers)))


async def _metered(plan: Plan, span: _Span, into: record.Record, told: asyncio.Event) -> None:
    await asyncio.sleep(span.begin - time.monotonic())
    print("measuring", file=sys.stderr, flush=True)
    meter = cpu.Meter(plan.cpu)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(span.end - time.monotonic()):
            await told.wait()
        span.cut()
    into.cpu, into.seconds = meter.used(), span.end - span.begin


async def run(plan: Plan) -> record.Record:
    """Run one process's share of a load to its end, or to SIGTERM; never longer than the plan and one time-out."""
    workers = clients(plan)
    into = record.Record()
    gc.collect()
    gc.disable()
    told = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    try:
        span = _Span(plan)
        async with asyncio.TaskGroup() as group:
            group.create_task(_metered(plan, span, into, told))
            group.create_task((_open_loop if plan.rate else _closed_loop)(plan, workers, span, into))
    finally:
        gc.enable()
        for client in workers:
            client.end() if isinstance(client, http2.Client) else client.close()
    return into


def run_alone(plan: Plan) -> record.Record:
    """`run` for a process of its own."""
    return asyncio.run(run(plan))
