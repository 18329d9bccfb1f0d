"""The rows of a graph's tables and the indexes over them; a commit is staged whole before it is applied.

Cost of a changed row: its index functions, and the values by which it was and is found; never the table's
size. Only an index declared after rows were committed is built by one walk over its table.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from retic.graph import declared, errors, node

Table = declared.Table[Any, Any]
Index = declared.Index[Any, Any]


class Entries:
    """One index's content: by which values each key is found, and the keys by value."""

    __slots__ = ("buckets", "found_by", "index")

    def __init__(self, index: Index, rows: dict[Any, Any]) -> None:
        self.index = index
        self.found_by: dict[Any, tuple[Any, ...]] = {}
        self.buckets: dict[Any, node.Bucket] = {}
        for key, row in rows.items():
            self.move(key, index.values(key, row))

    def bucket(self, value: Hashable) -> node.Bucket:
        """The bucket of a value, made when there is none."""
        bucket = self.buckets.get(value)
        if bucket is None:
            bucket = self.buckets[value] = node.Bucket(self, value)
        return bucket

    def move(self, key: Hashable, values: tuple[Any, ...]) -> list[node.Bucket]:
        """Find the key by these values and no others; the buckets that changed."""
        before = self.found_by.get(key, ())
        if before == values:
            return []
        touched = []
        for value in before:
            if value not in values:
                bucket = self.buckets[value]
                bucket.keys.discard(key)
                touched.append(bucket)
        for value in values:
            if value not in before:
                bucket = self.bucket(value)
                bucket.keys.add(key)
                touched.append(bucket)
        if values:
            self.found_by[key] = values
        else:
            node.remove(self.found_by, key)
        for bucket in touched:
            bucket.frozen = None
            bucket.release()
        return touched


class Rows:
    """One table's content: its rows, the cells that were read, its indexes."""

    __slots__ = ("cells", "indexes", "rows", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: dict[Any, Any] = {}
        self.cells: dict[Any, node.Cell] = {}
        self.indexes: dict[Index, Entries] = {}

    def cell(self, key: Hashable) -> node.Cell:
        """The cell of a key, made when there is none."""
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = node.Cell(self, key)
        return cell

    def complete(self) -> None:
        """Build the indexes declared since the last look."""
        if len(self.indexes) != len(self.table.indexes):
            for index in self.table.indexes:
                if index not in self.indexes:
                    self.indexes[index] = Entries(index, self.rows)


@dataclass(slots=True)
class Move:
    """A staged change of one row: `value` is `MISSING` when it goes."""

    rows: Rows
    key: Any
    value: Any
    found_by: list[tuple[Entries, tuple[Any, ...]]]


class Inputs:
    """All rows of a graph."""

    __slots__ = ("_names", "_tables")

    def __init__(self) -> None:
        self._tables: dict[Table, Rows] = {}
        self._names: dict[str, Table] = {}

    def rows(self, table: Table) -> Rows:
        """The table's content. `errors.Misuse` when another table of the graph has its name."""
        rows = self._tables.get(table)
        if rows is None:
            if self._names.setdefault(table.name, table) is not table:
                raise errors.Misuse(f"two tables of one graph are named {table.name}")
            rows = self._tables[table] = Rows(table)
        return rows

    def entries(self, index: Index) -> Entries:
        """The index's content."""
        rows = self.rows(index.table)
        entries = rows.indexes.get(index)
        if entries is None:
            rows.complete()
            entries = rows.indexes[index]
        return entries

    def everything(self) -> Iterator[declared.Set[Any, Any]]:
        """Every row, as the changes that make it."""
        for table, content in self._tables.items():
            for key, row in content.rows.items():
                yield declared.Set(table, key, row)

    def stage(self, changes: Iterable[declared.Change]) -> list[Move]:
        """What the changes come to, the last one of a row counting. Applies nothing.

        TypeError for a key or row of the wrong class; what an index function or an `==` raises.
        """
        wanted: dict[Rows, dict[Any, Any]] = {}
        for change in changes:
            row = _checked(change)
            wanted.setdefault(self.rows(change.table), {})[change.key] = row
        moves = []
        for rows, by_key in wanted.items():
            rows.complete()
            for key, value in by_key.items():
                if not node.same(rows.rows.get(key, node.MISSING), value):
                    moves.append(Move(rows, key, value, _found_by(rows, key, value)))
        return moves

    def apply(self, moves: Iterable[Move]) -> list[node.Cell | node.Bucket]:
        """Carry out what was staged; the cells and buckets that changed and have readers, each once."""
        touched: dict[node.Cell | node.Bucket, None] = {}
        for move in moves:
            if move.value is node.MISSING:
                node.remove(move.rows.rows, move.key)
            else:
                move.rows.rows[move.key] = move.value
            cell = move.rows.cells.get(move.key)
            if cell is not None:
                touched[cell] = None
            for entries, values in move.found_by:
                touched.update((bucket, None) for bucket in entries.move(move.key, values) if bucket.readers)
        return list(touched)


def _checked(change: declared.Change) -> Any:
    """The row that a change asks for, `MISSING` when none."""
    if not isinstance(change, declared.Set | declared.Delete):
        raise TypeError(f"not a change: {change!r}")
    table = change.table
    if not isinstance(change.key, table.key_classes):
        raise TypeError(f"a key of {table!r} cannot be {type(change.key).__name__} {change.key!r}")
    if isinstance(change, declared.Delete):
        return node.MISSING
    if change.value is None or not isinstance(change.value, table.value_classes):
        raise TypeError(f"a row of {table!r} cannot be {type(change.value).__name__} (key {change.key!r})")
    return change.value


def _found_by(rows: Rows, key: Any, value: Any) -> list[tuple[Entries, tuple[Any, ...]]]:
    if value is node.MISSING:
        return [(entries, ()) for entries in rows.indexes.values()]
    return [(entries, index.values(key, value)) for index, entries in rows.indexes.items()]
