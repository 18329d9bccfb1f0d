"""A small language whose expressions are query keys: random programs for the engine, as data.

Rows of NUMBERS are integers, rows of PROGRAMS are expressions, so that a commit can change what depends on
what. An expression is a tuple, its first item the operator.
"""

from typing import Any

from hypothesis import strategies as st

from retic import graph

NUMBERS = graph.table("numbers", str, int)
PROGRAMS = graph.table("programs", int, tuple)


def by_remainder(key: str, number: int) -> list[int]:
    return [number % 3] if number != 7 else []


def by_letter(key: str, number: int) -> list[str]:
    return [key, "even" if number % 2 == 0 else "odd"]


BY_REMAINDER = graph.index(NUMBERS, by_remainder)
BY_LETTER = graph.index(NUMBERS, by_letter)


RAN: list[object] = []
"""Every body run, by expression; written by the query, which is harmless for it is never read by one."""


class Wrong(Exception):  # noqa: N818
    """What a program raises."""


@graph.query
def run(db: graph.Db, expression: tuple[Any, ...]) -> int:
    RAN.append(expression)
    operator, *parts = expression
    return OPERATORS[operator](db, *parts)


def _each(db: graph.Db, remainder: int) -> int:
    return sum(db.ask(run, ("row", key)) for key in sorted(db.find(BY_REMAINDER, remainder)))


def _row(db: graph.Db, key: str) -> int:
    found = db.get(NUMBERS, key)
    return -1 if found is None else found


def _choose(db: graph.Db, test: Any, yes: Any, no: Any) -> int:
    return db.ask(run, yes if db.ask(run, test) % 2 else no)


def _check(db: graph.Db, inner: Any) -> int:
    value = db.ask(run, inner)
    if value % 4 == 1:
        raise Wrong(value)
    return value


def _attempt(db: graph.Db, inner: Any, instead: Any) -> int:
    try:
        return db.ask(run, inner)
    except (Wrong, LookupError):
        return db.ask(run, instead)


def _call(db: graph.Db, number: int) -> int:
    program = db.get(PROGRAMS, number)
    if program is None:
        raise LookupError(number)
    return db.ask(run, program)


OPERATORS = {
    "row": _row,
    "count": lambda db, letter: len(db.find(BY_LETTER, letter)),
    "each": _each,
    "half": lambda db, inner: db.ask(run, inner) // 2,
    "add": lambda db, left, right: db.ask(run, left) + db.ask(run, right),
    "choose": _choose,
    "check": _check,
    "attempt": _attempt,
    "call": _call,
}

KEYS = st.sampled_from(["a", "b", "c", "d"])


def expressions(calls: int) -> st.SearchStrategy[tuple[Any, ...]]:
    """Expressions that call programs below `calls` only."""
    leaves = [
        st.tuples(st.just("row"), KEYS),
        st.tuples(st.just("each"), st.integers(0, 2)),
        st.tuples(st.just("count"), st.sampled_from(["a", "b", "even", "odd"])),
    ]
    if calls:
        leaves.append(st.tuples(st.just("call"), st.integers(0, calls - 1)))
    return st.recursive(
        st.one_of(leaves),
        lambda inner: st.one_of(
            st.tuples(st.just("half"), inner),
            st.tuples(st.just("check"), inner),
            st.tuples(st.just("add"), inner, inner),
            st.tuples(st.just("attempt"), inner, inner),
            st.tuples(st.just("choose"), inner, inner, inner),
        ),
        max_leaves=5,
    )


def changes(calls: int, *, cycles: bool = False) -> st.SearchStrategy[Any]:
    """A change; unless `cycles`, program n calls programs below n only."""

    def program(number: int) -> st.SearchStrategy[Any]:
        inner = expressions(calls if cycles else number)
        return inner.map(lambda body: graph.Set(PROGRAMS, number, body))

    return st.one_of(
        st.builds(lambda key, value: graph.Set(NUMBERS, key, value), KEYS, st.integers(0, 9)),
        st.builds(lambda key: graph.Delete(NUMBERS, key), KEYS),
        st.integers(0, calls - 1).flatmap(program),
        st.builds(lambda number: graph.Delete(PROGRAMS, number), st.integers(0, calls - 1)),
    )
