"""Istio's networking.istio.io/v1: VirtualService, how requests to a host are routed.

Field by field as the API's reference has them; a field that is absent asks for nothing. Structs that share a name with
one of the Gateway API carry `Virtual` before it. `tcp` and `tls` are kept raw: they are not carried out.
"""

from typing import Annotated

import msgspec

from retic.objects import forms, meta

GROUP = "networking.istio.io"

_LABEL = "[a-zA-Z0-9_]([-a-zA-Z0-9_]*[a-zA-Z0-9_])?"
_HOST = forms.Syntax(
    "a host (a name, or * or *. before its end)", rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*\.?",
    "reviews.shop.svc.cluster.local",
)
_GATEWAY = forms.Syntax(
    "mesh, or a Gateway's name, with its namespace and / before it where it is another",
    "([a-z0-9][-a-z0-9]*/)?[a-z0-9][-a-z0-9.]*", "shop/front",
)
_EXPORT = forms.Syntax('"*", ".", or the name of a namespace', r"\*|\.|[a-z0-9]([-a-z0-9]*[a-z0-9])?", "shop", 63)
_DURATION = forms.Syntax(
    "a duration (numbers with h, m, s, ms, us or ns)", r"([0-9]{1,9}(\.[0-9]{1,9})?(h|m|s|ms|us|ns)){1,6}", "1.5s", 64
)
_TOKEN = forms.Syntax("a method's or header's name (RFC 9110: a token)", r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "GET", 256)
_AUTHORITY = forms.Syntax("a host, with a port or without", r"[A-Za-z0-9._~%\[\]:-]+", "shop.example.com", 260)

_HEADER = forms.Syntax(
    "a header's name (RFC 9110: a token; or :authority)", r":authority|[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "x-version", 256
)
_TEXT = forms.Syntax("a text of one line", r"[^\x00-\x1f\x7f]*", "text", 8192)
_TARGET = forms.Syntax("a path", r"/[^\x00-\x20\x7f]*", "/new", 8192)
_PATH = forms.Syntax("a path or a part of one", r"[^\x00-\x1f\x7f#?]*", "/new", 8192)

Host = Annotated[str, _HOST]
Duration = Annotated[str, _DURATION]
Share = Annotated[float, forms.Range(0, 100)]
_Values = Annotated[dict[str, str], forms.Entries(_HEADER, _TEXT)]
Status = Annotated[int, forms.Range(200, 599)]


class StringMatch(meta.Part, frozen=True):
    """How a text is compared: one of the three. In `headers` none of them asks only that the header is there."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HTTPMatchRequest(meta.Part, frozen=True):
    """Conditions that must all hold. `name` and `stat_prefix` change nothing about a request."""

    name: str | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    port: forms.Port | None = None
    source_labels: forms.Labels = msgspec.field(default_factory=dict)
    gateways: tuple[Annotated[str, _GATEWAY], ...] = ()
    query_params: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool | None = None
    without_headers: dict[str, StringMatch] = msgspec.field(default_factory=dict)
    source_namespace: forms.Name | None = None
    stat_prefix: str | None = None


class PortSelector(meta.Part, frozen=True):
    """A port by number; absent is as if there were no selector."""

    number: forms.Port | None = None


class Destination(meta.Part, frozen=True):
    """A Service, or a subset of it. Without a port it is the only one, or the one that was called."""

    host: Host
    subset: str | None = None
    port: PortSelector | None = None


class HeaderOperations(meta.Part, frozen=True):
    """Changes of headers."""

    set: _Values = msgspec.field(default_factory=dict)
    add: _Values = msgspec.field(default_factory=dict)
    remove: tuple[forms.HeaderName, ...] = ()


class Headers(meta.Part, frozen=True):
    """Changes of a request's and of its answer's headers."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPRouteDestination(meta.Part, frozen=True):
    """One of the destinations that requests are divided among; a single one gets them all."""

    destination: Destination
    weight: Annotated[int | None, forms.Range(0, 1_000_000)] = None
    headers: Headers | None = None


class HTTPRedirect(meta.Part, frozen=True):
    """An answer that sends the client elsewhere; what is absent stays as requested. `redirect_code` absent is 301."""

    uri: Annotated[str | None, _TARGET] = None
    authority: Annotated[str | None, _AUTHORITY] = None
    port: forms.Port | None = None
    derive_port: Annotated[str | None, forms.one_of("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")] = None
    scheme: Annotated[str | None, forms.one_of("http", "https")] = None
    redirect_code: int | None = None


class RegexRewrite(meta.Part, frozen=True):
    """Every match of an expression in the path is replaced; \\1 stands for its first group."""

    match: str
    rewrite: Annotated[str | None, _PATH] = None


class HTTPRewrite(meta.Part, frozen=True):
    """Another path or authority towards the destination."""

    uri: Annotated[str | None, _PATH] = None
    authority: Annotated[str | None, _AUTHORITY] = None
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPBody(meta.Part, frozen=True):
    """A body as text, or as base64."""

    string: str | None = None
    bytes_: bytes | None = None


class HTTPDirectResponse(meta.Part, frozen=True):
    """An answer of the proxy itself."""

    status: Status
    body: HTTPBody | None = None


class Delegate(meta.Part, frozen=True):
    """Another VirtualService, without hosts, whose routes are taken; without a namespace one of the same."""

    name: str
    namespace: forms.Name | None = None


class HTTPRetry(meta.Part, frozen=True):
    """How often and when a request is tried again."""

    attempts: Annotated[int | None, forms.Range(0, 1000)] = None
    per_try_timeout: Duration | None = None
    retry_on: str | None = None
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class Percent(meta.Part, frozen=True):
    """A share in a hundred; absent is 0."""

    value: Share | None = None


class Delay(meta.Part, frozen=True):
    """Requests are held back. Without a percentage none is."""

    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percent: forms.Percent | None = None
    percentage: Percent | None = None


class Abort(meta.Part, frozen=True):
    """Requests are answered with an error. Without a percentage none is."""

    http_status: Status | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None


class HTTPFaultInjection(meta.Part, frozen=True):
    """Faults for testing; a request may meet both."""

    delay: Delay | None = None
    abort: Abort | None = None


class HTTPMirrorPolicy(meta.Part, frozen=True):
    """A destination that gets a copy; of all requests without a percentage."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(meta.Part, frozen=True):
    """What scripts of other origins may do (Fetch Standard, CORS protocol)."""

    allow_origin: tuple[Annotated[str, _TEXT], ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[Annotated[str, _TOKEN], ...] = ()
    allow_headers: tuple[Annotated[str, _TOKEN], ...] = ()
    expose_headers: tuple[Annotated[str, _TOKEN], ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Annotated[str | None, forms.one_of("UNSPECIFIED", "FORWARD", "IGNORE")] = None


class VirtualHTTPRoute(meta.Part, frozen=True):
    """What becomes of requests that one of `match` holds for; of all without `match`."""

    name: str | None = None
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: forms.Percent | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class VirtualServiceSpec(meta.Part, frozen=True):
    """`hosts` () is a delegate; `gateways` () is the mesh; `export_to` () is every namespace."""

    hosts: tuple[Host, ...] = ()
    gateways: tuple[Annotated[str, _GATEWAY], ...] = ()
    http: tuple[VirtualHTTPRoute, ...] = ()
    tls: tuple[forms.Raw, ...] = ()
    tcp: tuple[forms.Raw, ...] = ()
    export_to: tuple[Annotated[str, _EXPORT], ...] = ()


class VirtualService(meta.Object, frozen=True):
    """Where requests to some hosts go."""

    spec: VirtualServiceSpec = VirtualServiceSpec()
    status: forms.Raw | None = None
