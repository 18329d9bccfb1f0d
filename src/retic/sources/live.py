"""Manifests as they change on disk: one complete `Loaded` after every edit, the last good state kept.

Watches folders, never files, so that editors which replace a file by rename are seen, as are files and
folders that do not exist yet. An edit that only adds or changes is given out as soon as the disk is quiet for
`STEP` milliseconds; one that removes or breaks something waits `GRACE` more, for it may be half written.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import structlog
from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from retic.sources import manifests, model, paths
from retic.sources.merge import merge

STEP = 30
"""Milliseconds of quiet that end an edit."""
LONGEST = 120
"""Milliseconds after which an edit that does not end is looked at all the same."""
GRACE = 120
"""Milliseconds that a file may be broken or gone before that counts."""

_log = structlog.get_logger(__name__)

__all__ = ["GRACE", "LONGEST", "STEP", "merge", "watch"]


async def watch(given: Sequence[Path]) -> AsyncIterator[model.Loaded]:
    """What the paths hold: at once, and after each change that makes a difference.

    Ends only when closed. A fault of form keeps the objects that it concerns as they were (see `merge`).
    """
    cache, last = manifests.Cache(), None
    stop = threading.Event()
    try:
        while True:
            watched = _Watched.start(_folders(given), stop)
            if watched is None:
                await asyncio.sleep(STEP / 1000)
                continue
            while True:
                loaded = await asyncio.to_thread(_settled, given, cache, last, watched)
                if loaded != last:
                    last = loaded
                    yield loaded
                if watched.is_stale(given):
                    break  # watch the new folders, then read again: they may have been filled meanwhile
                await asyncio.to_thread(watched.wait, None)
                if watched.is_stale(given):
                    break
    finally:
        stop.set()


class _Watched:
    """Folders under watch, until one of them is replaced."""

    def __init__(self, folders: frozenset[str], notify: RustNotify, stop: threading.Event) -> None:
        self._folders = folders
        self._notify = notify
        self._stop = stop
        self._lost = False

    @classmethod
    def start(cls, folders: frozenset[str], stop: threading.Event) -> "_Watched | None":
        """None when one of the folders has just gone. Polls where the system cannot notify."""
        ordered = sorted(folders)
        try:
            try:
                return cls(folders, RustNotify(ordered, False, False, 0, False, True), stop)
            except (OSError, WatchfilesRustInternalError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                _log.warning("no file notifications, looking every 200 ms", reason=str(error))
                return cls(folders, RustNotify(ordered, False, True, 200, False, True), stop)
        except FileNotFoundError:
            return None

    def wait(self, longest: int | None) -> bool:
        """Wait for an edit to end, or `longest` milliseconds for one to begin; False when none came."""
        changes = self._notify.watch(LONGEST, STEP, longest or 0, self._stop)
        if not isinstance(changes, set):
            return False
        self._lost |= any(kind == Change.deleted and path in self._folders for kind, path in changes)
        return True

    def is_stale(self, given: Sequence[Path]) -> bool:
        """Whether other folders are to be watched now, or one was replaced by another of its name."""
        return self._lost or _folders(given) != self._folders


def _settled(
    given: Sequence[Path], cache: manifests.Cache, last: model.Loaded | None, watched: _Watched
) -> model.Loaded:
    """Read; when something seems lost, wait for the rest of the edit and read again. Bounded."""
    loaded = manifests.load(given, cache)
    if last is None:
        return loaded
    for _ in range(3):
        if not _worse(last, loaded) or not watched.wait(GRACE):
            break
        loaded = manifests.load(given, cache)
    return merge(last, loaded)


def _worse(last: model.Loaded, now: model.Loaded) -> bool:
    present = {located.ref for located in now.objects}
    lost = any(located.ref not in present for located in last.objects)
    return lost or not set(now.broken) <= set(last.broken)


def _folders(given: Sequence[Path]) -> frozenset[str]:
    """Every folder, links resolved, where something can appear, change or vanish that these paths mean."""
    return frozenset(folder for path in given for folder in _folders_of(path))


def _folders_of(path: Path) -> Iterator[str]:
    above = Path(os.path.abspath(path)).parent
    while not above.is_dir():
        above = above.parent
    yield os.path.realpath(above)
    if path.is_symlink():
        yield _folder_of_target(path)
    if not path.is_dir():
        return
    for folder, names in paths.walk(path):
        yield os.path.realpath(folder)
        for name in names:
            file = Path(folder) / name
            if file.is_symlink():
                yield _folder_of_target(file)


def _folder_of_target(path: Path) -> str:
    folder = Path(os.path.realpath(path)).parent
    while not folder.is_dir():
        folder = folder.parent
    return str(folder)
