"""What is told of a failed request; field names are those of the JSON that the command prints.

All texts of clients (path, host, method) are without query, and with what is not printable escaped: a terminal does
what it reads.
"""

import msgspec

from retic.explain.request.answer import Judged, Place, Step

MOST = 200
"""So many characters of a text that a client chose are shown."""
MOST_OF_STEP = 2000
"""And so many of a step, which may quote it."""


class Party(msgspec.Struct, frozen=True):
    """Who called, or was called: `workload` and `service` are namespace/name, `identity` a SPIFFE ID, `pod`
    namespace/name, `address` IP:PORT; each "" when not known."""

    workload: str = ""
    pod: str = ""
    identity: str = ""
    service: str = ""
    address: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What one proxy says. `side` is outbound or gateway (the caller's proxy), inbound or plaintext (the called
    pod's); `time` is RFC 3339; `status` None when nothing was answered; `details` and `flags` are Envoy's words.

    `policy` or `route` decided, None when neither did; `steps` tell what stood behind, `change` what to change.
    """

    id: str
    code: str
    title: str
    time: str
    proxy: str
    side: str
    protocol: str
    caller: Party
    called: Party
    status: int | None = None
    ms: float = 0.0
    method: str = ""
    host: str = ""
    path: str = ""
    attempts: int = 0
    flags: tuple[str, ...] = ()
    details: str = ""
    policy: Judged | None = None
    route: Place | None = None
    steps: tuple[Step, ...] = ()
    change: str = ""
    url: str = ""


class Told(msgspec.Struct, frozen=True):
    """`seen` has what made the answer first, then what other proxies say of the same request."""

    id: str
    seen: tuple[Seen, ...]


class Listed(msgspec.Struct, frozen=True):
    """The newest that failed. `unanswered` names proxies whose agents did not answer."""

    seen: tuple[Seen, ...]
    unanswered: tuple[str, ...] = ()


def plain(text: str, *, most: int = MOST) -> str:
    """A text that a client chose, for a terminal: no control characters, nothing invisible, not too long."""
    shown = "".join(each if each.isprintable() else _escaped(each) for each in text[: most + 1])
    return shown if len(text) <= most else f"{shown[:most]}..."


def path(text: str) -> str:
    """A path without its query or fragment."""
    return plain(text.partition("?")[0].partition("#")[0])


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
