"""Parts in which nothing is passed over: who decides by them learns what of them could not be read.

Elsewhere a field that nobody knows is dropped, and what is wrong takes its object with it. Of a policy neither may be:
what is left would let in whom it was to keep out.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from retic.objects import meta

UNREAD = "(unread)"
"""The name of `unread` in JSON: no field of a kind is called so."""


class Part(meta.Part, frozen=True, kw_only=True):
    """`unread` names the part's fields that are not known, or whose values are none; these are at their default.

    `filled`: a field that is written says something, so that null and an empty list are no values.
    """

    filled: ClassVar[bool] = False
    unread: tuple[str, ...] = msgspec.field(default=(), name=UNREAD)


class Object(meta.Object, frozen=True, kw_only=True):
    """A whole object of such parts; `unread` is of its top, where `spec` stands."""

    filled: ClassVar[bool] = False
    unread: tuple[str, ...] = msgspec.field(default=(), name=UNREAD)


def is_guarded(struct: type[meta.Part]) -> bool:
    """Whether nothing is passed over in it."""
    return issubclass(struct, Part | Object)


def paths(of: Any, path: str = "") -> Iterator[str]:
    """The places of all that could not be read in a part, or an object, that stands at `path`."""
    if isinstance(of, Part | Object):
        yield from (below(path, name) for name in of.unread)
    if isinstance(of, meta.Part):
        for field in msgspec.structs.fields(type(of)):
            yield from paths(getattr(of, field.name), below(path, field.encode_name))
    elif isinstance(of, tuple):
        for i, each in enumerate(of):
            yield from paths(each, f"{path}[{i}]")
    elif isinstance(of, dict):
        for key, each in of.items():
            yield from paths(each, below(path, key if key.isalnum() else f"[{key}]"))


def below(path: str, name: str) -> str:
    """The path of a field; `name` may be one in brackets."""
    return f"{path}{name}" if name.startswith("[") or not path else f"{path}.{name}"
