"""YAML text to plain values, with the line of every field.

Anchors, aliases and merge keys work; a mapping with the same key twice is a fault. Refuses files over
`MAX_BYTES`, documents that aliases blow up beyond `MAX_VALUES` values, and nesting beyond `MAX_DEPTH`.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from yaml import resolver
from yaml._yaml import CParser

from retic.sources import model, scalars

MAX_BYTES = 16 * 1024 * 1024
MAX_VALUES = 500_000
MAX_DEPTH = 100

_SAFE_DEPTH = 500
_DEEP_INDENT = re.compile(rf"^[ ?-]{{{_SAFE_DEPTH // 2}}}", re.MULTILINE)
_PLAIN = "!plain"
_KINDS: dict[type[yaml.Node], str] = {
    yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map",
}
_MERGE = "tag:yaml.org,2002:merge"


class Fault(msgspec.Struct, frozen=True):
    """A fault of a file's text. `fatal`: the rest of the file could not be read."""

    code: str
    line: int
    message: str
    fix: str
    fatal: bool = False
    path: str = ""


class Document(msgspec.Struct, frozen=True):
    """One document: its value, the line of each field by path, numbers and words as the text has them."""

    value: Any
    line: int
    fields: dict[str, int]
    texts: dict[str, str]
    faults: tuple[Fault, ...] = ()


class _RefusedError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Loader(CParser, resolver.Resolver):
    """libyaml's parser; leaves plain scalars to `scalars`, so that an explicit !!str can be told apart."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        resolver.Resolver.__init__(self)

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _MERGE if value == "<<" else _PLAIN
        return f"tag:yaml.org,2002:{_KINDS[kind]}"


def read(data: bytes) -> Iterator[Document | Fault]:
    """The documents of a file in order, empty ones left out; a Fault ends the file."""
    if len(data) > MAX_BYTES:
        yield Fault(
            "RT0013", 1, f"the file has more than the {MAX_BYTES} bytes that are read",
            "split it into several files", fatal=True,
        )
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield Fault("RT0001", line, "the file is not UTF-8", "save it as UTF-8", fatal=True)
        return
    try:
        _guard_depth(text)
        yield from _documents(text)
    except _RefusedError as error:
        yield error.fault
    except yaml.YAMLError as error:
        yield _syntax(error, text)


def _guard_depth(text: str) -> None:
    """libyaml's composer recurses in C and would crash the interpreter: when in doubt, measure the depth."""
    if text.count("[") + text.count("{") <= _SAFE_DEPTH and not _DEEP_INDENT.search(text):
        return
    depth = 0
    loader = _Loader(text)
    while loader.check_event():
        event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _RefusedError(_too_deep(_line(event)))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _line(node: yaml.Node | yaml.Event) -> int:
    mark: Any = node.start_mark
    return int(mark.line) + 1


def _too_deep(line: int) -> Fault:
    return Fault(
        "RT0001", line, f"nested more than {MAX_DEPTH} levels deep, or an alias inside its own anchor",
        "write it without the alias, or flatter", fatal=True,
    )


def _documents(text: str) -> Iterator[Document]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node: Any = loader.get_node()
            built = _Builder()
            value = built.value(node, "", 0)
            if value is not None:
                line = _line(node)
                yield Document(value, line, built.fields, built.texts, tuple(built.faults))
    finally:
        loader.dispose()


def _syntax(error: yaml.YAMLError, text: str) -> Fault:
    fix = "correct the YAML here; quote texts that contain ': ' or ' #' or begin with a special character"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        message = "; ".join(part for part in (error.context, error.problem) if part)
        lines = text.splitlines()
        shown = lines[line - 1] if line <= len(lines) else ""
        if "{{" in shown:
            fix = "this looks like a template: give Retic what `helm template` (or the like) makes of it"
        elif "\t" in shown[: len(shown) - len(shown.lstrip())]:
            fix = "indent with spaces: YAML does not allow tabs there"
        return Fault("RT0001", line, f"not YAML: {message}", fix, fatal=True)
    position = getattr(error, "position", 0) or 0
    line = text.count("\n", 0, position) + 1
    reason = getattr(error, "reason", None) or "a character that YAML does not allow"
    return Fault("RT0001", line, f"not YAML: {reason}", "remove the character", fatal=True)


class _Builder:
    """Turns one document's nodes into values; refuses what is too deep, too big or contains itself."""

    def __init__(self) -> None:
        self.fields: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.faults: list[Fault] = []
        self._count = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = _line(node)
        self._count += 1
        if depth > MAX_DEPTH:
            raise _RefusedError(_too_deep(line))
        if self._count > MAX_VALUES:
            message = f"more than {MAX_VALUES} values in one document (aliases counted as written out)"
            fix = "use fewer aliases, or split the document"
            raise _RefusedError(Fault("RT0013", line, message, fix, fatal=True))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _item(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.fields[path] = _line(node)
        return self.value(node, path, depth)

    def _scalar(self, node: yaml.Node, path: str) -> scalars.Scalar:
        text: str = node.value
        if node.tag == _MERGE:
            return text
        if node.tag == _PLAIN:
            value = scalars.plain(text)
            if not isinstance(value, str):
                self.texts[path] = text
            return value
        try:
            return scalars.tagged(node.tag, text)
        except ValueError:
            line = _line(node)
            message = f"{path or 'the document'} has the tag {node.tag}, which does not fit here"
            self.faults.append(Fault("RT0001", line, message, "remove the tag", path=path))
            return text

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for merged in self._merged(value_node, path):
                    for key, value in self.value(merged, path, depth + 1).items():
                        result.setdefault(key, value)
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key, line = self._key(key_node, path), _line(key_node)
            if key in seen:
                message = f"{model.child(path, key)} stands here twice, first in line {seen[key]}"
                self.faults.append(Fault("RT0012", line, message, "remove one of the two", path=model.child(path, key)))
                continue
            seen[key] = line
            field = model.child(path, key)
            self.fields[field] = line
            self.texts.pop(field, None)
            result[key] = self.value(value_node, field, depth + 1)
        return result

    def _merged(self, node: yaml.Node, path: str) -> list[yaml.MappingNode]:
        """Mappings that `<<` names, the first to win first."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        good = [each for each in nodes if isinstance(each, yaml.MappingNode)]
        if len(good) != len(nodes):
            self.faults.append(
                Fault(
                    "RT0001", _line(node), "<< wants an alias of a mapping, or a list of such",
                    "write `<<: *name`, where name is the anchor of a mapping", path=path,
                )
            )
        return good

    def _key(self, node: yaml.Node, path: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            line = _line(node)
            fix = "write a text before the colon; if this is a template, render it first"
            message = f"a key in {path or 'the document'} is no text"
            raise _RefusedError(Fault("RT0001", line, message, fix, fatal=True))
        value = scalars.plain(node.value) if node.tag == _PLAIN else node.value
        if isinstance(value, bool):
            return "true" if value else "false"
        return node.value if value is None or isinstance(value, str) else str(value)
