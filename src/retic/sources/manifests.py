"""Manifest files and folders to objects and findings. Reads files; nothing else.

Of an object that stands twice the first counts.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from retic import findings
from retic.sources import foreign, manifest_file, model, paths, traffic


class _Content(msgspec.Struct, frozen=True):
    data: bytes
    entries: tuple[manifest_file.Entry, ...]


class Cache:
    """Remembers what unchanged files came to; forgets files that it is not asked for again."""

    def __init__(self) -> None:
        self._last: dict[str, _Content] = {}
        self._next: dict[str, _Content] = {}

    def parse(self, file: str, data: bytes) -> tuple[manifest_file.Entry, ...]:
        """As `manifest_file.parse`, from memory when the bytes are the same."""
        known = self._last.get(file)
        if known is None or known.data != data:
            known = _Content(data, manifest_file.parse(file, data))
        self._next[file] = known
        return known.entries

    def turn(self) -> None:
        """End one reading: what was not parsed in it is forgotten."""
        self._last, self._next = self._next, {}


def load(given: Sequence[Path], cache: Cache | None = None) -> model.Loaded:
    """What these paths hold now. Never raises for what a user can write: that is a finding."""
    cache = cache or Cache()
    gathered = _Gathered()
    for file in paths.files(given):
        name = "<stdin>" if file == paths.STANDARD_INPUT else str(file)
        try:
            data = paths.read(file)
        except OSError as error:
            if file in given or os.path.lexists(file):  # else it was removed since its folder was listed
                gathered.unreadable(file, error)
        else:
            gathered.file(name, cache.parse(name, data))
    cache.turn()
    return gathered.loaded()


class _Gathered:
    """Gathers the entries of all files: duplicates, and kinds that are not read, are judged across files."""

    def __init__(self) -> None:
        self._objects: dict[findings.Ref, model.Located] = {}
        self._findings: list[findings.Finding] = []
        self._broken: dict[model.Broken, None] = {}
        self._foreign: dict[tuple[str, str], tuple[str, foreign.Foreign]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def unreadable(self, path: Path, error: OSError) -> None:
        """A file, or a folder with all that is below it, that may come back."""
        message, fix = paths.why_not(path, error)
        self._broken[model.Broken(str(path))] = None
        self._findings.append(model.finding("RT0009", "", file=str(path), line=1, message=message, fix=fix))

    def file(self, file: str, entries: tuple[manifest_file.Entry, ...]) -> None:
        """The entries of one file, in order."""
        for entry in entries:
            self._findings += entry.found
            if entry.broken is not None:
                self._broken[entry.broken] = None
            if entry.other is not None:
                key = (entry.other.group, entry.other.kind)
                self._foreign.setdefault(key, (file, entry.other))
                self._counts[key] += 1
            if entry.located is not None:
                self._add(entry.located)

    def _add(self, located: model.Located) -> None:
        ref = located.ref
        first = self._objects.setdefault(ref, located)
        if first is located:
            return
        line = located.position.at("metadata.name")
        at = first.position.at("metadata.name")
        message = (
            f"{ref} stands here and in {_seen_from(located.position.file, first.position.file)}line {at}; "
            "the other one, read first, counts"
        )
        fix = "remove one of the two, or give it another name or namespace"
        self._findings.append(
            model.finding(
                "RT0006", str(ref), file=located.position.file, line=line, message=message, fix=fix
            )
        )

    def loaded(self) -> model.Loaded:
        """Everything: objects as they were read, findings by file and line."""
        for key, (file, kind) in self._foreign.items():
            self._findings.append(_not_read(file, kind, self._counts[key]))
        order: dict[str, int] = {}
        for each in self._findings:
            order.setdefault(each.file, len(order))
        found = sorted(self._findings, key=lambda each: (order[each.file], each.line))
        return model.Loaded(tuple(self._objects.values()), tuple(found), tuple(self._broken))


def _seen_from(file: str, other: str) -> str:
    """Where another file is, for somebody who looks at this one; nothing when it is the same."""
    return "" if other == file else f"{os.path.relpath(other, os.path.dirname(file) or '.')}, "


def _not_read(file: str, kind: foreign.Foreign, count: int) -> findings.Finding:
    times = "" if count == 1 else f" ({count} objects, the first here)"
    lack = traffic.lack(kind.group, kind.kind)
    if lack is not None:
        message = f"{kind.label} {lack.message}{times}"
        return model.finding("RT0015", kind.kind, file=file, line=kind.line, message=message, fix=lack.fix)
    if kind.verdict is foreign.Verdict.CLUSTER_ONLY:
        message = f"{kind.label} changes nothing here{times}"
        fix = "nothing to do: pods run and are called without it"
        return model.finding("RT0014", kind.kind, file=file, line=kind.line, message=message, fix=fix)
    near = foreign.meant(kind.kind)
    fix = f"did you mean kind: {near}?" if near else "nothing to do, if something else reads it"
    message = f"{kind.label} is not a kind that Retic reads{times}; it is ignored"
    return model.finding("RT0003", kind.kind, file=file, line=kind.line, message=message, fix=fix)

