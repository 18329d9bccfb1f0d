"""The watch stream over real sockets: lists, changes, lost servers, broken lines."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest

from retic import findings, objects
from retic.objects import core, defaults, meta
from retic.sources import codec, model, stream
from retic.testing import stream as fake
from retic.testing import wait

PLACE = model.Position("a.yaml", 3, {"metadata.name": 4})
FOUND = model.finding("RT0001", "", file="a.yaml", line=2, message="not YAML", fix="mend it")


def made(name, value="x"):
    return core.ConfigMap(meta.Metadata(name, "default"), data={"v": value})


def added(name, value="x"):
    return codec.event(codec.Type.ADDED, made(name, value), PLACE)


def deleted(name):
    return codec.event(codec.Type.DELETED, made(name))


class Sink:
    """Keeps what it is told."""

    def __init__(self):
        self.batches, self.reports, self.syncs, self.held = [], [], 0, {}

    def apply(self, changes):
        self.batches.append({change.name: change.object and change.object.data["v"] for change in changes})
        for change in changes:
            if change.object is None:
                del self.held[change.name]
            else:
                self.held[change.name] = change.object.data["v"]

    def report(self, found):
        self.reports.append(found)

    def synced(self):
        self.syncs += 1


@pytest.fixture
async def server():
    with tempfile.TemporaryDirectory() as folder:
        made = fake.Server(Path(folder) / "s.sock")
        await made.start()
        yield made
        await made.stop()


@contextlib.asynccontextmanager
async def following(server, **options):
    sink = Sink()
    options.setdefault("backoff", stream.Backoff(first=0.005, longest=0.02))
    task = asyncio.create_task(stream.follow(server.path, sink, **options))
    try:
        yield sink
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def synced(sink, times=1):
    await wait.until_async(lambda: sink.syncs >= times, f"synced {times} times")


async def test_a_list_is_one_batch_and_changes_follow(server):
    server.greeting = added("a") + codec.report((FOUND,)) + added("b") + codec.SYNCED
    async with following(server) as sink:
        await synced(sink)
        assert server.requests == [b'{"watch":true}\n']
        assert sink.batches == [{"a": "x", "b": "x"}]
        assert sink.reports == [(FOUND,)]
        await server.send(codec.event(codec.Type.MODIFIED, made("a", "y"), PLACE) + deleted("b") + codec.report(()))
        await wait.until_async(lambda: len(sink.batches) == 2, "a second batch")
        assert sink.batches[1] == {"a": "y", "b": None}
        assert sink.reports[-1] == ()


async def test_a_change_says_everything(server):
    server.greeting = added("a") + codec.SYNCED
    changes = []
    async with following(server) as sink:
        sink.apply = changes.extend
        await synced(sink)
    assert changes == [stream.Change("ConfigMap", "default", "a", made("a"), PLACE)]


async def test_after_a_reconnection_only_differences_are_told(server):
    server.greeting = added("a") + added("b") + added("c") + codec.report((FOUND,)) + codec.SYNCED
    async with following(server) as sink:
        await synced(sink)
        await server.stop()
        assert sink.held == {"a": "x", "b": "x", "c": "x"}
        server.greeting = added("a") + added("b", "y") + added("d") + codec.report((FOUND,)) + codec.SYNCED
        await server.start()
        await synced(sink, 2)
        assert sink.batches[1:] == [{"b": "y", "c": None, "d": "x"}]
        assert len(sink.reports) == 1


async def test_a_list_that_is_cut_short_removes_nothing(server):
    server.greeting = added("a") + added("b") + codec.SYNCED
    async with following(server) as sink:
        await synced(sink)
        server.greeting = added("a", "y") + added("b")[:20]
        await server.stop()
        await server.start()
        await wait.until_async(lambda: len(server.requests) >= 2, "a second connection")
        await server.stop()
        assert sink.batches == [{"a": "x", "b": "x"}]
        server.greeting = added("a", "y") + codec.SYNCED
        await server.start()
        await synced(sink, 2)
        assert sink.batches[1:] == [{"a": "y", "b": None}]


@pytest.mark.parametrize(
    "bad",
    [
        b"{nonsense\n",
        b"\n",
        b'{"type":"OTHER"}\n',
        b'{"type":"ADDED"}\n',
        b"\xff\xfe\n",
        b'{"type":"ADDED","object":{"kind":"Widget"}}\n',
        b'{"type":"ADDED","object":{}}\n',
        b'{"type":"ADDED","object":{"kind":"Pod","metadata":3}}\n',
        b"[]\n",
    ],
)
async def test_a_corrupt_line_leads_to_a_new_list(server, bad):
    server.greeting = added("a") + codec.SYNCED
    async with following(server) as sink:
        await synced(sink)
        server.greeting = added("a") + added("c") + codec.SYNCED
        await server.send(added("b") + bad + added("never"))
        await synced(sink, 2)
        assert sink.batches == [{"a": "x"}, {"b": "x"}, {"b": None, "c": "x"}]


async def test_lines_may_arrive_in_pieces(server):
    async with following(server) as sink:
        await wait.until_async(lambda: server.requests, "a connection")
        for byte in added("a") + codec.SYNCED + added("b"):
            await server.send(bytes([byte]))
        await wait.until_async(lambda: sink.held == {"a": "x", "b": "x"}, "both objects")


async def test_a_large_object_arrives_whole(server):
    server.greeting = added("a", "z" * 3_000_000) + codec.SYNCED
    async with following(server) as sink:
        await synced(sink)
        assert len(sink.held["a"]) == 3_000_000


async def test_waits_grow_and_start_over(server):
    waits = []

    async def pause(seconds):
        waits.append(seconds)
        if len(waits) == 4:
            server.greeting = codec.SYNCED
            await server.start()
        await asyncio.sleep(0)

    await server.stop()
    async with following(server, backoff=stream.Backoff(first=1.0, longest=3.0), pause=pause) as sink:
        await synced(sink)
        await server.stop()
        await wait.until_async(lambda: len(waits) > 5, "another wait")
    for wanted, seconds in zip([1, 2, 3, 3, 1], waits, strict=False):
        assert wanted / 2 <= seconds <= wanted


async def test_a_fault_of_the_sink_is_not_hidden(server):
    server.greeting = added("a") + codec.SYNCED
    sink = Sink()
    sink.apply = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(stream.follow(server.path, sink), 5)


def test_every_kind_passes_the_codec():
    secret = defaults.apply(core.Secret(meta.Metadata("s"), data={"k": b"\x00\xff"}))
    for kind in (codec.Type.ADDED, codec.Type.MODIFIED, codec.Type.DELETED):
        line = codec.event(kind, secret, PLACE)
        assert line.count(b"\n") == 1
        assert codec.decode(line) == codec.Event(kind, secret, PLACE)
    assert codec.decode(codec.report((FOUND,))).found == (FOUND,)
    assert codec.decode(codec.SYNCED).type is codec.Type.SYNCED
    assert isinstance(FOUND, findings.Finding)
    assert objects.KINDS


def test_a_corrupt_line_does_not_show_its_content():
    line = b'{"type":"ADDED","object":{"kind":"Secret","metadata":{"name":"a"},"data":{"k":"hunter2!"}}}'
    with pytest.raises(codec.CorruptError) as caught:
        codec.decode(line)
    assert "hunter2" not in str(caught.value)
