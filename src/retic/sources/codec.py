"""The lines of the watch stream, for both of its ends. Pure; one JSON object a line, newline included."""

import enum
from typing import Any

import msgspec

from retic import findings, objects
from retic.sources import model

REQUEST = b'{"watch":true}\n'
SYNCED = b'{"type":"SYNCED"}\n'


class CorruptError(ValueError):
    """A line that is no line of the watch stream. Says what is wrong with it, never what stands in it."""


class Type(enum.StrEnum):
    """What a line says."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    FINDINGS = "FINDINGS"
    SYNCED = "SYNCED"


class Event(msgspec.Struct, frozen=True):
    """One line. `object` for ADDED, MODIFIED and DELETED; `found` for FINDINGS: the whole new list."""

    type: Type
    object: objects.Object | None = None
    position: model.Position | None = None
    found: tuple[findings.Finding, ...] = ()


class _Line(msgspec.Struct, frozen=True):
    type: Type
    object: dict[str, Any] | None = None
    position: model.Position | None = None
    found: tuple[findings.Finding, ...] = msgspec.field(default=(), name="findings")


def event(kind: Type, value: objects.Object, position: model.Position | None = None) -> bytes:
    """The line for an object that was added, modified or deleted."""
    return _line({"type": kind, "object": objects.encode(value), "position": position})


def report(found: tuple[findings.Finding, ...]) -> bytes:
    """The line that replaces the whole list of findings."""
    return _line({"type": Type.FINDINGS, "findings": found})


def _line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def decode(line: bytes) -> Event:
    """The event of a line. CorruptError for everything that the functions above do not write."""
    try:
        read = msgspec.json.decode(line, type=_Line)
        if read.type in {Type.SYNCED, Type.FINDINGS}:
            return Event(read.type, found=read.found)
        if read.object is None:
            raise CorruptError(f"{read.type} without an object")
        value = objects.decode(read.object)
    except KeyError as error:
        raise CorruptError(f"an object of unknown kind {error}") from None
    except msgspec.MsgspecError as error:
        raise CorruptError(str(error)) from None
    return Event(read.type, value, read.position)
