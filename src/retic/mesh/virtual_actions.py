"""The parts of a VirtualService's route that need no other object: header changes, paths, answers, faults, CORS."""

import re

import msgspec
import re2

from retic.mesh import route, translation
from retic.objects import virtual_services as vs

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_LEAST = 0.001  # what Istio's own validation asks of durations

# What Istio tries again on when a route does not say (HTTPRetry, retryOn).
_RETRIED = ("connect-failure", "refused-stream", "unavailable", "cancelled")
_REASONS = frozenset((
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
    "unavailable",
))  # fmt: skip

# google.rpc.Code, by the names that a route has.
_GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_COMMAND = re.compile(r"%[A-Z_]+(\(.*?\))?(:[0-9]+)?%")


def seconds(duration: str) -> float:
    """The length of a duration that has the right form."""
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9.]+)(ms|us|ns|h|m|s)", duration))


def _positive(notes: translation.Notes, duration: str | None, path: str) -> float | None:
    """None, and a fault, for one that is shorter than a millisecond."""
    if duration is None:
        return None
    length = seconds(duration)
    if length < _LEAST:
        notes.add(
            "RT0547", path,
            f"{duration} is less than a millisecond: it is as if it were not there", "write 1ms or more",
        )
        return None
    return length


class Headers(msgspec.Struct, frozen=True):
    """Changes of headers; `host` is what a change of the host comes to."""

    request: route.Edit = route.Edit()
    response: route.Edit = route.Edit()
    host: str | None = None


def headers(notes: translation.Notes, given: vs.Headers | None, path: str, *, whole: bool) -> Headers:
    """What a route's, or (not `whole`) a destination's, `headers` come to."""
    given = given or vs.Headers()
    host: str | None = None
    edits = []
    for name, operations in (("request", given.request), ("response", given.response)):
        where = f"{path}.{name}"
        edit = _edit(notes, operations or vs.HeaderOperations(), where)
        meant = dict(edit.set)
        found = meant.pop("host", None) or meant.pop(":authority", None)
        if found is not None and name == "request" and whole:
            host = found
        kept = route.Edit(
            tuple((k, v) for k, v in edit.set if _plain(notes, k, f"{where}.set", quiet=host is not None)),
            tuple((k, v) for k, v in edit.add if _plain(notes, k, f"{where}.add")),
            tuple(k for k in edit.remove if _plain(notes, k, f"{where}.remove")),
        )
        edits.append(kept)
    return Headers(edits[0], edits[1], host)


def _plain(notes: translation.Notes, name: str, path: str, *, quiet: bool = False) -> bool:
    """Whether a header can be changed as one: the host is none (Envoy, HeaderMutation)."""
    if name not in ("host", ":authority"):
        return True
    if not quiet:
        notes.add("RT0547", path, f"{name} is not changed here", "write rewrite.authority in the route")
    return False


def _edit(notes: translation.Notes, operations: vs.HeaderOperations, path: str) -> route.Edit:
    for name, given in (("set", operations.set), ("add", operations.add)):
        for key, value in given.items():
            if _COMMAND.search(value):
                notes.add(
                    "RT0547", f"{path}.{name}.{key}", f"{value!r} is written as it stands: nothing is put in its place",
                    "write a value that does not depend on the request",
                )
    return route.Edit(
        tuple((k.lower(), v) for k, v in operations.set.items()),
        tuple((k.lower(), v) for k, v in operations.add.items()),
        tuple(k.lower() for k in operations.remove),
    )


def redirect(given: vs.HTTPRedirect, port: int, scheme: str) -> route.Redirect:
    """`port` and `scheme` are those that the request came by, for a port that is derived from it."""
    number = given.port
    if given.derive_port == "FROM_REQUEST_PORT":
        number = port or None
    if number == {"http": 80, "https": 443}[given.scheme or scheme]:
        number = None
    change = route.PathChange(given.uri, prefix=False) if given.uri else None
    return route.Redirect(given.redirect_code or 301, given.scheme, given.authority or None, number, change, bare=True)


def rewrite(
    notes: translation.Notes, given: vs.HTTPRewrite | None, host: str | None, path: str
) -> route.Rewrite | None:
    """The path's change is for a match that begins with a prefix; `fitted` makes it right for others. `host` is one
    that headers set."""
    if given is None:
        return route.Rewrite(host=host) if host else None
    change: route.PathChange | None = None
    if given.uri:
        change = route.PathChange(given.uri, prefix=True, joined=False)
    elif (regex := given.uri_regex_rewrite) is not None:
        fault = translation.regex_fault(regex.match)
        if fault:
            where = f"{path}.uriRegexRewrite.match"
            notes.add("RT0207", where, f"RE2 does not accept {regex.match!r}: {fault}", "correct it")
        elif _substitutes(regex.rewrite or "", regex.match):
            change = route.PathChange(regex.rewrite or "", prefix=False, joined=False, pattern=regex.match)
        else:
            notes.add(
                "RT0547", f"{path}.uriRegexRewrite.rewrite",
                f"{regex.rewrite!r} names a group that {regex.match!r} has not: "
                "the path stays", "write \\1 for the first group, and \\\\ for a backslash",
            )
    authority = given.authority or host
    return route.Rewrite(authority or None, change) if authority or change else None


def _substitutes(text: str, pattern: str) -> bool:
    """Whether RE2 can put it in the place of a match: a backslash stands before a group's number or itself."""
    groups = re2.compile(pattern).groups
    left = re.sub(r"\\([0-9\\])", lambda m: "" if m[1] == "\\" or int(m[1]) <= groups else m[0], text)
    return "\\" not in left


def fitted(given: route.Rewrite | None, matched: route.Path) -> route.Rewrite | None:
    """As it is for a match: only a prefix leaves a rest behind."""
    if given is None or given.path is None or not given.path.prefix or matched.kind is route.PathKind.START:
        return given
    return msgspec.structs.replace(given, path=route.PathChange(given.path.value, prefix=False))


def answer(given: vs.HTTPDirectResponse) -> route.Answer:
    """An answer of the proxy's own."""
    body = given.body or vs.HTTPBody()
    return route.Answer(given.status, body.bytes_ if body.bytes_ is not None else (body.string or "").encode())


def retries(notes: translation.Notes, given: vs.HTTPRetry, path: str) -> route.Retries:
    """How often, when, and after how long."""
    words = [word.strip() for word in (given.retry_on or ",".join(_RETRIED)).split(",") if word.strip()]
    codes = tuple(int(word) for word in words if word.isdecimal() and 100 <= int(word) <= 599)
    reasons = tuple(dict.fromkeys(word for word in words if word in _REASONS))
    for word in words:
        if word not in reasons and not (word.isdecimal() and int(word) in codes) and word != "retriable-status-codes":
            known = ", ".join(sorted(_REASONS))
            notes.add(
                "RT0547", f"{path}.retryOn", f"{word!r} is no reason to try again: it is passed over", f"use {known}",
            )
    if given.retry_remote_localities:
        notes.add(
            "RT0548", f"{path}.retryRemoteLocalities",
            "a request is tried again in whatever zone has the next endpoint",
            "remove retryRemoteLocalities",
        )
    if given.retry_ignore_previous_hosts is False:
        notes.add(
            "RT0548", f"{path}.retryIgnorePreviousHosts", "which endpoints were tried is the mesh's own business",
            "remove retryIgnorePreviousHosts",
        )
    return route.Retries(
        attempts=2 if given.attempts is None else given.attempts,
        on=reasons,
        codes=codes,
        try_timeout=_positive(notes, given.per_try_timeout, f"{path}.perTryTimeout"),
        backoff=_positive(notes, given.backoff, f"{path}.backoff"),
    )


def fault(notes: translation.Notes, given: vs.HTTPFaultInjection, path: str) -> route.Fault | None:
    """Faults on purpose; None, and a fault of the other kind, where nobody would meet them."""
    found = route.Fault(_delay(notes, given.delay, f"{path}.delay"), _abort(notes, given.abort, f"{path}.abort"))
    return found if found.delay or found.abort else None


def _share(
    notes: translation.Notes, given: vs.Percent | None, percent: int | None, path: str
) -> float:
    share = float(percent or 0) if given is None else given.value or 0.0
    if not share:
        notes.add(
            "RT0545", path, "without a percentage above 0 no request meets the fault", "write percentage: {value: 100}",
        )
    return share


def _delay(notes: translation.Notes, given: vs.Delay | None, path: str) -> route.Delay | None:
    if given is None:
        return None
    if given.fixed_delay is None:
        notes.add(
            "RT0548", f"{path}.exponentialDelay", "no request is held back by exponentialDelay", "write fixedDelay",
        )
        return None
    length = _positive(notes, given.fixed_delay, f"{path}.fixedDelay")
    share = _share(notes, given.percentage, given.percent, path)
    return route.Delay(length, share) if length and share else None


def _abort(notes: translation.Notes, given: vs.Abort | None, path: str) -> route.Abort | None:
    if given is None:
        return None
    if given.http2_error is not None:
        notes.add("RT0548", f"{path}.http2Error", "no request is ended by http2Error", "write httpStatus or grpcStatus")
        return None
    share = _share(notes, given.percentage, None, path)
    code: int | None = None
    if given.grpc_status is not None:
        code = _number(given.grpc_status)
        if code is None:
            where = f"{path}.grpcStatus"
            notes.add(
                "RT0547", where, f"{given.grpc_status!r} is no status of gRPC", f"write one of {', '.join(_GRPC)}",
            )
            return None
    return route.Abort(share, given.http_status, code) if share else None


def _number(status: str) -> int | None:
    if status in _GRPC:
        return _GRPC.index(status)
    return int(status) if status.isdecimal() and int(status) < len(_GRPC) else None


def cors(notes: translation.Notes, given: vs.CorsPolicy, path: str) -> route.Cors:
    """What scripts of other origins may do; an origin that cannot be compared is nobody's."""
    origins = [route.Condition("", each) for each in given.allow_origin]
    for i, each in enumerate(given.allow_origins):
        how, value = _origin(each)
        wrong = translation.regex_fault(value) if how is route.How.REGEX else None
        if wrong:
            notes.add(
                "RT0207", f"{path}.allowOrigins[{i}].regex", f"RE2 does not accept {value!r}: {wrong}", "correct it",
            )
        else:
            origins.append(route.Condition("", value, how))
    if given.allow_credentials and any(each.value == "*" and each.how is route.How.EXACT for each in origins):
        notes.add(
            "RT0549", f"{path}.allowCredentials",
            'with credentials and the origin "*" scripts of every site act as the '
            "user who visits it", "name the origins, or leave credentials out",
        )
    return route.Cors(
        origins=tuple(origins),
        methods=given.allow_methods,
        headers=given.allow_headers,
        exposed=given.expose_headers,
        age=None if given.max_age is None else int(seconds(given.max_age)),
        credentials=given.allow_credentials,
        forward=given.unmatched_preflights != "IGNORE",
    )


def _origin(given: vs.StringMatch) -> tuple[route.How, str]:
    if given.exact is not None:
        return route.How.EXACT, given.exact
    if given.prefix is not None:
        return route.How.PREFIX, given.prefix
    return route.How.REGEX, given.regex or ""
