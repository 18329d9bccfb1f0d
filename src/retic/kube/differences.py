"""Whether an object has what is wanted of it. Pure: fields that nobody wants may be anything."""

from collections.abc import Mapping
from typing import Any


def has(present: Any, wanted: Any) -> bool:
    """Whether every field of `wanted` is in `present`; lists have to be as long, and their items in order."""
    if isinstance(wanted, Mapping):
        if not isinstance(present, Mapping):
            return not wanted and present is None
        return all(has(present.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(present, list):
            return not wanted and present is None
        return len(present) == len(wanted) and all(map(has, present, wanted))
    return bool(present == wanted)
