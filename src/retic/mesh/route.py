"""A route as Envoy-neutral values: what every route API (HTTPRoute, GRPCRoute, VirtualService) becomes.

The order of a table's rules is their precedence; `precedence` is the one sorter, for APIs that have no order.
"""

import enum

import msgspec

from retic import findings


class PathKind(enum.Enum):
    """How a path is compared. `PREFIX` is by path element: `/foo` matches `/foo/x`, never `/foobar`; `START` is letter
    by letter, and `/foo` matches `/foobar` too."""

    EXACT = "exact"
    PREFIX = "prefix"
    START = "start"
    REGEX = "regex"


class Path(msgspec.Struct, frozen=True):
    """A condition on the path, without the query. `any_case` makes nothing of capitals, except in an expression."""

    kind: PathKind = PathKind.PREFIX
    value: str = "/"
    any_case: bool = False


class How(enum.Enum):
    """How a value is compared. A regular expression must match all of it; `PRESENT` asks for no value."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"


class Condition(msgspec.Struct, frozen=True):
    """A condition on a header or a query parameter.

    `negated`: it holds where the comparison does not; a header that is missing is empty then.
    """

    name: str
    value: str
    how: How = How.EXACT
    negated: bool = False


class Match(msgspec.Struct, frozen=True):
    """Conditions that must all hold. Headers may be `:method`, `:scheme` and `:authority`.

    `sources` are the uids of the pods that may have sent the request, None for every pod.
    """

    path: Path = Path()
    method: str | None = None
    headers: tuple[Condition, ...] = ()
    query: tuple[Condition, ...] = ()
    grpc: bool = False
    sources: tuple[str, ...] | None = None


class Edit(msgspec.Struct, frozen=True):
    """Changes to headers: `set` replaces, `add` appends, `remove` takes away."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)


class PathChange(msgspec.Struct, frozen=True):
    """A new path: all of it, or in place of the prefix that matched.

    `joined` puts slashes right between a new prefix and the rest; without it letters stand where letters stood. With a
    `pattern` all that it matches is replaced, and `\\1` in the value is its first group.
    """

    value: str
    prefix: bool
    joined: bool = True
    pattern: str = ""


class Redirect(msgspec.Struct, frozen=True):
    """An answer that sends the client elsewhere; None keeps what the request had.

    `bare`: only a port that stands here is written; else that of a scheme or of the listener may be.
    """

    status: int
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: PathChange | None = None
    bare: bool = False


class Answer(msgspec.Struct, frozen=True):
    """An answer of the proxy itself."""

    status: int
    body: bytes = b""


class Delay(msgspec.Struct, frozen=True):
    """`share` in a hundred of the requests are held back for so many seconds."""

    seconds: float
    share: float


class Abort(msgspec.Struct, frozen=True):
    """`share` in a hundred of the requests are answered with an error: by HTTP's `status`, or gRPC's number."""

    share: float
    status: int | None = None
    grpc: int | None = None


class Fault(msgspec.Struct, frozen=True):
    """Faults on purpose; a request may be held back and then be answered with the error."""

    delay: Delay | None = None
    abort: Abort | None = None


class Cors(msgspec.Struct, frozen=True):
    """What scripts of other origins may do (Fetch Standard, CORS protocol). `origins` are conditions without a name.

    None and () leave a header out. `age` is in seconds. `forward`: a preflight of another origin goes on.
    """

    origins: tuple[Condition, ...]
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    age: int | None = None
    credentials: bool | None = None
    forward: bool = True


class Rewrite(msgspec.Struct, frozen=True):
    """Another host or path towards the backend."""

    host: str | None = None
    path: PathChange | None = None


IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
"""The methods whose requests may be sent twice (RFC 9110, section 9.2.2)."""


class Retries(msgspec.Struct, frozen=True):
    """How often a request is tried again, and when; whatever its method.

    `attempts` are those after the first; 0 is none. `on` are Envoy-neutral reasons in the words of the APIs
    ("connect-failure", "reset", "refused-stream", "5xx", "gateway-error", "retriable-4xx", gRPC's status names);
    `codes` are HTTP status codes. Neither: when no connection was made, or it ended before an answer. Times are
    seconds; None leaves them to the mesh: `try_timeout` of each attempt, `backoff` of the first pause on the average.
    """

    attempts: int
    on: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    try_timeout: float | None = None
    backoff: float | None = None


class Token(enum.Enum):
    """What a client shows that it belongs to a session."""

    COOKIE = "cookie"
    HEADER = "header"


class Session(msgspec.Struct, frozen=True):
    """Requests with the same token go to the same endpoint, as long as it is there.

    `name` is the cookie's or header's. `lifetime` is a cookie's in seconds, 0 until the client ends its session.
    """

    token: Token
    name: str
    lifetime: float = 0


class Backend(msgspec.Struct, frozen=True):
    """One destination of a rule. `port` 0 stands for a backend that cannot be resolved: answered with `Rule.unable`.

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

    `retries` None: the mesh's own for requests that may safely be sent twice. `unable` is the status of requests for a
    part that cannot be carried out. `field` is where it stands in `origin`, "" where the number says it.
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
    session: Session | None = None
    broken: bool = False
    answer: Answer | None = None
    fault: Fault | None = None
    cors: Cors | None = None
    unable: int = 500
    field: str = ""


class Table(msgspec.Struct, frozen=True):
    """The rules of one host (gateways) or of one virtual address (mesh), in order of precedence."""

    domains: tuple[str, ...]
    rules: tuple[Rule, ...]


_PATH_ORDER = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2, PathKind.START: 2}


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
