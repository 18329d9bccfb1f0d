"""What can go wrong between a program and the engine; errors in users' data never appear here."""

from collections.abc import Hashable
from dataclasses import dataclass


class Misuse(RuntimeError):  # noqa: N818
    """The engine was used in a way that it does not allow: a programming fault, found at the call."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question: a query by name, and its key."""

    query: str
    key: Hashable

    def __str__(self) -> str:
        return f"{self.query}({self.key!r})"


class Cycle(Exception):  # noqa: N818
    """A question that needs its own answer. `path` begins and ends with the same call.

    Every member of the cycle has this for its answer, even where its body catches the exception, so that
    answers do not depend on which member was asked first. Memoised like any exception: when one of the
    inputs behind the cycle changes, its members are evaluated again.
    """

    def __init__(self, path: tuple[Call, ...]) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return " -> ".join(map(str, self.path))


class TooDeep(RecursionError):  # noqa: N818
    """More query bodies would be running inside each other than `evaluate.DEPTH`.

    Memoised by the bodies that it passes through, like any exception, until an input of theirs changes.
    """
