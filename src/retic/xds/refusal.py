"""Which resources a NACK's message names. Refuses to guess: what is not clearly a name is none."""

import re
from collections.abc import Iterable

_LISTED = re.compile(r"Error adding/updating (?:listener|cluster)\(s\) ")


def named(message: str, names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that the message says are bad.

    Envoy's messages for listeners and clusters are `Error adding/updating listener(s) NAME: reason`, further
    ones after a line break or a comma; there a name counts only as the head of an entry. In other messages
    it counts where it stands as a word of its own.
    """
    listed = _LISTED.search(message)
    if listed:
        rest = message[listed.end() :]
        return frozenset(name for name in names if _heads(name, rest))
    return frozenset(name for name in names if _word(name, message))


def _heads(name: str, entries: str) -> bool:
    return re.search(rf"(?:\A|\n|, ){re.escape(name)}: ", entries) is not None


def _word(name: str, message: str) -> bool:
    return re.search(rf"(?<![\w/.:-]){re.escape(name)}(?![\w/-]|[.:]\w)", message) is not None
