"""Objects with places for values in them: one tree, filled here, or written as a Helm template (`chart`).

A tree is mappings, lists and scalars as in JSON, and the nodes below. There is no logic beyond what both
sides can do alike: take a value, make text of it, leave something out.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from retic.install import values


class Node(msgspec.Struct, frozen=True):
    """Something that depends on values."""


class Ref(Node, frozen=True):
    """A value, by its path. Attributes lead deeper, in Python's spelling; AttributeError for no such value."""

    part: type
    path: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> "Ref":
        if name.startswith("__"):
            raise AttributeError(name)
        fields = {one.name: one for one in msgspec.structs.fields(self.part)} if self._is_group() else {}
        if name not in fields:
            raise AttributeError(f"{'.'.join(self.path) or 'Values'} has no value {name}")
        field = fields[name]
        inner = values.group(self.part, field.encode_name)
        kind = inner or _plain(field.type)
        return Ref(kind, (*self.path, field.encode_name))

    def _is_group(self) -> bool:
        return issubclass(self.part, msgspec.Struct)


def _plain(annotation: Any) -> type:
    """int for numbers, bool, else str: what decides how a value becomes text."""
    kind = msgspec.inspect.type_info(annotation)
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.IntType):
        return int
    return bool if isinstance(kind, msgspec.inspect.BoolType) else str


class Text(Node, frozen=True):
    """Texts and values one after the other."""

    pieces: tuple[str | Ref, ...]


class Sum(Node, frozen=True):
    """A number and a constant."""

    ref: Ref
    more: int


class Concat(Node, frozen=True):
    """A list that begins with `first` and goes on with the list `rest`."""

    first: tuple[str, ...]
    rest: Ref


class Joined(Node, frozen=True):
    """A list of texts as one, with commas between."""

    ref: Ref


class First(Node, frozen=True):
    """The first of a list that is not empty."""

    ref: Ref


class Json(Node, frozen=True):
    """A tree as JSON text: keys sorted, no spaces, as Go's encoding/json writes it."""

    tree: Any


class Digest(Node, frozen=True):
    """SHA-256 of the tree's JSON text, in hexadecimal."""

    tree: Any


class When(Node, frozen=True):
    """The tree, if the value is true or not empty; otherwise the key or the item is left out."""

    condition: Ref
    tree: Any


V = Ref(values.Values)
"""The root: `V.controller.replicas`."""

_ABSENT = object()


def fill(tree: Any, given: values.Values) -> Any:
    """The tree with values in the places."""
    return _fill(tree, values.builtins(given))


def _fill(tree: Any, given: Mapping[str, Any]) -> Any:
    match tree:
        case Ref():
            return _plainly(values.at(given, tree.path))
        case Text():
            return "".join(piece if isinstance(piece, str) else _text(_fill(piece, given)) for piece in tree.pieces)
        case Sum():
            return int(values.at(given, tree.ref.path)) + tree.more
        case Concat():
            return [*tree.first, *_fill(tree.rest, given)]
        case Joined():
            return ",".join(values.at(given, tree.ref.path))
        case First():
            return values.at(given, tree.ref.path)[0]
        case Json():
            return json_text(_fill(tree.tree, given))
        case Digest():
            return hashlib.sha256(json_text(_fill(tree.tree, given)).encode()).hexdigest()
        case When():
            return _fill(tree.tree, given) if values.at(given, tree.condition.path) else _ABSENT
        case dict():
            filled = {key: _fill(value, given) for key, value in tree.items()}
            return {key: value for key, value in filled.items() if value is not _ABSENT}
        case list() | tuple():
            return [value for value in (_fill(one, given) for one in tree) if value is not _ABSENT]
        case _:
            return tree


def _plainly(value: Any) -> Any:
    """Lists instead of tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plainly(one) for key, one in value.items()}
    return [_plainly(one) for one in value] if isinstance(value, list | tuple) else value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def json_text(value: Any) -> str:
    """JSON as Go's encoding/json writes it, so that digests agree with the chart's."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
