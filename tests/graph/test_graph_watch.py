"""Watches: conflation, closing, callbacks, and the memory of what was watched."""

import asyncio
import gc
import tracemalloc

import engine_audit
import engine_shop as shop
import pytest

from retic import graph

ON, OFF = shop.Pod("n1", True), shop.Pod("n1", False)


def named(of: graph.Graph, name: str) -> None:
    of.commit([graph.Set(shop.NAMES, "x", name)])


async def waiting(watch: graph.Watch) -> asyncio.Task:
    """A task that waits for the next value, once it really waits."""
    task = asyncio.ensure_future(anext(watch))
    while watch._waiting is None and not task.done():
        await asyncio.sleep(0)
    return task


def test_needs_no_event_loop_until_awaited():
    of = graph.Graph()
    watch = of.watch(shop.greeting, "x")
    named(of, "Ann")

    async def first() -> str:
        return await anext(watch)

    assert asyncio.run(first()) == "hello Ann"


async def test_yields_the_first_value_at_once_and_then_only_the_newest():
    of = graph.Graph()
    with of.watch(shop.greeting, "x") as watch:
        assert await anext(watch) == "hello nobody"
        named(of, "Ann")
        named(of, "Bob")
        assert await anext(watch) == "hello Bob"
        task = await waiting(watch)
        assert not task.done()
        named(of, "Cid")
        named(of, "Dan")
        assert await task == "hello Dan"


async def test_an_equal_answer_is_not_yielded_again():
    of = graph.Graph()
    of.commit([graph.Set(shop.PODS, "a", ON), graph.Set(shop.PODS, "b", ON)])
    with of.watch(shop.some_on, "n1") as watch:
        assert await anext(watch) is True
        task = await waiting(watch)
        of.commit([graph.Set(shop.PODS, "a", OFF)])
        await asyncio.sleep(0)
        assert not task.done()
        of.commit([graph.Delete(shop.PODS, "b")])
        assert await task is False


async def test_an_exception_yields_nothing_and_recovery_only_what_differs():
    of = graph.Graph()
    with of.watch(shop.must_be_ready, "a") as watch:
        task = await waiting(watch)
        assert not task.done()
        of.commit([graph.Set(shop.PODS, "a", ON)])
        assert await task == "a is ready"
        task = await waiting(watch)
        of.commit([graph.Set(shop.PODS, "a", OFF)])
        of.commit([graph.Set(shop.PODS, "a", ON)])
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()


async def test_closing_ends_the_iteration():
    of = graph.Graph()
    watch = of.watch(shop.greeting, "x")
    seen = []

    async def follow() -> None:
        async for value in watch:
            seen.append(value)

    task = asyncio.ensure_future(follow())
    while watch._waiting is None:
        await asyncio.sleep(0)
    watch.close()
    watch.close()
    await task
    assert seen == ["hello nobody"]
    with pytest.raises(graph.Misuse):
        _ = watch.latest


async def test_a_cancelled_wait_can_be_taken_up_again():
    of = graph.Graph()
    with of.watch(shop.greeting, "x") as watch:
        await anext(watch)
        task = await waiting(watch)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        named(of, "Ann")
        assert await anext(watch) == "hello Ann"


async def test_two_tasks_cannot_wait_for_one_watch():
    of = graph.Graph()
    with of.watch(shop.greeting, "x") as watch:
        await anext(watch)
        task = await waiting(watch)
        with pytest.raises(graph.Misuse):
            await anext(watch)
        task.cancel()


def test_ready_is_called_once_a_commit_when_all_is_evaluated():
    of = graph.Graph()
    seen = []
    other = of.watch(shop.greeting, "y")
    with of.watch(shop.greeting, "x", ready=lambda watch: seen.append((watch.latest, other.latest))):
        assert seen == []
        of.commit([graph.Set(shop.NAMES, "x", "Ann"), graph.Set(shop.NAMES, "y", "Bob")])
        assert seen == [("hello Ann", "hello Bob")]
        of.commit([graph.Set(shop.NAMES, "y", "Cid")])
        assert len(seen) == 1
    other.close()


def test_ready_may_close_and_watch():
    of = graph.Graph()
    opened = []

    def swap(watch: graph.Watch) -> None:
        watch.close()
        opened.append(of.watch(shop.greeting, "y"))

    of.watch(shop.greeting, "x", ready=swap)
    named(of, "Ann")
    named(of, "Bob")
    assert [watch.latest for watch in opened] == ["hello nobody"]
    engine_audit.audit(of)


def test_many_watches_of_one_answer_run_it_once():
    of = graph.Graph()
    watches = [of.watch(shop.greeting, "x") for _ in range(5_000)]
    named(of, "Ann")
    assert of.counters.run == 2
    assert {watch.latest for watch in watches} == {"hello Ann"}
    for watch in watches:
        watch.close()
    engine_audit.audit(of)


def test_what_nobody_watches_is_kept_up_to_the_stated_number():
    of = graph.Graph(cold=10)
    for number in range(100):
        of.ask(shop.greeting, f"k{number}")
        engine_audit.audit(of)
    assert of.memos == 10
    before = of.counters.run
    of.ask(shop.greeting, "k90")
    of.ask(shop.greeting, "new")
    of.ask(shop.greeting, "k90")
    assert of.counters.run == before + 1
    of.ask(shop.greeting, "k91")
    assert of.counters.run == before + 2


@pytest.mark.parametrize("alike", [True, False])
def test_cancelling_100_000_watches_returns_the_memory(alike):
    of = graph.Graph(cold=0)

    def cycle(count: int) -> None:
        watches = [of.watch(shop.greeting, "x" if alike else f"x{number}") for number in range(count)]
        for watch in watches:
            watch.close()

    cycle(100)
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cycle(100_000)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert of.memos == 0
    assert peak - before > 1_000_000, "the watches took no memory: nothing was measured"
    assert after - before < 50_000
    assert len(gc.get_objects()) - objects < 100
