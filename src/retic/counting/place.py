"""Where Redis is: an address, and a file with user and password, which is read anew for each connection.

Nothing here holds a password, so nothing can show one.
"""

import pathlib
import urllib.parse

import msgspec

SCHEMES = ("redis", "rediss", "unix")


class PlaceError(ValueError):
    """An address or file of credentials that cannot be used. The message has no secret in it."""


class Place(msgspec.Struct, frozen=True):
    """`url` has no user and no password. `credentials` is a file with PASSWORD, or USER:PASSWORD, in it; or a folder
    with the files `password` and, if there is a user, `username` (as a Secret of kubernetes.io/basic-auth is mounted),
    and `ca.crt` with the roots of its certificate, if they are not the system's."""

    url: str
    credentials: str = ""

    def __str__(self) -> str:
        return f"Redis at {self.url}"

    @property
    def roots(self) -> str:
        """The file of roots; "" for the system's."""
        file = pathlib.Path(self.credentials) / "ca.crt"
        return str(file) if self.credentials and file.is_file() else ""


def read(url: str, credentials: str = "") -> Place:
    """The place that is said. PlaceError, also when the file cannot be read."""
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in SCHEMES or not (parsed.hostname or parsed.path):
        raise PlaceError(
            "the address of Redis must look like redis://HOST:PORT/DATABASE, rediss://HOST:PORT (with TLS) or unix:///PATH"
        )
    if parsed.username or parsed.password or "password" in parsed.query:
        raise PlaceError("the address of Redis must have no user and no password in it: give a file with them")
    found = Place(url, credentials)
    user_and_password(found)
    return found


def user_and_password(where: Place) -> tuple[str, str]:
    """Both as the files have them now, "" for what they do not say. PlaceError."""
    if not where.credentials:
        return "", ""
    path = pathlib.Path(where.credentials)
    try:
        if path.is_dir():
            return _text(path / "username"), _text(path / "password")
        user, colon, password = path.read_text().strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise PlaceError(f"{path}: the password of Redis cannot be read: {reason}") from None
    return (user, password) if colon else ("", user)


def _text(file: pathlib.Path) -> str:
    return file.read_text().strip() if file.exists() else ""
