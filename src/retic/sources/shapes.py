"""The shape that a struct's JSON must have, read once from its annotations.

Knows `retic.objects.forms`; refuses to judge values, which is `validate`'s.
"""

import functools
import types
import typing
from typing import Annotated, Any

import msgspec

from retic.objects import forms, guarded, meta, unread

Rule = forms.OneOf | forms.Range | forms.Syntax | forms.Entries | forms.IntOrPercent | forms.Redacted


class Anything(msgspec.Struct, frozen=True):
    """Any JSON."""


class Scalar(msgspec.Struct, frozen=True):
    """A text, number, bool or base64 (bytes), in the order of `types`."""

    types: tuple[type, ...]
    rules: tuple[Rule, ...] = ()


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    item: "Shape"


class Map(msgspec.Struct, frozen=True):
    """A mapping with free keys."""

    value: "Shape"
    rules: tuple[Rule, ...] = ()


class Record(msgspec.Struct, frozen=True):
    """A mapping with known fields."""

    struct: type[meta.Part]


Shape = Anything | Scalar | Sequence | Map | Record


class Field(msgspec.Struct, frozen=True):
    """One field of a record, by its Kubernetes name."""

    name: str
    shape: Shape
    required: bool


@functools.cache
def fields(struct: type[meta.Part]) -> dict[str, Field]:
    """The fields that are read, by Kubernetes name."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return {
        field.encode_name: Field(field.encode_name, _shape(hints[field.name], ()), field.required)
        for field in msgspec.structs.fields(struct)
        if field.encode_name != guarded.UNREAD  # nobody writes that
    }


@functools.cache
def legal(struct: type[meta.Part]) -> frozenset[str]:
    """Kubernetes names of every field that may stand there, read or not."""
    return frozenset(fields(struct)) | unread.names(struct)


def _shape(hint: Any, rules: tuple[Rule, ...]) -> Shape:
    if typing.get_origin(hint) is Annotated:
        inner, *given = typing.get_args(hint)
        return _shape(inner, (*rules, *(rule for rule in given if isinstance(rule, Rule))))
    if hint is Any:
        return Anything()
    if isinstance(hint, type) and issubclass(hint, meta.Part):
        return Record(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return Sequence(_shape(arguments[0], ()))
    if origin is dict:
        value = _shape(arguments[1], ())
        return Map(value, rules) if not isinstance(value, Anything) else Map(Anything())
    if origin in {typing.Union, types.UnionType}:
        return _union([each for each in arguments if each is not types.NoneType], rules)
    return Scalar((hint,), rules)


def _union(arguments: list[Any], rules: tuple[Rule, ...]) -> Shape:
    if len(arguments) == 1:
        return _shape(arguments[0], rules)
    shapes = [_shape(each, rules) for each in arguments]
    scalars = [each for each in shapes if isinstance(each, Scalar)]
    if len(scalars) != len(shapes):
        raise TypeError(f"a union of more than scalars: {arguments}")
    inner = tuple(rule for each in scalars for rule in each.rules)
    return Scalar(tuple(t for each in scalars for t in each.types), tuple(dict.fromkeys(inner)))
