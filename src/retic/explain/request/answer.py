"""What is asked about a request, and what is answered; field names are those of the JSON that the command prints."""

from typing import Any

import msgspec


class Unclear(Exception):  # noqa: N818
    """The question names something that is not there or cannot be explained; the text says what to write."""


class Asked(msgspec.Struct, frozen=True):
    """One request.

    `source`: who sends it (deploy/web, pod/x, gateway/x, sa/x), "" for somebody outside who calls a gateway. `target`:
    NAME:PORT, IP:PORT or a URL of a gateway. `path` may have a query. `headers` as they are written, in order.
    `address`: where it comes from, "" for the address of the source. `claims`: of a valid token, None without one.
    `tcp`: a connection that carries no HTTP; method, path and headers mean nothing then.
    """

    source: str
    target: str
    namespace: str = "default"
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    address: str = ""
    claims: dict[str, Any] | None = None
    tcp: bool = False


class Place(msgspec.Struct, frozen=True):
    """An object and where it is written; file "" and line 0 when it is in no file."""

    object: str
    file: str = ""
    line: int = 0


class Judged(msgspec.Struct, frozen=True):
    """The policy that decided."""

    object: str
    action: str
    file: str = ""
    line: int = 0


class Backend(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Service port that may get the request, or a subset of it ("" for all). `weight` is its share in a hundred."""

    service: str
    port: int
    weight: float
    subset: str = ""


class Step(msgspec.Struct, frozen=True):
    """One decision on the way. `what` is a word such as `route` or `policy`; `object` "" when none stands behind it."""

    what: str
    text: str
    object: str = ""
    file: str = ""
    line: int = 0


class Answer(msgspec.Struct, frozen=True):
    """`allowed`: no policy and no mode refuses the request, wherever it may be sent. `status`: what a proxy answers
    itself, None when the application (or, on TCP, nobody) does."""

    allowed: bool
    status: int | None
    backends: tuple[Backend, ...]
    route: Place | None
    policy: Judged | None
    steps: tuple[Step, ...]


class Outcome(msgspec.Struct, frozen=True):
    """One way that the request may end: by the drawn backend and endpoint.

    `service` and `pod` are "ns/name", "" where there is none; `location` is a redirect's. `seen` is the head of the
    request as the application gets it: target, authority and headers; None when nobody looked into it.
    """

    allowed: bool
    status: int | None
    service: str = ""
    pod: str = ""
    location: str = ""
    policy: Judged | None = None
    seen: tuple[str, str, tuple[tuple[str, str], ...]] | None = None


class Decision(msgspec.Struct, frozen=True):
    """The answer, and every way that the request may end."""

    answer: Answer
    outcomes: tuple[Outcome, ...]
