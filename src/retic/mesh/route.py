"""A route as Envoy-neutral values: what every route API (HTTPRoute, GRPCRoute, later others) becomes.

The order of a table's rules is their precedence; `precedence` is the one sorter.
"""

import enum

import msgspec

from retic import findings


class PathKind(enum.Enum):
    """How a path is compared. `PREFIX` is by path element: `/foo` matches `/foo/x`, never `/foobar`."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"


class Path(msgspec.Struct, frozen=True):
    """A condition on the path, without the query."""

    kind: PathKind = PathKind.PREFIX
    value: str = "/"


class Condition(msgspec.Struct, frozen=True):
    """A condition on a header or a query parameter. A regular expression must match all of the value."""

    name: str
    value: str
    regex: bool = False


class Match(msgspec.Struct, frozen=True):
    """Conditions that must all hold."""

    path: Path = Path()
    method: str | None = None
    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    grpc: bool = False


class Edit(msgspec.Struct, frozen=True):
    """Changes to headers: `set` replaces, `add` appends, `remove` takes away."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


class PathChange(msgspec.Struct, frozen=True):
    """A new path: all of it, or in place of the prefix that matched."""

    value: str
    prefix: bool


class Redirect(msgspec.Struct, frozen=True):
    """An answer that sends the client elsewhere; None keeps what the request had."""

    status: int
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: PathChange | None = None


class Rewrite(msgspec.Struct, frozen=True):
    """Another host or path towards the backend."""

    host: str | None = None
    path: PathChange | None = None


class Retries(msgspec.Struct, frozen=True):
    """How often a request is tried again, and when.

    `attempts` are those after the first; 0 is none. `on` are Envoy-neutral reasons in the words of the APIs
    ("connect-failure", "reset", "refused-stream", "5xx", "gateway-error", "retriable-4xx", gRPC's status names);
    `codes` are HTTP status codes. Times are seconds; None leaves them to the mesh.
    """

    attempts: int
    on: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    try_timeout: float | None = None
    backoff: float | None = None
    budget: float | None = None


class Backend(msgspec.Struct, frozen=True):
    """One destination of a rule. `port` 0 stands for a backend that cannot be resolved: answered with 500.

    `subset` is a DestinationRule's, "" for all of the Service.
    """

    namespace: str
    name: str
    port: int
    weight: int
    request: Edit = Edit()
    response: Edit = Edit()
    subset: str = ""


class Rule(msgspec.Struct, frozen=True):
    """One match and what follows from it. `origin` and `number` say where it stands in the user's objects.

    `retries` None: the mesh's own for requests that may safely be sent twice.
    """

    origin: findings.Ref
    number: int
    match: Match
    backends: tuple[Backend, ...] = ()
    request: Edit = Edit()
    response: Edit = Edit()
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[tuple[Backend, float], ...] = ()
    timeout: float | None = None
    retries: Retries | None = None
    broken: bool = False


class Table(msgspec.Struct, frozen=True):
    """The rules of one host (gateways) or of one virtual address (mesh), in order of precedence."""

    domains: tuple[str, ...]
    rules: tuple[Rule, ...]


_PATH_ORDER = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2}


def precedence(match: Match, age: str, name: str, number: int) -> tuple[object, ...]:
    """The sort key of a match: smaller goes first (Gateway API, HTTPRouteRule.matches).

    Exact paths, then regular expressions (left open by the specification), then the longest prefix; then a
    method; then more headers; then more query parameters; then the older route; then `namespace/name`; then
    the order within the route.
    """
    return (
        _PATH_ORDER[match.path.kind],
        -len(match.path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query),
        age,
        name,
        number,
    )
