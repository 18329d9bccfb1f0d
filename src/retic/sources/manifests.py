"""Manifest files and folders to objects and findings. Reads files; nothing else.

Folders are read recursively, in order of name: *.yaml, *.yml and *.json, hidden ones left out. A path that
is named explicitly is read whatever it is called. Of an object that stands twice the first counts.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from retic import findings
from retic.sources import documents, foreign, manifest_file, model

_ENDINGS = frozenset({".yaml", ".yml", ".json"})


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


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """The manifest files behind these paths, as the user wrote them, each once; missing paths as they are."""
    seen: set[str] = set()
    for path in paths:
        for file in _folder(path) if path.is_dir() else [path]:
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield file


def _folder(path: Path) -> Iterator[Path]:
    for folder, names in walk(path):
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _ENDINGS:
                yield Path(folder) / name


def walk(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every folder from `path` down with its file names, sorted; hidden ones and loops left out."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(path, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        real = os.path.realpath(folder)
        if real in seen:
            inner[:] = []
            continue
        seen.add(real)
        yield folder, sorted(names)


def load(paths: Sequence[Path], cache: Cache | None = None) -> model.Loaded:
    """What these paths hold now. Never raises for what a user can write: that is a finding."""
    cache = cache or Cache()
    gathered = _Gathered()
    for file in files(paths):
        name = str(file)
        try:
            data = _read(file)
        except OSError as error:
            gathered.unreadable(name, error)
        else:
            gathered.file(name, cache.parse(name, data))
    cache.turn()
    return gathered.loaded()


def _read(file: Path) -> bytes:
    """The bytes; of a file that is too big only so many that `documents` refuses it."""
    if file.is_dir():
        raise IsADirectoryError(21, "is a folder that cannot be listed", str(file))
    with file.open("rb") as stream:
        return stream.read(documents.MAX_BYTES + 1)


class _Gathered:
    """Gathers the entries of all files: duplicates, and kinds that are not read, are judged across files."""

    def __init__(self) -> None:
        self._objects: dict[findings.Ref, model.Located] = {}
        self._findings: list[findings.Finding] = []
        self._broken: dict[model.Broken, None] = {}
        self._foreign: dict[tuple[str, str], tuple[str, foreign.Foreign]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def unreadable(self, file: str, error: OSError) -> None:
        """A file that is not there is gone; one that cannot be read may come back."""
        if isinstance(error, FileNotFoundError):
            message, fix = f"{file} does not exist", "correct the path, or create the file"
        else:
            message, fix = f"{file} cannot be read: {error.strerror}", "make it readable, or leave it out"
            self._broken[model.Broken(file)] = None
        self._findings.append(model.finding("RT0009", "", file=file, line=1, message=message, fix=fix))

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
        message = (
            f"{ref} stands here and in {first.position.file}:{first.position.at('metadata.name')}; "
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


def _not_read(file: str, kind: foreign.Foreign, count: int) -> findings.Finding:
    times = "" if count == 1 else f" ({count} objects, the first here)"
    if kind.verdict is foreign.Verdict.CLUSTER_ONLY:
        message = f"{kind.label} is left to the cluster{times}"
        fix = "nothing to do: the mesh does not need it"
        return model.finding("RT0014", kind.kind, file=file, line=kind.line, message=message, fix=fix)
    near = foreign.meant(kind.kind)
    fix = f"did you mean kind: {near}?" if near else "nothing to do, if something else reads it"
    message = f"{kind.label} is not a kind that Retic reads{times}; it is ignored"
    return model.finding("RT0003", kind.kind, file=file, line=kind.line, message=message, fix=fix)

