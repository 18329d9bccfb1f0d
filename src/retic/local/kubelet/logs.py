"""What a container writes: one file of bounded size, and the one before it.

`log` holds the container's present life. When it grows past the bound its older half is dropped at a line's
end. When the container starts anew it becomes `previous.log`. Bytes are kept as they came.
"""

import pathlib

BOUND = 10 * 1024 * 1024


class Log:
    """The log folder of one container; `write` is called with what a pipe gave."""

    def __init__(self, folder: pathlib.Path, bound: int = BOUND) -> None:
        """Make the folder. `bound` is in bytes, for each of the two files."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log"
        self.previous = folder / "previous.log"
        self._bound = bound
        self._file = self.path.open("ab", buffering=0)
        self._size = self.path.stat().st_size

    def start(self) -> None:
        """A new life of the container begins: the present log becomes the previous one."""
        if self._size:
            self._file.close()
            self.path.replace(self.previous)
            self._file = self.path.open("ab", buffering=0)
            self._size = 0

    def write(self, data: bytes) -> None:
        """Append `data`; drops the older half when the file would grow past its bound."""
        if self._size + len(data) > self._bound:
            self._halve()
        self._file.write(data[-self._bound :])
        self._size += min(len(data), self._bound)

    def _halve(self) -> None:
        kept = self.path.read_bytes()[-self._bound // 2 :]
        kept = kept[kept.find(b"\n") + 1 :]
        # A new file in the place of the old one: who follows the log by name sees that it was rotated.
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(kept)
        fresh.replace(self.path)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self._size = len(kept)

    def close(self) -> None:
        """Close the file; the log stays on disk."""
        self._file.close()
