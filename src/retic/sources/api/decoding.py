"""Lists and events of an API server, straight into structs: each object on its own, so that one takes none with it.

The server has checked kinds of its own; those of CRDs, and certificates, are judged as manifests are. Pure.
"""

import enum
import functools

import msgspec

from retic import findings, objects
from retic.findings import catalogue
from retic.objects import defaults
from retic.sources import checks, closed, model, validate
from retic.sources.api import kinds

_FIX = "mend it with kubectl edit, or remove it"


class CorruptError(ValueError):
    """Bytes that no API server sends. Says what is wrong with them, never what stands in them."""


class Type(enum.StrEnum):
    """What an event says."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    ERROR = "ERROR"


class Head(msgspec.Struct, frozen=True, rename="camel"):
    """What is needed of an object to go on, whatever else is wrong with it."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Raw(msgspec.Struct, frozen=True):
    """An object as it came."""

    head: Head
    body: msgspec.Raw


class Page(msgspec.Struct, frozen=True):
    """A part of a list. `rest` is the token for the next part, "" at the end."""

    version: str
    rest: str
    items: tuple[Raw, ...]


class Event(msgspec.Struct, frozen=True):
    """An event of a watch; `object` is an object, a bookmark or a Status."""

    type: Type
    object: Raw


class Decoded(msgspec.Struct, frozen=True):
    """What an object came to: None when it cannot be used, and `found` says why. `is_closed` as in `model.Located`."""

    value: objects.Object | None
    found: tuple[findings.Finding, ...] = ()
    is_closed: bool = False


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None


class _Event(msgspec.Struct, frozen=True):
    type: Type
    object: msgspec.Raw


class _Headed(msgspec.Struct, frozen=True):
    metadata: Head = Head()


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


_list = msgspec.json.Decoder(_List)
_event = msgspec.json.Decoder(_Event)
_headed = msgspec.json.Decoder(_Headed)
_status = msgspec.json.Decoder(_Status)


def page(body: bytes) -> Page:
    """A part of a list. CorruptError when it is none."""
    try:
        read = _list.decode(body)
        items = tuple(_raw(each) for each in read.items or ())
    except msgspec.MsgspecError as error:
        raise CorruptError(f"no list: {error}") from None
    if not all(each.head.name for each in items):
        raise CorruptError("no list: an object without a name")
    return Page(read.metadata.resource_version, read.metadata.continue_, items)


def single(body: bytes) -> Raw:
    """An object that was asked for by name. CorruptError when it is none."""
    try:
        read = _raw(msgspec.Raw(body))
    except msgspec.MsgspecError as error:
        raise CorruptError(f"no object: {error}") from None
    if not read.head.name:
        raise CorruptError("no object: it has no name")
    return read


def event(line: bytes) -> Event:
    """An event. CorruptError when it is none."""
    try:
        read = _event.decode(line)
        raw = _raw(read.object)
    except msgspec.MsgspecError as error:
        raise CorruptError(f"no event: {error}") from None
    if read.type is not Type.ERROR and not raw.head.resource_version:
        raise CorruptError("no event: an object without resourceVersion")
    if read.type not in {Type.ERROR, Type.BOOKMARK} and not raw.head.name:
        raise CorruptError("no event: an object without a name")
    return Event(read.type, raw)


def _raw(body: msgspec.Raw) -> Raw:
    return Raw(_headed.decode(body).metadata, body)


def status(value: Raw) -> tuple[int, str]:
    """Code and message of an ERROR event's Status."""
    try:
        read = _status.decode(value.body)
    except msgspec.MsgspecError:
        return 0, "an error without a status"
    return read.code, read.message


def decode(read: kinds.Read, raw: Raw) -> Decoded:
    """The object, or why it cannot be used. CorruptError for bytes that no server sends."""
    if not read.is_checked:
        try:
            return Decoded(_decoder(read.struct).decode(raw.body))
        except (msgspec.MsgspecError, ValueError):
            pass  # often only a null where Go has an empty list: look more closely
    try:
        plain = msgspec.json.decode(raw.body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptError(f"no object: {error}") from None
    checked = validate.check(read.struct, plain if isinstance(plain, dict) else {}, {})
    faults = [fault for fault in checked.faults if read.is_checked or not _is_form(fault)]
    value: objects.Object | None = None
    if not closed.fatal(read.struct, faults):
        try:
            value = closed.made(read.struct, checked.value)
        except msgspec.ValidationError as error:  # the walk missed something
            faults.append(validate.Fault("RT0004", "", str(error), _FIX))
        else:
            if read.is_checked:
                faults += checks.check(value)
                value = None if closed.fatal(read.struct, faults) else defaults.apply(value)
    found = tuple(_finding(read, raw.head, fault) for fault in faults)
    if value is None or not any(map(_is_error, faults)):
        return Decoded(value, found)
    told = (closed.told(value, each, fault.path) for each, fault in zip(found, faults, strict=True))
    return Decoded(value, tuple(told), is_closed=True)


@functools.cache
def _decoder(struct: type[objects.Object]) -> msgspec.json.Decoder[objects.Object]:
    return msgspec.json.Decoder(struct)


def _is_error(fault: validate.Fault) -> bool:
    return catalogue.CODES[fault.code].severity is findings.Severity.ERROR


def _is_form(fault: validate.Fault) -> bool:
    """Faults that only the server may judge where the rules are its own; a later one knows more values and fields."""
    return fault.code in {"RT0005", "RT0011"}


def _finding(read: kinds.Read, head: Head, fault: validate.Fault) -> findings.Finding:
    label = str(findings.Ref(read.kind, head.namespace, head.name))
    return model.finding(fault.code, label, file="", line=0, message=fault.message, fix=fault.fix)
