"""From an xDS resource back to what it was made from: objects, files, lines, and the questions between.

What was read is what the engine recorded while the answer was made; nothing is guessed from names.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import msgspec

from retic import findings, graph
from retic.explain import places

K = TypeVar("K")


class Unknown(Exception):  # noqa: N818
    """The name is no resource's; the text says what names look like."""


class Source(msgspec.Struct, frozen=True):
    """An object behind a resource. `present` is False when its absence was what counted.

    Of an object that was made by controllers, `file` and `line` are those of the object that it was made of,
    which is `made_of`: a Pod's Deployment, an EndpointSlice's Service. "" and 0 when there is none.
    On a cluster, where no object is of a file, `made_of` is its owner, and `manager` who last set a field of it (by
    metadata.managedFields, such as kubectl-client-side-apply) at `time` (RFC 3339).
    """

    object: str
    file: str
    line: int
    present: bool
    made_of: str = ""
    manager: str = ""
    time: str = ""


class Step(msgspec.Struct, frozen=True):
    """One recorded read: a table's row, an index look-up, or a query with what it read in turn.

    A query that stands in the tree a second time has `repeated` set and no children there.
    """

    kind: str
    name: str
    key: str
    repeated: bool = False
    children: tuple["Step", ...] = ()


class Why(msgspec.Struct, frozen=True):
    """The answer: `exists` tells whether the resource is there at all; sources in the order of the files."""

    resource: str
    exists: bool
    sources: tuple[Source, ...]
    reads: Step


class Book(msgspec.Struct, frozen=True):
    """How recorded inputs lead to objects. Given by whoever knows the tables.

    `refs`: the object that a table's key stands for, None when it stands for none. `present`: whether that
    object exists now. `positions`: where objects were written. `owner`: the object that manages another.
    """

    refs: Callable[[str, Hashable], findings.Ref | None]
    present: Callable[[findings.Ref], bool]
    positions: Mapping[findings.Ref, places.Position]
    owner: Callable[[findings.Ref], findings.Ref | None]


def why(mesh: graph.Graph, query: graph.Query[K, Any], key: K, *, resource: str, book: Book) -> Why:
    """Explain the answer of `query` for `key`, which is the resource of that name.

    The answer is made first when nobody watches it. A query that raises is explained like any other.
    """
    tree = mesh.reads(query, key)
    refs = {book.refs(row.table, row.key) for row in mesh.inputs(query, key)}
    sources = [_source(ref, book) for ref in refs if ref is not None]
    sources.sort(key=lambda source: (not source.file, source.file, source.line, source.object))
    return Why(resource, _exists(mesh, query, key), tuple(sources), _step(tree))


def _exists(mesh: graph.Graph, query: graph.Query[K, Any], key: K) -> bool:
    try:
        return mesh.ask(query, key) is not None
    except Exception:
        return False


def _source(ref: findings.Ref, book: Book) -> Source:
    written = _written(ref, book)
    position = book.positions.get(written) if written is not None else None
    if written is None or position is None:
        return Source(str(ref), "", 0, book.present(ref))
    made_of = "" if written == ref else str(written)
    return Source(str(ref), position.file, position.line, book.present(ref), made_of)


def _written(ref: findings.Ref, book: Book) -> findings.Ref | None:
    """The object itself, or the nearest of its owners, that stands in a file."""
    passed: set[findings.Ref] = set()
    at: findings.Ref | None = ref
    while at is not None and at not in passed:
        if at in book.positions:
            return at
        passed.add(at)
        at = book.owner(at)
    return None


def _step(root: graph.Read) -> Step:
    """The tree with each query's children shown once: shared reads would grow it beyond all bounds."""
    seen: set[tuple[str, Hashable]] = set()

    def shown(read: graph.Read) -> Step:
        again = (read.name, read.key) in seen and bool(read.children)
        seen.add((read.name, read.key))
        children = () if again else tuple(shown(child) for child in read.children)
        return Step(read.kind.value, read.name, _words(read.key), again, children)

    return shown(root)


def _words(key: Hashable) -> str:
    """A key as people read it: struct and tuple fields joined, others by their text."""
    if isinstance(key, findings.Ref):
        return str(key)
    if isinstance(key, msgspec.Struct):
        return " ".join(_words(getattr(key, field)) for field in key.__struct_fields__)
    if isinstance(key, tuple):
        return " ".join(_words(part) for part in key)
    return str(key)
