"""Whatever happened, the incremental answer is the one made from nothing."""

from typing import Any

import engine_audit as audit
import engine_language as language
from hypothesis import given, settings
from hypothesis import strategies as st

from retic import graph
from retic.testing import purity

CALLS = 4
EVENTS = st.one_of(
    st.tuples(st.just("commit"), st.lists(language.changes(CALLS), max_size=5)),
    st.tuples(st.just("watch"), language.expressions(CALLS)),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(st.just("ask"), language.expressions(CALLS)),
)


def outcome(db: graph.Db, expression: tuple[Any, ...]) -> tuple[int | None, str]:
    try:
        return db.ask(language.run, expression), ""
    except (language.Wrong, LookupError, graph.Cycle) as error:
        return None, repr(error) if not isinstance(error, graph.Cycle) else "Cycle"


class Model:
    """What a graph should be: plain rows, and the last good value of each watch."""

    def __init__(self, cold: int) -> None:
        self.graph = graph.Graph(cold=cold)
        self.rows: dict[Any, graph.Set[Any, Any]] = {}
        self.watches: list[tuple[tuple[Any, ...], graph.Watch[int]]] = []
        self.good: dict[graph.Watch[int], int] = {}

    def expected(self, expression: tuple[Any, ...]) -> tuple[int | None, str]:
        return outcome(purity.FromNothing(self.rows.values()), expression)

    def commit(self, changes: list[Any]) -> None:
        before = dict(self.rows)
        for change in changes:
            self.rows.pop((change.table, change.key), None)
            if isinstance(change, graph.Set):
                self.rows[change.table, change.key] = change
        revision = self.graph.revision
        assert self.graph.commit(changes) == revision + (before != self.rows)

    def watch(self, expression: tuple[Any, ...]) -> None:
        self.watches.append((expression, self.graph.watch(language.run, expression)))

    def close(self, number: int) -> None:
        if self.watches:
            _, watch = self.watches.pop(number % len(self.watches))
            watch.close()
            self.good.pop(watch, None)

    def ask(self, expression: tuple[Any, ...]) -> None:
        assert outcome(self.graph, expression) == self.expected(expression)

    def check(self) -> None:
        for expression, watch in self.watches:
            value, error = self.expected(expression)
            shown = "" if watch.error is None else repr(watch.error)
            assert ("Cycle" if isinstance(watch.error, graph.Cycle) else shown) == error
            if value is not None:
                self.good[watch] = value
            if watch in self.good:
                assert watch.latest == self.good[watch]
        counters = self.graph.counters
        assert counters.run == counters.cut_off + counters.changed + counters.failed
        audit.audit(self.graph)


@settings(max_examples=250, deadline=None)
@given(cold=st.sampled_from([0, 1, 3, 50]), events=st.lists(EVENTS, max_size=25))
def test_incremental_equals_from_nothing(cold: int, events: list[tuple[str, Any]]) -> None:
    model = Model(cold)
    for name, argument in events:
        getattr(model, name)(argument)
        model.check()
    for expression, _ in model.watches:
        purity.check_pure(model.graph, language.run, expression)
    for _ in list(model.watches):
        model.close(0)
    assert model.graph.memos <= cold


CYCLIC_EVENTS = st.one_of(
    st.tuples(st.just("commit"), st.lists(language.changes(CALLS, cycles=True), min_size=1, max_size=5)),
    st.tuples(st.just("watch"), st.tuples(st.just("call"), st.integers(0, CALLS - 1))),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(st.just("ask"), language.expressions(CALLS)),
)


@settings(max_examples=250, deadline=None)
@given(cold=st.sampled_from([0, 3, 50]), events=st.lists(CYCLIC_EVENTS, max_size=20))
def test_cycles_come_and_go(cold: int, events: list[tuple[str, Any]]) -> None:
    model = Model(cold)
    for name, argument in events:
        getattr(model, name)(argument)
        model.check()


@settings(max_examples=100, deadline=None)
@given(
    commits=st.lists(st.lists(language.changes(CALLS), max_size=4), max_size=8),
    asked=st.lists(language.expressions(CALLS), min_size=1, max_size=4),
)
def test_a_watched_body_runs_at_most_once_a_commit(commits: list[Any], asked: list[Any]) -> None:
    of = graph.Graph(cold=0)
    watches = [of.watch(language.run, expression) for expression in asked]
    for changes in commits:
        language.RAN.clear()
        before = of.counters
        of.commit(changes)
        assert len(language.RAN) == len(set(language.RAN)) == (of.counters - before).run
    assert all(not watch.closed for watch in watches)
