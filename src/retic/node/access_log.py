"""Where an agent writes its access log: a file that is kept short, or its standard output."""

import pathlib
import sys
from typing import BinaryIO

BOUND = 10 << 20
"""Bytes of the file, and of the one before it, whose name ends in .1."""


class AccessLog:
    """`write` takes whole lines. OSError when the file cannot be had."""

    def __init__(self, path: pathlib.Path | None, *, bound: int = BOUND) -> None:
        self._path = path
        self._bound = bound
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, line: bytes) -> None:
        """One more, at once."""
        if self._path is None:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            return
        file = self._file or self._open(self._path)
        if self._size and self._size + len(line) > self._bound:
            self.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            file = self._open(self._path)
        file.write(line)
        self._size += len(line)

    def _open(self, path: pathlib.Path) -> BinaryIO:
        self._file = file = path.open("ab", buffering=0)
        path.chmod(0o600)
        self._size = path.stat().st_size
        return file

    def close(self) -> None:
        """Leave the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
