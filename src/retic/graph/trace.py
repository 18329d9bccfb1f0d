"""What an answer read, as values: the tree behind `why`, and the flat set of rows at its leaves."""

import enum
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from retic.graph import node


class Kind(enum.StrEnum):
    """What was read: a row (or its absence), an index look-up, another answer."""

    TABLE = "table"
    INDEX = "index"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Read:
    """One read; `children` are what an answer read in turn, in that order, each once.

    An answer read from two places is one object in both: walk with a set of what was seen, for the number
    of paths can be far above the number of reads.
    """

    kind: Kind
    name: str
    key: Hashable
    children: tuple["Read", ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """A row of a table, present or absent."""

    table: str
    key: Hashable


def tree(root: node.Memo) -> Read:
    """The recorded reads of an answer, itself at the top."""
    built: dict[node.Node, Read] = {}
    for read in _children_first(root):
        if isinstance(read, node.Cell):
            built[read] = Read(Kind.TABLE, read.rows.table.name, read.key)
        elif isinstance(read, node.Bucket):
            built[read] = Read(Kind.INDEX, read.entries.index.name, read.value)
        else:
            children = tuple(built[child] for child in read.reads)
            built[read] = Read(Kind.QUERY, read.query.name, read.key, children)
    return built[root]


def inputs(root: node.Memo) -> frozenset[Input]:
    """The rows, present or absent, that an answer read itself or through others."""
    return frozenset(
        Input(read.rows.table.name, read.key) for read in _children_first(root) if isinstance(read, node.Cell)
    )


def _children_first(root: node.Memo) -> Iterable[node.Node]:
    """Every node read by the root, once, after all that it read; without recursion."""
    seen: set[node.Node] = set()
    stack: list[tuple[node.Node, bool]] = [(root, False)]
    while stack:
        read, done = stack.pop()
        if done:
            yield read
        elif read not in seen:
            seen.add(read)
            stack.append((read, True))
            if isinstance(read, node.Memo):
                stack += [(child, False) for child in read.reads]
