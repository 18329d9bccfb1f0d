"""How many requests may be made, as Envoy-neutral values: what a RateLimit becomes."""

import enum

import msgspec

from retic import findings
from retic.mesh import route

DOMAIN, KEY, MATCH = "retic", "limit", "match"
"""Words of the question about a global limit: its domain, the key of the entry with the limit's name, and the key of
entries that say nothing but that a condition held."""


class Scope(enum.Enum):
    """Where a limit is counted: in each proxy by itself, or in one place for all of them."""

    LOCAL = "Local"
    GLOBAL = "Global"


class Followed(msgspec.Struct, frozen=True, order=True):
    """A rule of a route by its place."""

    origin: findings.Ref
    number: int


class Limit(msgspec.Struct, frozen=True):
    """`requests` in `seconds`, by whoever differs in `identity` (the service account that calls), `headers` (names in
    lower case) or `address`. `burst` is what a local bucket holds.

    A request counts when one of `matches` holds (() for all requests) and it was sent to one of the pod's `ports` and
    by one of the rules `followed` (() for all). `dry_run`: counted and not refused. `fail_closed`: refused when it
    cannot be counted. `number` is the limit's place in its object.
    """

    origin: findings.Ref
    number: int
    requests: int
    seconds: int
    burst: int
    identity: bool = False
    headers: tuple[str, ...] = ()
    address: bool = False
    matches: tuple[route.Match, ...] = ()
    scope: Scope = Scope.LOCAL
    dry_run: bool = False
    fail_closed: bool = False
    ports: tuple[int, ...] = ()
    followed: tuple[Followed, ...] = ()

    @property
    def name(self) -> str:
        """Whose counter it is, in proxies and in the store of global limits; `named` undoes it."""
        return f"{self.origin.namespace}/{self.origin.name}/{self.number}"

    @property
    def alone(self) -> bool:
        """Whether all callers share one bucket."""
        return not (self.identity or self.headers or self.address)


class Named(msgspec.Struct, frozen=True):
    """A limit's name taken apart."""

    namespace: str
    name: str
    number: int


def named(text: str) -> Named | None:
    """What `Limit.name` says; None for a text that is none."""
    parts = text.split("/")
    if len(parts) != 3 or not all(parts) or not parts[2].isdecimal() or len(parts[2]) > 4:
        return None
    return Named(parts[0], parts[1], int(parts[2]))
