"""A user's own authority as files: read strictly, with every fault named by file, and the key never quoted."""

import datetime
import os
import pathlib
import stat

import msgspec

from retic.identity import pairs
from retic.identity.chains import Called, FaultyError

LONGEST = 1 << 20  # bytes of one file


class Files(msgspec.Struct, frozen=True):
    """Absolute paths. `certificate` is the signer's own and, behind it, what leads to a root; `roots` "": the
    self-signed certificate at its end is the root."""

    certificate: str
    key: str
    roots: str = ""

    @property
    def paths(self) -> tuple[pathlib.Path, ...]:
        """All that there are."""
        return tuple(pathlib.Path(each) for each in (self.certificate, self.key, self.roots) if each)

    def read(self, now: datetime.datetime, trust_domain: str) -> pairs.Pair:
        """What is in them. FaultyError when it cannot sign at that time, in that trust domain."""
        chain, key = content(self.certificate), content(self.key, private=True)
        roots = content(self.roots) if self.roots else b""
        called = Called(self.certificate, self.key, self.roots or "the file of the root (--ca-root)")
        return pairs.checked(chain, key, roots, now, trust_domain, called)


def content(path: str, *, private: bool = False) -> bytes:
    """A file's bytes. FaultyError when it cannot be read, is too long, or is `private` and open to others."""
    try:
        # Not waiting: a named pipe may have nobody at its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FaultyError(f"{path} is not a file: write it to one, which the mesh can follow")
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise FaultyError(f"{path}: {(error.strerror or 'cannot be read').lower()}: give a file in PEM") from error
    mode = stat.S_IMODE(status.st_mode)
    if len(text) > LONGEST:
        raise FaultyError(f"{path} has more than {LONGEST} bytes: give a file in PEM")
    if private and mode & 0o077:
        raise FaultyError(f"{path} holds a private key and is open to others (mode {mode:04o}): chmod 600 {path}")
    return text
