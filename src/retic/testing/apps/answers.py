"""What the HTTP echo servers answer, whatever version of HTTP carried the request.

/status/N      answers with status N                /delay/MS   answers after MS milliseconds
/bytes/N       answers with N bytes                 /stream/N   answers in N pieces, 20 ms apart
/close         closes without an answer             any other   JSON of what was seen
/only/NAME/... as the rest of the path says, at the server of that name; at others as any other path
/cut/N         closes within an answer of N bytes (HTTP/1 only)
"""

import json
from collections.abc import Mapping

import msgspec

from retic.testing.apps import start


class Request(msgspec.Struct, frozen=True):
    """What arrived. Header names are lower case; repeated headers are joined with ", "."""

    method: str
    target: str
    protocol: str
    headers: Mapping[str, str]
    body_bytes: int
    chunks: int
    peer: str
    number: int
    """Which request of its connection this is, from 1."""


class Reply(msgspec.Struct, frozen=True):
    """What to send: `pieces` more than one means streamed; `delay` in seconds before the first byte."""

    status: int
    pieces: tuple[bytes, ...]
    content_type: str = "application/json"
    delay: float = 0.0
    close: bool = False
    """Close the connection without any answer."""
    cut: bool = False
    """Close the connection before the whole answer is sent."""


_PIECE_MS = 20
PIECE_SECONDS = _PIECE_MS / 1000


def seen(request: Request, identity: start.Identity) -> bytes:
    """The JSON that says what arrived and who answers."""
    path, _, query = request.target.partition("?")
    facts = {
        "name": identity.name,
        "version": identity.version,
        "method": request.method,
        "path": path,
        "query": query,
        "protocol": request.protocol,
        "headers": dict(request.headers),
        "body_bytes": request.body_bytes,
        "chunks": request.chunks,
        "peer": request.peer,
        "request_of_connection": request.number,
    }
    return json.dumps(facts).encode() + b"\n"


def reply(request: Request, identity: start.Identity) -> Reply:
    """Decide the answer by the first two segments of the path."""
    segments = request.target.partition("?")[0].strip("/").split("/")
    if segments[0] == "only" and len(segments) > 1:
        segments = segments[2:] if segments[1] == identity.name and len(segments) > 2 else [""]
    what = segments[0]
    amount = int(segments[1]) if len(segments) > 1 and segments[1].isdecimal() else None
    body = seen(request, identity)
    if what == "close":
        return Reply(0, (), close=True)
    if amount is None:
        return Reply(200, (body,))
    match what:
        case "status" if 200 <= amount <= 599:
            return Reply(amount, () if amount in (204, 304) else (body,))
        case "delay":
            return Reply(200, (body,), delay=amount / 1000)
        case "bytes":
            return Reply(200, (b"x" * amount,), "application/octet-stream")
        case "cut":
            return Reply(200, (b"x" * amount,), "application/octet-stream", cut=True)
        case "stream" if amount > 0:
            return Reply(200, tuple(b"%d\n" % number for number in range(amount)), "text/plain")
    return Reply(200, (body,))
