"""The three things that an answer can have read: a row, an index look-up, another answer.

Nodes know their readers and their own state; what follows from a change is `evaluate`'s, what is kept and
what is dropped is `memory`'s.
"""

import enum
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from retic.graph import declared

if TYPE_CHECKING:
    from retic.graph import inputs, watch


class State(enum.Enum):
    """How much a node's value can be trusted."""

    CLEAN = "the value holds"
    MAYBE = "something behind what was read has changed; what was read may have stayed equal"
    DIRTY = "something that was read has changed, or the body never ran"


CLEAN: Final = State.CLEAN
MAYBE: Final = State.MAYBE
DIRTY: Final = State.DIRTY


class Cell:
    """A row, or its absence, as read. Lives while it has readers."""

    __slots__ = ("key", "readers", "rows")
    state = CLEAN

    def __init__(self, rows: "inputs.Rows", key: Hashable) -> None:
        self.rows = rows
        self.key = key
        self.readers: dict[Memo, None] = {}

    def release(self) -> None:
        """Forget the cell when nobody reads it."""
        if not self.readers:
            remove(self.rows.cells, self.key)


class Bucket:
    """The keys that an index finds by one value. Lives while it has keys or readers."""

    __slots__ = ("entries", "frozen", "keys", "readers", "value")
    state = CLEAN

    def __init__(self, entries: "inputs.Entries", value: Hashable) -> None:
        self.entries = entries
        self.value = value
        self.keys: set[Any] = set()
        self.frozen: frozenset[Any] | None = frozenset()
        self.readers: dict[Memo, None] = {}

    def found(self) -> frozenset[Any]:
        """The keys, copied only when they changed since the last look."""
        if self.frozen is None:
            self.frozen = frozenset(self.keys)
        return self.frozen

    def release(self) -> None:
        """Forget the bucket when it is empty and nobody reads it."""
        if not self.readers and not self.keys:
            remove(self.entries.buckets, self.value)


class Memo:
    """An answer with what it read.

    `value` is the last good one (`MISSING` before the first) and stays while `error` is set; `version`
    counts the good values. `pins` is the number of watches plus that of pinned readers: a memo without
    pins is kept only as long as there is room.
    """

    __slots__ = (
        "error", "key", "pins", "query", "readers", "reads", "running", "state", "value", "version",
        "watches",
    )  # fmt: skip

    def __init__(self, query: declared.Query[Any, Any], key: Hashable) -> None:
        self.query = query
        self.key = key
        self.state = DIRTY
        self.running = False
        self.value: Any = MISSING
        self.error: Exception | None = None
        self.version = 0
        self.reads: tuple[Node, ...] = ()
        self.readers: dict[Memo, None] = {}
        self.watches: dict[watch.Watch[Any], None] | None = None
        self.pins = 0


Node = Cell | Bucket | Memo


class _Missing(enum.Enum):
    MISSING = "no value yet, or no row"


MISSING: Final = _Missing.MISSING


def remove(table: dict[Any, Any], key: Hashable) -> None:
    """Take a key out, if it is there; a dict left empty gives its memory back, which it would keep."""
    table.pop(key, None)
    if not table:
        table.clear()


def same(old: object, new: object) -> bool:
    """Whether a value is no event after another: equal and of one class, for True is not 1."""
    return old is new or (type(old) is type(new) and bool(old == new))
