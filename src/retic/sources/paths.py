"""The files behind the paths that a user gave, their bytes, and why a path cannot be read.

Folders are read recursively, in order of name: *.yaml, *.yml and *.json, hidden ones left out. A path that
is named explicitly is read whatever it is called. Only regular files are opened: a named pipe would block
for good, and a device may never end.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from retic.sources import documents

STANDARD_INPUT = Path("-")
"""What this path means, as with kubectl; it can be read once."""

_ENDINGS = frozenset({".yaml", ".yml", ".json"})
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"), (stat.S_ISDIR, "a folder that cannot be listed"),
)  # fmt: skip


def absent(paths: Sequence[Path]) -> list[Path]:
    """Those at which there is nothing; what is there but cannot be read is none of them."""
    return [path for path in paths if path != STANDARD_INPUT and _is_absent(path)]


def _is_absent(path: Path) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """The manifest files behind these paths, as the user wrote them, each once.

    Paths that are missing, and folders that cannot be listed, as they are: `read` says why.
    """
    seen: set[str] = set()
    for path in paths:
        is_folder = path != STANDARD_INPUT and os.path.isdir(path)
        for file in _folder(path) if is_folder else [path]:
            real = os.path.realpath(file)
            if real not in seen:
                seen.add(real)
                yield file


def _folder(path: Path) -> Iterator[Path]:
    closed: list[Path] = []
    for folder, names in walk(path, lambda error: closed.append(Path(error.filename))):
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _ENDINGS:
                yield Path(folder) / name
    yield from closed


def walk(path: Path, failed: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Every folder from `path` down with its file names, sorted; hidden ones and loops left out."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(path, onerror=failed, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        real = os.path.realpath(folder)
        if real in seen:
            inner[:] = []
            continue
        seen.add(real)
        yield folder, sorted(names)


def read(file: Path) -> bytes:
    """The bytes; of a file that is too big only so many that `documents` refuses it. Raises OSError."""
    if file == STANDARD_INPUT:
        with open(0, "rb", closefd=False) as stream:
            return stream.read(documents.MAX_BYTES + 1)
    status = os.stat(file)
    if stat.S_ISDIR(status.st_mode):
        os.listdir(file)  # says why it could not be listed
    _regular(status)
    with open(file, "rb", opener=_opened) as stream:
        _regular(os.fstat(stream.fileno()))
        return stream.read(documents.MAX_BYTES + 1)


def _opened(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)


def _regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = next((what for is_it, what in _KINDS if is_it(status.st_mode)), "no file")
        raise OSError(errno.EINVAL, f"it is {what}")


def why_not(file: Path, error: OSError) -> tuple[str, str]:
    """Why `read` failed, and what to do."""
    if not isinstance(error, FileNotFoundError):
        return f"this path cannot be read: {error.strerror}", "make it a readable file, or leave it out"
    if os.path.islink(file):
        return f"this link leads to {os.readlink(file)}, which does not exist", "correct the link, or remove it"
    return "this path does not exist", "correct the path, or create the file"
