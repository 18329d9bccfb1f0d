"""What a program declares: tables, indexes and queries, and what a query may do with them.

Declarations are made once, at import, and shared by every graph; they hold no data. What is refused here,
at import, is a query that could read something unrecorded: a method, a closure, a coroutine, a generator,
a default argument, an assignment to a global. What no look at the function shows, `retic.testing.purity`
finds by evaluating twice.
"""

import abc
import dis
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from retic.graph import errors

K = TypeVar("K")
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)

Classes = type | tuple[type, ...]


class Table(Generic[K, V]):
    """A named input: rows by key. A row is never None, for None says that there is no row."""

    __slots__ = ("indexes", "key_classes", "name", "value_classes")

    def __init__(self, name: str, key_classes: Classes, value_classes: Classes) -> None:
        self.name = name
        self.key_classes = key_classes
        self.value_classes = value_classes
        self.indexes: list[Index[Any, K]] = []

    def __repr__(self) -> str:
        return f"table {self.name}"


class Index(Generic[I, K]):
    """The keys of a table by a value derived from each row."""

    __slots__ = ("by", "name", "table")

    def __init__(self, name: str, table: Table[K, Any], by: Callable[[K, Any], Iterable[I]]) -> None:
        self.name = name
        self.table = table
        self.by = by

    def __repr__(self) -> str:
        return f"index {self.name}"

    def values(self, key: K, row: Any) -> tuple[I, ...]:
        """The values by which a row is found, each once. TypeError when the function gives a string."""
        found = self.by(key, row)
        if isinstance(found, str | bytes):
            raise TypeError(f"{self!r} must return an iterable of values, not {found!r}")
        return tuple(dict.fromkeys(found))


class Db(abc.ABC):
    """What a query may do; each call is recorded as a read of the query that makes it."""

    __slots__ = ()

    @abc.abstractmethod
    def get(self, table: Table[K, V], key: K) -> V | None:
        """The row, or None when there is none: the absence is a read too."""

    @abc.abstractmethod
    def find(self, index: Index[I, K], value: I) -> frozenset[K]:
        """The keys of the rows that the index finds by this value; an empty answer is a read too."""

    @abc.abstractmethod
    def ask(self, query: "Query[K, V]", key: K) -> V:
        """The query's answer. Raises what the query raised, or `errors.Cycle`."""


class Query(Generic[K_contra, V_co]):
    """A pure function of (db, key), answered through a db only."""

    __slots__ = ("function", "name")

    def __init__(self, function: Callable[[Db, K_contra], V_co]) -> None:
        self.function = function
        self.name = f"{function.__module__}.{function.__qualname__}"

    def __repr__(self) -> str:
        return f"query {self.name}"


@dataclass(frozen=True, slots=True)
class Set(Generic[K, V]):
    """A change: the row becomes `value`. Setting an equal value is no change."""

    table: Table[K, V]
    key: K
    value: V


@dataclass(frozen=True, slots=True)
class Delete(Generic[K]):
    """A change: there is no row any more. Deleting what is not there is no change."""

    table: Table[K, Any]
    key: K


Change = Set[Any, Any] | Delete[Any]


def table(name: str, key: type[K], value: type[V] | tuple[type[V], ...]) -> Table[K, V]:
    """Declare an input. `key` and `value` are what `commit` checks rows by: classes, generic aliases
    (checked by their class only), NewTypes; for `value` also a tuple of alternatives."""
    return Table(name, _classes(key), _classes(value))


def index(
    table: Table[K, V], by: Callable[[K, V], Iterable[I]], *, name: str | None = None
) -> Index[I, K]:
    """Declare an index. `by` gives the hashable values by which a row is found: pure, without closure."""
    if getattr(by, "__closure__", None):
        raise errors.Misuse(f"the function of an index of {table!r} has a closure")
    declared: Index[I, K] = Index(name or f"{table.name}.{getattr(by, '__name__', 'by')}", table, by)
    table.indexes.append(declared)
    return declared


def query(function: Callable[[Db, K], V]) -> Query[K, V]:
    """Declare a query: a decorator for pure, synchronous module-level functions of (db, key).

    Raises `errors.Misuse` for a function that shows on sight that it is none.
    """
    fault = _fault(function)
    if fault:
        raise errors.Misuse(f"{getattr(function, '__qualname__', function)} cannot be a query: {fault}")
    return Query(function)


def _fault(function: object) -> str | None:
    if not isinstance(function, types.FunctionType):
        return "not a plain function"
    if function.__closure__ or function.__qualname__ != function.__name__ or function.__name__ == "<lambda>":
        return "not defined at the top of a module"
    code = function.__code__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return "a generator or coroutine"
    if function.__defaults__ or function.__kwdefaults__:
        return "it has default arguments"
    if code.co_argcount != 2 or code.co_kwonlyargcount or code.co_flags & _OPEN:
        return "its parameters are not (db, key)"
    written = next(_globals_written(code), None)
    return f"it assigns the global {written}" if written else None


_OPEN = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def _globals_written(code: types.CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            yield str(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _globals_written(inner)


def _classes(hint: object) -> Classes:
    """What `isinstance` can check of a type hint."""
    if isinstance(hint, tuple):
        return tuple(one for part in hint for one in _flat(_classes(part)))
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        return _classes(typing.get_args(hint))
    checked = origin or hint
    return checked if isinstance(checked, type) else object


def _flat(classes: Classes) -> tuple[type, ...]:
    return classes if isinstance(classes, tuple) else (classes,)

