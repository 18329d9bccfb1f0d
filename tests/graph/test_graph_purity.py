"""What cannot be a query, and what is found to be none by evaluating it again."""

import functools

import engine_shop as shop
import pytest

from retic import graph
from retic.testing import purity

STATE = {"x": 1}
SEEN: list[object] = []
WRITTEN = 0
LISTS = graph.table("lists", str, list)


@graph.query
def reads_a_global(db: graph.Db, key: str) -> int:
    return STATE[key]


@graph.query
def over_it(db: graph.Db, key: str) -> int:
    return db.ask(reads_a_global, key) * 0


@graph.query
def counts_itself(db: graph.Db, key: str) -> int:
    SEEN.append(key)
    return len(SEEN)


@graph.query
def changes_its_input(db: graph.Db, key: str) -> int:
    row = db.get(LISTS, key)
    assert row is not None
    row.append(1)
    return len(row)


@graph.query
def reads_more_the_second_time(db: graph.Db, key: str) -> int:
    if SEEN:
        db.get(shop.NAMES, key)
    SEEN.append(key)
    return 0


@graph.query
def raises_by_a_global(db: graph.Db, key: str) -> int:
    raise ValueError(STATE[key])


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setitem(STATE, "x", 1)
    SEEN.clear()


def test_pure_queries_pass():
    of = graph.Graph()
    of.commit([graph.Set(shop.PODS, "a", shop.Pod("n1", True))])
    purity.check_pure(of, shop.summary, "n1")
    purity.check_pure(of, shop.must_be_ready, "nobody")


@pytest.mark.parametrize("query", [reads_a_global, over_it, raises_by_a_global])
def test_an_unrecorded_read_is_caught_and_named(query):
    of = graph.Graph()
    with of.watch(query, "x"):
        purity.check_pure(of, query, "x")
        STATE["x"] = 2
        with pytest.raises(purity.Impure, match=r"(reads|raises_by)_a_global\("):
            purity.check_pure(of, query, "x")


@pytest.mark.parametrize("query", [counts_itself, changes_its_input, reads_more_the_second_time])
def test_what_differs_each_time_is_caught(query):
    of = graph.Graph()
    of.commit([graph.Set(LISTS, "x", [])])
    with pytest.raises(purity.Impure, match=query.name):
        purity.check_pure(of, query, "x")


def closure():
    hidden = 1

    def inner(db: graph.Db, key: str) -> int:
        return hidden

    return inner


async def coroutine(db: graph.Db, key: str) -> int:
    return 1


def generator(db: graph.Db, key: str):
    yield 1


def default(db: graph.Db, key: str, more: tuple[int, ...] = ()) -> int:
    return 1


def three(db: graph.Db, key: str, more: int) -> int:
    return 1


def writes(db: graph.Db, key: str) -> int:
    global WRITTEN  # noqa: PLW0603
    WRITTEN = 1
    return 1


class Holder:
    def method(self, key: str) -> int:
        return 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (closure(), "top of a module"),
        (lambda db, key: 1, "top of a module"),
        (Holder.method, "top of a module"),
        (Holder().method, "plain function"),
        (functools.partial(three, more=1), "plain function"),
        (coroutine, "coroutine"),
        (generator, "generator"),
        (default, "default"),
        (three, "parameters"),
        (writes, "global WRITTEN"),
    ],
)
def test_what_cannot_be_a_query_is_refused_when_declared(function, reason):
    with pytest.raises(graph.Misuse, match=reason):
        graph.query(function)


def test_a_query_is_not_called_but_asked():
    assert not callable(shop.ready)


def test_an_index_has_no_closure_and_gives_no_string():
    hidden = 1
    table = graph.table("strings", str, str)
    with pytest.raises(graph.Misuse, match="closure"):
        graph.index(table, lambda key, value: [hidden])
    graph.index(table, lambda key, value: value)
    with pytest.raises(TypeError, match="iterable of values"):
        graph.Graph().commit([graph.Set(table, "a", "value")])


@graph.query
def commits(db: graph.Db, key: str) -> int:
    assert isinstance(db, graph.Graph)
    return db.commit([])


@graph.query
def watches(db: graph.Db, key: str) -> object:
    assert isinstance(db, graph.Graph)
    return db.watch(shop.ready, key)


@graph.query
def traces(db: graph.Db, key: str) -> object:
    assert isinstance(db, graph.Graph)
    return db.reads(shop.ready, key)


@pytest.mark.parametrize("query", [commits, watches, traces])
def test_a_body_can_only_read(query):
    with pytest.raises(graph.Misuse, match=query.name):
        graph.Graph().ask(query, "x")
