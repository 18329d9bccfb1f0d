"""The graph: inputs, the answers over them, and who watches which.

One thread, no locks. Refused inside a query's body: committing, watching, tracing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from retic.graph import declared, errors, evaluate, node, trace
from retic.graph import watch as watching

K = TypeVar("K")
V = TypeVar("V")

COLD = 4_096
"""How many answers are kept that nobody watches, unless the graph is told otherwise."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a graph has done since it was made. `run` is the sum of the other three."""

    run: int
    """Query bodies run."""
    cut_off: int
    """Runs with an answer equal to the one before: nothing behind it moved."""
    changed: int
    """Runs with a first or a different answer."""
    failed: int
    """Runs that raised, whether or not they raised the same before."""

    def __sub__(self, earlier: "Counters") -> "Counters":
        return Counters(
            run=self.run - earlier.run,
            cut_off=self.cut_off - earlier.cut_off,
            changed=self.changed - earlier.changed,
            failed=self.failed - earlier.failed,
        )


class Graph(evaluate.Evaluator):
    """Tables, their rows, and memoised answers over them.

    `cold` is the number of unwatched answers kept (those that a watched answer reads do not count).
    `on_error` is called with query, key and exception for each run that raised an exception of its own,
    not one passed on from an answer it asked for, after everything has been evaluated; it may ask and
    trace. Exceptions of `on_error` and of the `ready` of watches come out of the call that caused them, as
    an ExceptionGroup, after all others have been told.
    """

    __slots__ = ("_due", "_revision")

    def __init__(self, *, cold: int = COLD, on_error: evaluate.OnError | None = None) -> None:
        super().__init__(cold=cold, on_error=on_error)
        self._due: dict[node.Memo, None] = {}
        self._revision = 0

    @property
    def revision(self) -> int:
        """How many commits have changed something."""
        return self._revision

    @property
    def counters(self) -> Counters:
        """The counts so far, as a value; two of them can be subtracted."""
        return Counters(self._run_count, self._cut_off, self._changed, self._failed)

    @property
    def memos(self) -> int:
        """How many answers are kept."""
        return len(self._memory)

    def commit(self, changes: Iterable[declared.Change]) -> int:
        """Carry out all changes or none, then evaluate what is watched; the revision.

        Of several changes of one row the last counts. A change to an equal row is none, and a commit of
        such changes only is no revision. Raises, with nothing applied: TypeError for a key or row of the
        wrong class, and what an index function raises. What queries raise goes to their watches.
        """
        self._outside("commit")
        moves = self._inputs.stage(changes)
        if moves:
            self._revision += 1
            self._spread(self._inputs.apply(moves), self._due)
        self._bring_up(self._watched_due())
        self._conclude()
        return self._revision

    def watch(
        self,
        query: declared.Query[K, V],
        key: K,
        *,
        ready: Callable[[watching.Watch[V]], None] | None = None,
    ) -> watching.Watch[V]:
        """Evaluate the answer now and at each commit that concerns it, until the watch is closed.

        What the query raises goes to the watch's `error`. Needs no running event loop.
        """
        self._outside("watch")
        memo = self._up_to_date(query, key)
        watch: watching.Watch[V] = watching.Watch(memo, self._memory, ready)
        self._conclude()
        return watch

    def reads(self, query: declared.Query[K, Any], key: K) -> trace.Read:
        """What the answer has read, as a tree with the answer itself at the top; asks for it first.

        An answer that is an exception has reads like any other.
        """
        self._outside("reads")
        memo = self._up_to_date(query, key)
        tree = trace.tree(memo)
        self._conclude()
        return tree

    def inputs(self, query: declared.Query[K, Any], key: K) -> frozenset[trace.Input]:
        """The rows, present or absent, that the answer depends on; asks for it first."""
        self._outside("inputs")
        memo = self._up_to_date(query, key)
        rows = trace.inputs(memo)
        self._conclude()
        return rows

    def rows(self) -> Iterator[declared.Set[Any, Any]]:
        """Every row of every table, as the change that makes it: for copies and checks, not for queries."""
        self._outside("rows")
        return self._inputs.everything()

    def _up_to_date(self, query: declared.Query[K, Any], key: K) -> node.Memo:
        memo = self._memory.memo(query, key)
        if memo.state is not node.CLEAN:
            self._bring_up([memo])
        self._memory.used(memo)
        return memo

    def _watched_due(self) -> Iterable[node.Memo]:
        """The watched answers that a change may concern; those not reached stay for the next commit."""
        while self._due:
            memo = next(iter(self._due))
            if memo.watches:
                yield memo
            del self._due[memo]

    def _outside(self, what: str) -> None:
        if self._frame is not None:
            raise errors.Misuse(f"{what} inside {evaluate.call(self._frame.memo)}")
