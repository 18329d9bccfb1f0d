"""Checks plain values against the shape of a struct: every wrong field is found, not only the first.

Judges one field at a time; what concerns several fields is in `checks`. Values of Secrets are never quoted. In parts
that are guarded a wrong field is left out and remembered, so that what is left can be decoded all the same.
"""

import binascii
from typing import Any

import msgspec

from retic.objects import forms, guarded, meta
from retic.sources import forms_check, model, nearest, shapes

_MISSING = object()
_QUOTED = 60


class Fault(msgspec.Struct, frozen=True):
    """One fault of a field, by code of the catalogue."""

    code: str
    path: str
    message: str
    fix: str


class Checked(msgspec.Struct, frozen=True):
    """What is left for decoding (nulls and unread fields dropped), and the faults."""

    value: dict[str, Any]
    faults: tuple[Fault, ...]


def check(
    struct: type[meta.Part], value: dict[str, Any], texts: dict[str, str], bad: frozenset[str] = frozenset()
) -> Checked:
    """Check a mapping against `struct`; `texts` has what numbers and words looked like, by path.

    `bad` are the paths of what the text has wrongly, which somebody else has told.
    """
    walker = _Walker(texts, bad)
    return Checked(walker.record(struct, value, ""), tuple(walker.faults))


class _Walker:
    """One walk over one object."""

    def __init__(self, texts: dict[str, str], bad: frozenset[str]) -> None:
        self.faults: list[Fault] = []
        self._texts = texts
        self._bad = bad
        self._wrong = 0  # faults of the field that is looked at, but for those that a part inside it remembers

    def record(self, struct: type[meta.Part], value: dict[str, Any], path: str) -> dict[str, Any]:
        if guarded.is_guarded(struct):
            return self._guarded(struct, value, path)
        self._unknown(struct, value, path, "RT0005")
        result = {}
        for name, field in shapes.fields(struct).items():
            found = self._field(field, value.get(name), model.child(path, name))
            if found is not _MISSING:
                result[name] = found
        return result

    def _guarded(self, struct: type[meta.Part], value: dict[str, Any], path: str) -> dict[str, Any]:
        """As `record`, and what cannot be read stands in the part's `unread`."""
        before = self._wrong
        unread, result = self._unknown(struct, value, path, "RT0433"), {}
        for name, field in shapes.fields(struct).items():
            where, self._wrong = model.child(path, name), 0
            if getattr(struct, "filled", False) and name in value and value[name] in (None, []):
                self._add("RT0011", where, "is empty, which says nothing", f"write something there, or remove {name}")
            found = self._field(field, value.get(name), where)
            if self._wrong and where != "metadata":
                unread.append(model.child("", name))
                found = "" if field.required else _MISSING
            if found is not _MISSING:
                result[name] = found
        self._wrong = before
        return {**result, guarded.UNREAD: unread} if unread else result

    def _field(self, field: shapes.Field, given: Any, where: str) -> Any:
        if where in self._bad:
            self._wrong += 1
        if given is None:
            if field.required:
                self._add("RT0007", where, "is missing", _example(field.name, field.shape))
            return _MISSING
        if field.required and given == "" and field.name.lower().endswith("name"):
            self._add("RT0007", where, "is empty", _example(field.name, field.shape))
            return _MISSING
        return self._value(field.shape, given, where)

    def _value(self, shape: shapes.Shape, given: Any, path: str) -> Any:
        match shape:
            case shapes.Record(struct=struct):
                return self.record(struct, given, path) if self._is(dict, given, path) else _MISSING
            case shapes.Map():
                return self._map(shape, given, path)
            case shapes.Sequence(item=item):
                return self._sequence(item, given, path)
            case shapes.Scalar():
                return self._scalar(shape, given, path)
        return given

    def _sequence(self, item: shapes.Shape, given: Any, path: str) -> Any:
        if not self._is(list, given, path):
            return _MISSING
        result = []
        for i, each in enumerate(given):
            where = f"{path}[{i}]"
            self._wrong += where in self._bad
            if each is None:
                self._add("RT0004", where, "is empty", "write a value after the '-', or remove the line")
            elif (found := self._value(item, each, where)) is not _MISSING:
                result.append(found)
        return result

    def _map(self, shape: shapes.Map, given: Any, path: str) -> Any:
        if not self._is(dict, given, path, secret=_secret(shape.rules)):
            return _MISSING
        value_shape, result = shape.value, {}
        if isinstance(value_shape, shapes.Scalar) and _secret(shape.rules):
            value_shape = shapes.Scalar(value_shape.types, (*value_shape.rules, forms.Redacted()))
        for key, each in given.items():
            where = model.child(path, key)
            self._wrong += where in self._bad
            for rule in shape.rules:
                if isinstance(rule, forms.Entries):
                    self._entry(rule, key, each, where)
            each = "" if each is None and isinstance(value_shape, shapes.Scalar) else each
            found = self._value(value_shape, each, where)
            if found is not _MISSING:
                result[key] = found
        return result

    def _entry(self, rule: forms.Entries, key: str, value: Any, path: str) -> None:
        if rule.key and (wrong := forms_check.syntax(rule.key, key)):
            self._add("RT0011", path, f"has the key {_quote(key)}, which {wrong}", _such_as(rule.key.example))
        if rule.value and isinstance(value, str) and (wrong := forms_check.syntax(rule.value, value)):
            self._add("RT0011", path, f"is {_quote(value)}, which {wrong}", _such_as(rule.value.example))

    def _scalar(self, shape: shapes.Scalar, given: Any, path: str) -> Any:
        secret = _secret(shape.rules)
        whole = int in shape.types and float not in shape.types
        if whole and isinstance(given, float) and given.is_integer():
            given = int(given)  # 1e3 is 1000 in JSON
        if bytes in shape.types:
            return self._base64(given, path, secret=secret)
        if not _fits(given, shape.types):
            self._wrong_scalar(shape, given, path, secret=secret)
            return _MISSING
        for rule in shape.rules:
            wrong = forms_check.rule(rule, given)
            if wrong:
                shown = "has a value that" if secret else f"is {_quote(given)}, which"
                self._add("RT0011", path, f"{shown} {wrong.message}", wrong.fix)
                break
        return given

    def _base64(self, given: Any, path: str, *, secret: bool) -> Any:
        if not isinstance(given, str):
            self._wrong_scalar(shapes.Scalar((str,)), given, path, secret=secret)
            return _MISSING
        try:
            return binascii.b2a_base64(
                binascii.a2b_base64("".join(given.split()), strict_mode=True), newline=False
            ).decode()
        except (binascii.Error, ValueError):
            instead = "stringData" if secret else "data"
            self._add(
                "RT0011", path, "is not base64",
                f"encode it (printf %s VALUE | base64), or write it as it is under {instead}:",
            )
            return _MISSING

    def _is(self, wanted: type, given: Any, path: str, *, secret: bool = False) -> bool:
        if isinstance(given, wanted):
            return True
        found = _found(given, secret=secret)
        name = path.rsplit(".", 1)[-1]
        if wanted is list:
            fix = f"write each entry on a line of its own, with '- ' before it, under {name}:"
            self._add("RT0004", path, f"must be a list, but is {found}", fix)
        else:
            fix = f"write `key: value` lines, indented, under {name}: (without '- ')"
            self._add("RT0004", path, f"must be a mapping, but is {found}", fix)
        return False

    def _wrong_scalar(self, shape: shapes.Scalar, given: Any, path: str, *, secret: bool) -> None:
        wanted = " or ".join(_TYPES[each] for each in shape.types)
        text = self._texts.get(path)
        found = _found(given, secret=secret)
        if text is not None and isinstance(given, bool) and text.lower() != found:
            found = f"{found} (YAML reads {text} as {found})" if not secret else found
        name = path.rsplit(".", 1)[-1] if not path.endswith("]") else path
        shown = "VALUE" if secret else (text if text is not None else given)
        if str in shape.types and isinstance(given, bool | int | float):
            fix = _as_text(shape.rules, given, str(shown), name)
        elif isinstance(given, str) and not secret and _number(given) and {int, float} & set(shape.types):
            fix = f"remove the quotes: {name}: {given.strip()}"
        else:
            fix = f"write {_TYPES[shape.types[0]]}, such as {name}: {_EXAMPLES[shape.types[0]]}"
        self._add("RT0004", path, f"must be {wanted}, but is {found}", fix)

    def _unknown(self, struct: type[meta.Part], value: dict[str, Any], path: str, code: str) -> list[str]:
        """Tell of the fields that no such part has, and name them."""
        found = [key for key in value if key not in shapes.legal(struct)]
        for key in found:
            near = nearest.word(key, shapes.legal(struct))
            fix = f"did you mean {near}? Otherwise remove it" if near else "remove it, or check its indentation"
            ignored = ", and is ignored" if code == "RT0005" else ""
            self._add(code, model.child(path, key), f"is not a field of {struct.__name__}{ignored}", fix)
        return [model.child("", key) for key in found]

    def _add(self, code: str, path: str, message: str, fix: str) -> None:
        self._wrong += 1
        self.faults.append(Fault(code, path, f"{path} {message}", fix))


_TYPES: dict[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_EXAMPLES: dict[type, str] = {str: '"text"', int: "1", float: "0.5", bool: "true"}


def _fits(given: Any, wanted: tuple[type, ...]) -> bool:
    if isinstance(given, bool):
        return bool in wanted
    return isinstance(given, wanted) or (isinstance(given, int) and float in wanted)


def _as_text(rules: tuple[shapes.Rule, ...], given: bool | int | float, shown: str, name: str) -> str:
    """What to write where a text is wanted: quotes, unless the text would be wrong too."""
    if forms.GATEWAY_DURATION in rules and isinstance(given, int) and not isinstance(given, bool):
        return f"write its unit: {name}: {given}s"
    for rule in rules:
        if wrong := forms_check.rule(rule, shown):
            return wrong.fix
    return f'quote it: - "{shown}"' if name.endswith("]") else f'quote it: {name}: "{shown}"'


def _number(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()


def _secret(rules: tuple[shapes.Rule, ...]) -> bool:
    return any(isinstance(rule, forms.Redacted) for rule in rules)


def _such_as(example: str) -> str:
    return f"write something such as {example}"


def _quote(value: Any) -> str:
    if not isinstance(value, str):
        return str(value)
    return f'"{value}"' if len(value) <= _QUOTED else f'"{value[:_QUOTED]}..."'


def _found(given: Any, *, secret: bool) -> str:
    match given:
        case bool():
            return str(given).lower() if not secret else "true or false"
        case int() | float():
            return f"the number {given}" if not secret else "a number"
        case str():
            return f"the text {_quote(given)}" if not secret else "a text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return "nothing"


def _example(name: str, shape: shapes.Shape) -> str:
    match shape:
        case shapes.Scalar(types=types, rules=rules):
            for rule in rules:
                if isinstance(rule, forms.OneOf):
                    return f"write one of {name}: {', '.join(rule.values)}"
                if isinstance(rule, forms.Syntax) and int not in types:
                    return f"write {name}: {rule.example}"
            if name.lower().endswith("port"):
                return f"write {name}: 80"
            return f"write {name}: {_EXAMPLES[types[0]]}"
        case shapes.Sequence():
            return f"write {name}: and its entries below it, each with '- '"
    return f"write {name}: and its fields below it, indented"
