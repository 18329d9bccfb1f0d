"""OpenAPI schemas of our own kinds, from their structs: what Retic refuses of a field, the API server refuses.

Structural as CustomResourceDefinitions want them (apiextensions.k8s.io/v1, JSONSchemaProps). What concerns several
fields is a rule of its own, written beside the kind.
"""

import inspect
from typing import Any

from retic.objects import forms, meta
from retic.sources import shapes

_TYPES = {str: "string", int: "integer", bool: "boolean", float: "number"}


def of(struct: type[meta.Part]) -> dict[str, Any]:
    """The schema of a struct. TypeError for a shape that none of our kinds has."""
    fields = shapes.fields(struct)
    made: dict[str, Any] = {"type": "object", "properties": {}}
    said = " ".join((inspect.getdoc(struct) or "").split())
    if said:
        made["description"] = said
    for name, field in fields.items():
        made["properties"][name] = _shape(field.shape)
    required = sorted(name for name, field in fields.items() if field.required)
    return made | ({"required": required} if required else {})


def _shape(shape: shapes.Shape) -> dict[str, Any]:
    match shape:
        case shapes.Record(struct=struct):
            return of(struct)
        case shapes.Sequence(item=item):
            return {"type": "array", "items": _shape(item)}
        case shapes.Map(value=value):
            return {"type": "object", "additionalProperties": _shape(value)}
        case shapes.Scalar(types=(only,), rules=rules):
            return _scalar(_TYPES[only], rules)
    raise TypeError(f"no schema for {shape}")


def _scalar(kind: str, rules: tuple[shapes.Rule, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind}
    for rule in rules:
        match rule:
            case forms.OneOf(values=values):
                made["enum"] = list(values)
            case forms.Range(low=low, high=high):
                made["minimum"] = low
                if high is not None:
                    made["maximum"] = high
            case forms.Syntax(pattern=pattern, longest=longest):
                made |= {"pattern": f"^({pattern})$", "maxLength": longest}
    return made
