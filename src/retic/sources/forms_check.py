"""Judges single values by the forms of `retic.objects.forms`. Pure functions; None means fine."""

import functools
import re
from typing import Any

import msgspec

from retic.objects import forms
from retic.sources import nearest


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong, completing "is X, which ...", and what to write instead."""

    message: str
    fix: str


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def syntax(form: forms.Syntax, text: str) -> str | None:
    """Why `text` is not of that form, completing "which ..."."""
    if len(text) > form.longest:
        return f"has {len(text)} characters, more than {form.longest}"
    if not _compiled(form.pattern).fullmatch(text) or (form.refuse and _compiled(form.refuse).search(text)):
        return f"is not {form.what}"
    return None


def rule(form: Any, value: Any) -> Wrong | None:
    """Judge one value by one form; forms of another type of value are satisfied."""
    match form:
        case forms.OneOf(values=values) if value not in values:
            near = nearest.word(str(value), values)
            fix = f"write {near}" if near else f"write one of {', '.join(values)}"
            return Wrong(f"is none of {', '.join(values)}", fix)
        case forms.Range(low=low, high=high) if isinstance(value, int | float):
            return _range(low, high, value)
        case forms.Syntax() if isinstance(value, str):
            wrong = syntax(form, value)
            return Wrong(wrong, f"write something such as {form.example}") if wrong else None
        case forms.IntOrPercent():
            return _int_or_percent(value)
    return None


def _range(low: int, high: int | None, value: float) -> Wrong | None:
    if value >= low and (high is None or value <= high):
        return None
    if high is None:
        return Wrong(f"is less than {low}", f"write {low} or more")
    return Wrong(f"is not between {low} and {high}", f"write a number from {low} to {high}")


def _int_or_percent(value: Any) -> Wrong | None:
    good = value >= 0 if isinstance(value, int) else bool(re.fullmatch(r"[0-9]+%", value))
    return None if good else Wrong("is neither a whole number nor a percentage", "write 1, or 25%")
