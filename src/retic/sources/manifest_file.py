"""One manifest file's bytes to objects and findings. Pure: the same name and bytes give the same answer."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from retic import findings, objects
from retic.objects import defaults, forms
from retic.sources import checks, closed, documents, foreign, forms_check, model, validate

_ITEM = re.compile(r"items\[(\d+)\]\.?(.*)")


class Entry(msgspec.Struct, frozen=True):
    """What one object of a file came to: one of `located`, `other` (a kind not read) and `broken`.

    Both `located` and `broken` for a policy that holds and of which a part cannot be read.
    """

    located: model.Located | None = None
    other: foreign.Foreign | None = None
    broken: model.Broken | None = None
    found: tuple[findings.Finding, ...] = ()


class _Source(msgspec.Struct, frozen=True):
    """A plain object with its place, taken out of its document (and out of a List)."""

    file: str
    value: Any
    line: int
    fields: dict[str, int]
    texts: dict[str, str]
    faults: tuple[documents.Fault, ...]


def parse(file: str, data: bytes) -> tuple[Entry, ...]:
    """The entries of a file, in order; `file` is shown in positions and findings as it is."""
    entries: list[Entry] = []
    for document in documents.read(data):
        if isinstance(document, documents.Fault):
            fault = msgspec.structs.replace(document, message=document.message + model.NOT_READ_ON)
            entries.append(_broken(file, None, (_finding(fault, file, ""),)))
        else:
            source = _Source(
                file, document.value, document.line, document.fields, document.texts, document.faults
            )
            entries += [_entry(each) for each in _flatten(source)]
    return tuple(entries)


def _flatten(source: _Source) -> Iterator[_Source]:
    """A List's items, one by one, of whatever kind the List is; anything else as it is."""
    value = source.value
    if not isinstance(value, dict):
        yield source
        return
    kind, version, items = value.get("kind"), value.get("apiVersion"), value.get("items")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(version, str)):
        yield source
        return
    if items is None and (kind == "List" or kind.removesuffix("List") in objects.KINDS):
        items = []
    if not isinstance(items, list):
        yield source
        return
    parts, outer = _parts(source, len(items))
    if outer:
        yield msgspec.structs.replace(source, faults=outer)
    for part, item in zip(parts, items, strict=True):
        if isinstance(item, dict) and kind != "List":  # a DeploymentList's items may leave these out
            item = {"apiVersion": version, "kind": kind.removesuffix("List"), **item}
        line = part.lines.get("", source.line)
        yield from _flatten(_Source(source.file, item, line, part.lines, part.texts, tuple(part.faults)))


class _Part(msgspec.Struct):
    """What is known of one item of a List, by paths below the item."""

    lines: dict[str, int] = msgspec.field(default_factory=dict)
    texts: dict[str, str] = msgspec.field(default_factory=dict)
    faults: list[documents.Fault] = msgspec.field(default_factory=list)


def _parts(source: _Source, count: int) -> tuple[list[_Part], tuple[documents.Fault, ...]]:
    """What is known of each item, and the faults that are in none."""
    parts, outer = [_Part() for _ in range(count)], []
    for path, line in source.fields.items():
        if found := _ITEM.fullmatch(path):
            parts[int(found[1])].lines[found[2]] = line
    for path, text in source.texts.items():
        if found := _ITEM.fullmatch(path):
            parts[int(found[1])].texts[found[2]] = text
    for fault in source.faults:
        if found := _ITEM.fullmatch(fault.path):
            parts[int(found[1])].faults.append(msgspec.structs.replace(fault, path=found[2]))
        else:
            outer.append(fault)
    return parts, tuple(outer)


def _finding(fault: documents.Fault, file: str, label: str) -> findings.Finding:
    return model.finding(
        fault.code, label, file=file, line=fault.line, message=fault.message, fix=fault.fix
    )


def _broken(file: str, ref: findings.Ref | None, found: tuple[findings.Finding, ...]) -> Entry:
    return Entry(broken=model.Broken(file, ref), found=found)


def _entry(source: _Source) -> Entry:
    value = source.value
    wrong = _no_object(value)
    if wrong:
        message, fix = wrong
        found = model.finding(
            "RT0002", "", file=source.file, line=source.line, message=message, fix=fix
        )
        return _broken(source.file, None, (found,))
    kind, version = value["kind"], value["apiVersion"]
    line = source.fields.get("kind", source.line)
    verdict = foreign.judge(version, kind)
    if verdict not in {foreign.Verdict.READ, foreign.Verdict.OTHER_VERSION}:
        return Entry(other=foreign.Foreign(kind, foreign.group(version), line, verdict))
    ref = _ref(value)
    if verdict is foreign.Verdict.OTHER_VERSION:
        wanted = objects.KINDS[kind].api_versions[0]
        message = f"{kind} is not read in apiVersion {version}{model.LEFT_OUT}"
        line = source.fields.get("apiVersion", line)
        found = model.finding(
            "RT0010", str(ref or kind), file=source.file, line=line, message=message,
            fix=f"write apiVersion: {wanted}",
        )
        return _broken(source.file, ref, (found,))
    return _object(source, ref)


def _no_object(value: Any) -> tuple[str, str] | None:
    """Why this is no Kubernetes object, and what to write."""
    if not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "a single value"
        fix = "write apiVersion:, kind: and metadata:, or keep files that are no manifests elsewhere"
        return f"the document is {what}, not a Kubernetes object", fix
    for field, example in (("apiVersion", "apps/v1"), ("kind", "Deployment")):
        if value.get(field) is None:
            return f"the document has no {field}, so it is no Kubernetes object", f"write {field}: {example}"
        if not isinstance(value[field], str) or not value[field]:
            return f"{field} is not a text", f"write something such as {field}: {example}"
    return None


def _ref(value: dict[str, Any]) -> findings.Ref | None:
    """Which object this is meant to be; None when it has no usable name."""
    kind, metadata = value["kind"], value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return None
    namespace = metadata.get("namespace") or "default"
    if not isinstance(namespace, str):
        return None
    return findings.Ref(kind, namespace if objects.KINDS[kind].namespaced else "", metadata["name"])


def _object(source: _Source, ref: findings.Ref | None) -> Entry:
    position = model.Position(source.file, source.line, source.fields)
    kind = objects.KINDS[source.value["kind"]]
    bad = frozenset(fault.path for fault in source.faults)
    checked = validate.check(kind.struct, source.value, source.texts, bad)
    faults = [*_name(kind, source.value), *checked.faults]
    value: objects.Object | None = None
    if not closed.fatal(kind.struct, faults):
        try:
            value = closed.made(kind.struct, checked.value)
        except msgspec.ValidationError as error:  # the walk missed something: still a finding, never a crash
            faults.append(validate.Fault("RT0004", "", str(error), "correct the field"))
        else:
            faults += checks.check(value)
    label = str(ref) if ref else source.value["kind"]
    told = [_Told(_finding(fault, source.file, label), fault.path) for fault in source.faults]
    told += [
        _Told(
            model.finding(
                fault.code, label, file=source.file, line=position.at(fault.path), message=fault.message,
                fix=fault.fix,
            ),
            fault.path,
        )
        for fault in faults
    ]
    return _judged(source.file, ref, None if value is None else model.Located(defaults.apply(value), position), told)


class _Told(msgspec.Struct, frozen=True):
    """A finding, and the path that it is about."""

    finding: findings.Finding
    path: str


def _judged(
    file: str, ref: findings.Ref | None, located: model.Located | None, told: list[_Told]
) -> Entry:
    """What an object comes to with its faults."""
    found = [each.finding for each in told]
    wrong = [each for each in told if each.finding.severity is findings.Severity.ERROR]
    if located is None or not all(closed.bears(type(located.object), each.path) for each in wrong):
        return _broken(file, ref, model.ending(found, model.LEFT_OUT))
    if not wrong:
        return Entry(located=located, found=tuple(found))
    return Entry(
        located=msgspec.structs.replace(located, is_closed=True),
        broken=model.Broken(file, ref),
        found=tuple(closed.told(located.object, each.finding, each.path) for each in told),
    )


def _name(kind: objects.Kind, value: dict[str, Any]) -> Iterator[validate.Fault]:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return
    name = metadata.get("name")
    if name is None or name == "":
        fix = "write metadata.name: my-name"
        if metadata.get("generateName"):
            fix += " (generateName works with `kubectl create` only)"
        yield validate.Fault("RT0007", "metadata.name", "metadata.name is missing", fix)
    elif isinstance(name, str) and (wrong := forms_check.syntax(kind.name, name)):
        fix = f"write something such as {kind.name.example}"
        yield validate.Fault("RT0008", "metadata.name", f'metadata.name is "{name[:80]}", which {wrong}', fix)
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace and (wrong := forms_check.syntax(forms.LABEL, namespace)):
        message = f'metadata.namespace is "{namespace[:80]}", which {wrong}'
        yield validate.Fault("RT0008", "metadata.namespace", message, "write something such as my-namespace")
