"""Which connected client goes by which trust bundle, as the clients say themselves.

A root is taken into use when everybody trusts it: this is how one knows.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator

from retic.identity import attest

_SHA256 = re.compile(r"[0-9a-f]{64}")


def digest(bundle: bytes) -> str:
    """The name of a bundle: its SHA-256 in hex."""
    return hashlib.sha256(bundle).hexdigest()


class Entry:
    """One connection of a client."""

    def __init__(self, bearer: attest.Bearer, changed: Callable[[], None]) -> None:
        self.bearer = bearer
        self.held = ""
        self.issuer = ""
        self._changed = changed

    def __repr__(self) -> str:
        return f"<Entry of {self.bearer.client_id}: {self.held[:12] or 'nothing yet'}>"

    def say(self, held: str, issuer: str = "") -> None:
        """The client goes by that bundle, and all its certificates are that issuer's. What is no SHA-256 counts as
        none."""
        self.held = held if _SHA256.fullmatch(held) else ""
        self.issuer = issuer if _SHA256.fullmatch(issuer) else ""
        self._changed()


class Holdings:
    """The connections there are. `changed` is called when one came, went or said something."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._changed: list[Callable[[], None]] = []

    def on_change(self, call: Callable[[], None]) -> None:
        """Call that, too."""
        self._changed.append(call)

    @contextlib.contextmanager
    def of(self, bearer: attest.Bearer) -> Iterator[Entry]:
        """A connection of that client, as long as the block lasts."""
        entry = Entry(bearer, self._tell)
        self._entries.append(entry)
        self._tell()
        try:
            yield entry
        finally:
            self._entries.remove(entry)
            self._tell()

    def held(self) -> dict[attest.Bearer, str]:
        """What each connected client goes by: the SHA-256 of a bundle, "" before it has said anything."""
        return {entry.bearer: entry.held for entry in self._entries}

    def without(self, bundle: bytes) -> frozenset[str]:
        """The client ids of those connections that do not go by this bundle."""
        wanted = digest(bundle)
        return frozenset(one.bearer.client_id for one in self._entries if one.held != wanted)

    def elsewhere(self, issuer: str) -> frozenset[str]:
        """The client ids of those connections whose certificates are not all that issuer's."""
        return frozenset(one.bearer.client_id for one in self._entries if one.issuer != issuer)

    def _tell(self) -> None:
        for call in self._changed:
            call()
