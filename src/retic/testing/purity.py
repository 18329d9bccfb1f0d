"""Purity of queries: does an answer follow from the recorded reads, and from nothing else?

`FromNothing` answers queries over plain rows, without the engine: no memo outlives it, indexes are walks
over whole tables. `check_pure` compares what a graph holds with that, twice, for an answer and for all that
it was made from. A query that reads a changed global, a clock or chance, or that changes what it was given,
differs; one that reads a global which no one changed between cannot be told from a constant.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from retic import graph

K = TypeVar("K")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741

_Question = tuple[graph.Query[Any, Any], Any]


class Impure(AssertionError):  # noqa: N818
    """A query gave another answer, or read something else, when evaluated again over the same rows."""


@dataclass(frozen=True)
class Outcome:
    """What a query came to: a value or an exception, and its own reads in order."""

    value: object
    error: Exception | None
    reads: tuple[tuple[graph.Kind, str, Hashable], ...]

    def difference(self, other: "Outcome") -> str | None:
        """What tells this from another outcome, in words; None when nothing does."""
        if type(self.error) is not type(other.error) or str(self.error) != str(other.error):
            return f"raised {self.error!r}, then {other.error!r}"
        if type(self.value) is not type(other.value) or self.value != other.value:
            return f"answered {self.value!r}, then {other.value!r}"
        if self.reads != other.reads:
            return f"read {self.reads!r}, then {other.reads!r}"
        return None


class FromNothing(graph.Db):
    """Answers over rows, made from nothing. `outcomes` are in the order of completion."""

    def __init__(self, rows: Iterable[graph.Set[Any, Any]]) -> None:
        self.outcomes: dict[_Question, Outcome] = {}
        self._rows: dict[graph.Table[Any, Any], dict[Any, Any]] = {}
        for row in rows:
            self._rows.setdefault(row.table, {})[row.key] = row.value
        self._asked: list[_Question] = []
        self._reads: list[dict[tuple[graph.Kind, str, Hashable], None]] = [{}]

    def get(self, table: graph.Table[K, V], key: K) -> V | None:
        self._reads[-1][graph.Kind.TABLE, table.name, key] = None
        return self._rows.get(table, {}).get(key)

    def find(self, index: graph.Index[I, K], value: I) -> frozenset[K]:
        self._reads[-1][graph.Kind.INDEX, index.name, value] = None
        rows = self._rows.get(index.table, {})
        return frozenset(key for key, row in rows.items() if value in index.values(key, row))

    def ask(self, query: graph.Query[K, V], key: K) -> V:
        question = (query, key)
        if question in self._asked:
            path = [*self._asked[self._asked.index(question) :], question]
            raise graph.Cycle(tuple(graph.Call(asked.name, of) for asked, of in path))
        outcome = self.outcomes.get(question)
        if outcome is None:
            outcome = self.outcomes[question] = self._evaluate(query, key)
        self._reads[-1][graph.Kind.QUERY, query.name, key] = None
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[return-value]

    def _evaluate(self, query: graph.Query[K, V], key: K) -> Outcome:
        self._asked.append((query, key))
        self._reads.append({})
        value: V | None = None
        error: Exception | None = None
        try:
            value = query.function(self, key)
        except Exception as raised:
            error = raised
        self._asked.pop()
        return Outcome(value, error, tuple(self._reads.pop()))


def check_pure(of: graph.Graph, query: graph.Query[K, Any], key: K) -> None:
    """Raise `Impure`, naming the innermost query at fault, unless the graph's answer follows from its rows.

    For acyclic questions: a cycle has another path for each member that it is entered by.
    """
    first = _outcomes(of, query, key)
    for question, outcome in first.items():
        _compare(question, _held(of, *question), outcome)
    second = _outcomes(of, query, key)
    for question, outcome in first.items():
        if question in second:
            _compare(question, outcome, second[question])


def _outcomes(of: graph.Graph, query: graph.Query[K, Any], key: K) -> dict[_Question, Outcome]:
    db = FromNothing(of.rows())
    try:
        db.ask(query, key)
    except Exception as error:
        outcome = db.outcomes.get((query, key))
        if outcome is None or outcome.error is not error:
            raise
    return db.outcomes


def _held(of: graph.Graph, query: graph.Query[Any, Any], key: Hashable) -> Outcome:
    value: object = None
    error: Exception | None = None
    try:
        value = of.ask(query, key)
    except Exception as raised:
        error = raised
    reads = tuple((read.kind, read.name, read.key) for read in of.reads(query, key).children)
    return Outcome(value, error, reads)


def _compare(question: _Question, before: Outcome, after: Outcome) -> None:
    difference = before.difference(after)
    if difference:
        query, key = question
        raise Impure(f"{query.name}({key!r}) {difference}")
