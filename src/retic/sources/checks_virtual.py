"""Rules between the fields of a VirtualService (networking.istio.io/v1, its reference and Istio's own validation)."""

from collections.abc import Iterator

from retic.objects import virtual_services as vs
from retic.sources import validate
from retic.sources.checks_core import fault

Faults = Iterator[validate.Fault]

MOST_BYTES = 1 << 20
"""The longest body that a proxy answers itself."""

_REDIRECTS = frozenset({None, 301, 302, 303, 307, 308})
_ENDS = ("route", "redirect", "directResponse", "delegate")


def virtual_service(value: vs.VirtualService) -> Faults:
    """A VirtualService."""
    spec = value.spec
    if not spec.hosts and spec.gateways:
        yield fault(
            "spec.gateways", "stands in a VirtualService without hosts, which others delegate to",
            "remove it, or add hosts",
        )
    if not spec.hosts and (spec.tcp or spec.tls):
        name = "tcp" if spec.tcp else "tls"
        yield fault(f"spec.{name}", "stands in a VirtualService without hosts", "add hosts")
    if not (spec.http or spec.tcp or spec.tls):
        yield fault("spec.http", "is missing", "write http: and `- route:` below it", "RT0007")
    if "*" in spec.hosts and "mesh" in (spec.gateways or ("mesh",)):
        yield fault("spec.hosts", 'has "*", which the mesh has no use for', "name Services, or Gateways in gateways")
    for i, host in enumerate(spec.hosts):
        if host in spec.hosts[:i]:
            yield fault(f"spec.hosts[{i}]", f'is "{host}" again', "remove it")
    for i, route in enumerate(spec.http):
        yield from _route(route, f"spec.http[{i}]", delegated=not spec.hosts)


def _route(route: vs.VirtualHTTPRoute, path: str, *, delegated: bool) -> Faults:
    given = (route.route, route.redirect, route.direct_response, route.delegate)
    there = [name for name, value in zip(_ENDS, given, strict=True) if value]
    if not there:
        yield fault(f"{path}.route", "is missing", "write route, redirect, directResponse or delegate", "RT0007")
    for name in there[1:]:
        yield fault(f"{path}.{name}", f"stands beside {there[0]}", f"keep one of {' and '.join(there)}")
    if delegated and route.delegate:
        yield fault(f"{path}.delegate", "stands where another VirtualService delegates to", "delegate once only")
    for name, other in (("redirect", route.redirect), ("directResponse", route.direct_response)):
        for beside, value in (("rewrite", route.rewrite), ("mirror", route.mirror), ("mirrors", route.mirrors)):
            if other and value:
                yield fault(f"{path}.{beside}", f"stands beside {name}, which answers the request itself", "remove it")
    if route.mirror and route.mirrors:
        yield fault(f"{path}.mirrors", "stands beside mirror", "write all of them into mirrors")
    for i, match in enumerate(route.match):
        yield from _match(match, f"{path}.match[{i}]")
    yield from _weights(route, path)
    yield from _answers(route, path)
    yield from _changes(route, path)
    yield from _faults(route, path)


def _match(match: vs.HTTPMatchRequest, path: str) -> Faults:
    for name in ("uri", "scheme", "method", "authority"):
        value = getattr(match, name)
        if value is not None:
            yield from _text(value, f"{path}.{name}")
    for field, name in (("headers", "headers"), ("query_params", "queryParams"), ("without_headers", "withoutHeaders")):
        for key, each in getattr(match, field).items():
            yield from _text(each, f"{path}.{name}.{key}")
            if name != "queryParams" and not key.strip():
                yield fault(f"{path}.{name}", "has an empty name", "write the header's name")


def _text(value: vs.StringMatch, path: str) -> Faults:
    there = [name for name in ("exact", "prefix", "regex") if getattr(value, name) is not None]
    for name in there[1:]:
        yield fault(f"{path}.{name}", f"stands beside {there[0]}", "keep one of them")


def _weights(route: vs.VirtualHTTPRoute, path: str) -> Faults:
    if len(route.route) > 1 and not any(each.weight for each in route.route):
        yield fault(f"{path}.route", "has several destinations and no weight", "give each a weight: 50")


def _answers(route: vs.VirtualHTTPRoute, path: str) -> Faults:
    redirect, direct = route.redirect, route.direct_response
    if redirect is not None:
        where = f"{path}.redirect"
        if redirect.redirect_code not in _REDIRECTS:
            yield fault(f"{where}.redirectCode", f"is {redirect.redirect_code}", "write 301, 302, 303, 307 or 308")
        if redirect.port is not None and redirect.derive_port is not None:
            yield fault(f"{where}.derivePort", "stands beside port", "keep one of them")
        if not any((redirect.uri, redirect.authority, redirect.port, redirect.derive_port, redirect.scheme)):
            yield fault(where, "leads back to where the request came from", "write uri, authority, port or scheme")
    if direct is not None and direct.body is not None:
        where, body = f"{path}.directResponse.body", direct.body
        if body.string is not None and body.bytes_ is not None:
            yield fault(f"{where}.bytes", "stands beside string", "keep one of them")
        if len(body.bytes_ or b"") > MOST_BYTES or len((body.string or "").encode()) > MOST_BYTES:
            yield fault(where, f"is longer than {MOST_BYTES} bytes", "answer it from a Service")


def _changes(route: vs.VirtualHTTPRoute, path: str) -> Faults:
    rewrite = route.rewrite
    if rewrite is not None and rewrite.uri and rewrite.uri_regex_rewrite:
        yield fault(f"{path}.rewrite.uriRegexRewrite", "stands beside uri", "keep one of them")
    if rewrite is not None and not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
        yield fault(f"{path}.rewrite", "is empty", "write uri, uriRegexRewrite or authority")
    cors = route.cors_policy
    if cors is not None:
        for i, origin in enumerate(cors.allow_origins):
            yield from _text(origin, f"{path}.corsPolicy.allowOrigins[{i}]")
        if cors.allow_origin and cors.allow_origins:
            yield fault(f"{path}.corsPolicy.allowOrigin", "stands beside allowOrigins", "keep allowOrigins")


def _faults(route: vs.VirtualHTTPRoute, path: str) -> Faults:
    if route.fault is None:
        return
    where, delay, abort = f"{path}.fault", route.fault.delay, route.fault.abort
    if delay is None and abort is None:
        yield fault(where, "is empty", "write delay or abort, or remove it")
    if delay is not None:
        if delay.fixed_delay is None and delay.exponential_delay is None:
            yield fault(f"{where}.delay.fixedDelay", "is missing", "write fixedDelay: 1s", "RT0007")
        if delay.percent is not None and delay.percentage is not None:
            yield fault(f"{where}.delay.percent", "stands beside percentage", "keep percentage")
    if abort is not None:
        given = (abort.http_status, abort.grpc_status, abort.http2_error)
        if sum(each is not None for each in given) != 1:
            yield fault(f"{where}.abort", "has not exactly one of httpStatus and grpcStatus", "write httpStatus: 503")
