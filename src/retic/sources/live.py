"""Manifests as they change on disk: one complete `Loaded` after every edit, the last good state kept.

Watches folders, never files, so that editors which replace a file by rename are seen, as are files and
folders that do not exist yet. An edit that only adds or changes is given out as soon as the disk is quiet for
`STEP` milliseconds; one that removes or breaks something waits `GRACE` more, for it may be half written. A
path that is gone altogether may come back: until then all that it held stays, and a finding says so.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
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
LOOK = 1000
"""Milliseconds after which paths are looked at unasked: nobody tells of a folder further up that was moved, or of
a link on the way that was switched."""

_log = structlog.get_logger(__name__)

__all__ = ["GRACE", "LONGEST", "LOOK", "STEP", "merge", "watch"]


async def watch(given: Sequence[Path]) -> AsyncIterator[model.Loaded]:
    """What the paths hold: at once, and after each change that makes a difference.

    Ends only when closed. A fault of form keeps the objects that it concerns as they were (see `merge`).
    """
    cache, last = manifests.Cache(), None
    stop = threading.Event()
    try:
        while True:
            watched = _Watched.start(given, stop)
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
                await asyncio.to_thread(watched.edit, given)
                if watched.is_stale(given):
                    break
    finally:
        stop.set()


class _Folder(msgspec.Struct, frozen=True):
    """A folder, links resolved; another one of its name is not the same."""

    path: str
    device: int
    inode: int


class _Watched:
    """Folders under watch, until one of them is replaced."""

    def __init__(self, given: Sequence[Path], stop: threading.Event) -> None:
        """FileNotFoundError when a folder has just gone. Polls where the system cannot notify."""
        self._stop = stop
        self._lost = False
        self._places = _places(given)
        self._folders = _folders(given)
        ordered = sorted(folder.path for folder in self._folders)
        try:
            self._notify = RustNotify(ordered, False, False, 0, False, True)
        except (OSError, WatchfilesRustInternalError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            _log.warning("no file notifications, looking every 200 ms", reason=str(error))
            self._notify = RustNotify(ordered, False, True, 200, False, True)

    @classmethod
    def start(cls, given: Sequence[Path], stop: threading.Event) -> "_Watched | None":
        """None when one of the folders has just gone."""
        try:
            return cls(given, stop)
        except FileNotFoundError:
            return None

    def edit(self, given: Sequence[Path]) -> None:
        """Wait for an edit to end, or until a path leads elsewhere."""
        while not self.wait(LOOK) and not self._stop.is_set() and _places(given) == self._places:
            pass

    def wait(self, longest: int) -> bool:
        """Wait for an edit to end, or `longest` milliseconds for one to begin; False when none came."""
        changes = self._notify.watch(LONGEST, STEP, longest, self._stop)
        if not isinstance(changes, set):
            return False
        watched = {folder.path for folder in self._folders}
        self._lost |= any(kind == Change.deleted and path in watched for kind, path in changes)
        return True

    def is_stale(self, given: Sequence[Path]) -> bool:
        """Whether other folders are to be watched now, or one was replaced by another of its name."""
        return self._lost or _places(given) != self._places or _folders(given) != self._folders


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


def _places(given: Sequence[Path]) -> list[_Folder | None]:
    """The folder that each path leads into, whatever is on the way; None when there is none."""
    return [_identity(str(path) if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))) for path in given]


def _folders(given: Sequence[Path]) -> frozenset[_Folder]:
    """Every folder where something can appear, change or vanish that these paths mean.

    One that may not be read is left out: the folder around it tells when that changes.
    """
    paths_of = {folder for path in given for folder in _folders_of(path)}
    found = (_identity(path) for path in paths_of if os.access(path, os.R_OK))
    return frozenset(folder for folder in found if folder is not None)


def _identity(path: str) -> _Folder | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return _Folder(path, status.st_dev, status.st_ino)


def _folders_of(path: Path) -> Iterator[str]:
    yield _nearest(os.path.dirname(os.path.abspath(path)))
    if os.path.islink(path):
        yield _nearest(os.path.dirname(os.path.realpath(path)))
    if not os.path.isdir(path):
        return
    for folder, names in paths.walk(path):
        yield os.path.realpath(folder)
        for name in names:
            file = os.path.join(folder, name)
            if os.path.islink(file):
                yield _nearest(os.path.dirname(os.path.realpath(file)))


def _nearest(folder: str) -> str:
    """This folder, links resolved, or the nearest around it that is there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return os.path.realpath(folder)
