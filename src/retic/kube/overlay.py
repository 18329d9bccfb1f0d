"""The mesh as it would be with one more object: questions asked of it, nothing changed and nothing kept. Pure.

Answers of the graph are not used, since any of them could depend on the object; each is made anew, once.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from retic import graph
from retic.graph import declared

K = TypeVar("K")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741

MOST = 50_000
"""Answers that one question may need, before it is given up."""


class TooMuchError(Exception):
    """The question needs more answers than it may have."""


class Overlay(declared.Db):
    """Rows of `below`, those of `changes` in their place."""

    def __init__(self, below: graph.Graph, changes: Iterable[graph.Change]) -> None:
        self._below = below
        self._rows: dict[tuple[Any, Any], Any] = {
            (one.table, one.key): one.value if isinstance(one, graph.Set) else None for one in changes
        }
        self._answers: dict[tuple[Any, Any], Any] = {}

    def get(self, table: declared.Table[K, V], key: K) -> V | None:
        """As the graph's."""
        if (table, key) in self._rows:
            found: V | None = self._rows[table, key]
            return found
        return self._below.get(table, key)

    def find(self, index: declared.Index[I, K], value: I) -> frozenset[K]:
        """As the graph's."""
        found = set(self._below.find(index, value))
        for (table, key), row in self._rows.items():
            if table is index.table:
                found.discard(key)
                if row is not None and value in index.values(key, row):
                    found.add(key)
        return frozenset(found)

    def ask(self, query: declared.Query[K, V], key: K) -> V:
        """As the graph's. TooMuchError after `MOST` answers; RecursionError for a cycle."""
        if (query, key) not in self._answers:
            if len(self._answers) >= MOST:
                raise TooMuchError(f"more than {MOST} answers are needed")
            self._answers[query, key] = query.function(self, key)
        made: V = self._answers[query, key]
        return made
