"""What sources produce: objects with their places in the files, findings, and what is broken now.

Values only; nothing here reads a file or a socket.
"""

import re
from collections.abc import Iterable

import msgspec

from retic import findings as report
from retic import objects
from retic.findings import catalogue

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_LAST_STEP = re.compile(r"(\[[^\]]*\]|\.?[^.\[\]]+)\Z")


LEFT_OUT = "; this object is left out"
LAST_GOOD = "; its last good state stays"
NOT_READ_ON = "; the file is not read any further"
LAST_HELD = "; what it held before stays"
MEANWHILE = "; until it is mended, "


class Position(msgspec.Struct, frozen=True):
    """Where an object stands. `file` as the user wrote it, lines from 1; `fields` maps paths to lines."""

    file: str
    line: int
    fields: dict[str, int] = msgspec.field(default_factory=dict)

    def at(self, path: str) -> int:
        """The line of a field such as `spec.rules[0].name`; of the nearest around it when it is absent."""
        while path:
            if path in self.fields:
                return self.fields[path]
            path = _LAST_STEP.sub("", path)
        return self.line


class Located(msgspec.Struct, frozen=True):
    """An object, complete with Kubernetes' defaults, and where it was written.

    `is_closed`: not all of it could be read, and it is decided against the caller there (`closed`).
    """

    object: objects.Object
    position: Position
    is_closed: bool = False

    @property
    def ref(self) -> report.Ref:
        """Kind, namespace and name."""
        return ref(self.object)


class Broken(msgspec.Struct, frozen=True):
    """Something in `file` that is no good object now: one object, or (None) nobody can tell which.

    With None it may also be a folder that cannot be read: everything below it is meant.
    """

    file: str
    object: report.Ref | None = None


class Loaded(msgspec.Struct, frozen=True):
    """What some paths held when they were read; `broken` is what `live.merge` keeps the last good of."""

    objects: tuple[Located, ...] = ()
    findings: tuple[report.Finding, ...] = ()
    broken: tuple[Broken, ...] = ()


def ref(value: objects.Object) -> report.Ref:
    """Kind, namespace and name of an object."""
    return report.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)


def child(path: str, key: str) -> str:
    """The path of a field in a mapping; keys with dots or slashes stand in brackets, as in Kubernetes."""
    if not _PLAIN_KEY.match(key):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def ending(found: Iterable[report.Finding], what: str) -> tuple[report.Finding, ...]:
    """The findings, the first error's message ending in `what` became of the object."""
    result = list(found)
    for i, each in enumerate(result):
        if each.severity is report.Severity.ERROR:
            result[i] = msgspec.structs.replace(each, message=each.message + what)
            break
    return tuple(result)


def kept(found: report.Finding) -> report.Finding:
    """A finding that says what becomes of its object, when that stays as it was before."""
    for ending in (MEANWHILE, LEFT_OUT):
        said, what, _ = found.message.rpartition(ending)
        if what:
            return msgspec.structs.replace(found, message=said + LAST_GOOD)
    return found


def finding(code: str, label: str, *, file: str, line: int, message: str, fix: str) -> report.Finding:
    """A finding by its code; `label` is the object as text, "" when nobody can tell which."""
    entry = catalogue.CODES[code]
    return report.Finding(code, entry.severity, label, file, line, message, fix, entry.url)
