"""What the two external authorizers decide, by a request's header `x-decide`: anything but these is refused.

allow     lets it pass                        slow      lets it pass, after 10 s
deny      refuses with 401, a body, a header  garbage   answers with what is no answer
"""

import msgspec


class Asked(msgspec.Struct, frozen=True):
    """What an authorizer was asked about. `headers` have names in lower case; `by` is who asks, as the mesh says it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    caller: str
    by: str


class Verdict(msgspec.Struct, frozen=True):
    """`upstream` are headers for the application, `downstream` for the client. `delay` is in seconds."""

    status: int
    upstream: dict[str, str] = {}
    downstream: dict[str, str] = {}
    body: str = ""
    delay: float = 0.0
    garbage: bool = False


_SLOW_SECONDS = 10.0


def decide(asked: Asked, name: str) -> Verdict:
    """The verdict of the authorizer of that name. What it allows is told who it is, and what was seen of it."""
    what = asked.headers.get("x-decide", "")
    if what == "garbage":
        return Verdict(200, garbage=True)
    if what not in ("allow", "slow"):
        reason = what or "nothing"
        return Verdict(401, downstream={"x-reason": reason}, body=f"{name} refuses {asked.method} {asked.path}\n")
    seen = {
        "x-user": f"user-of-{name}",
        "x-seen-body": f"{len(asked.body)}",
        "x-seen-caller": asked.caller or "-",
        "x-seen-by": asked.by or "-",
        "x-seen-headers": ",".join(sorted(key for key in asked.headers if key.startswith("x-"))),
    }
    said = {"x-decision": f"{name} allows, asked by {asked.by or '-'}"}
    return Verdict(200, seen, said, delay=_SLOW_SECONDS if what == "slow" else 0.0)
