"""Gateway API v1 routes: HTTPRoute and GRPCRoute, every field of the standard channel.

Of the experimental one, `retry` (GEP-1731) and `session_persistence` (GEP-1619).
"""

from typing import Annotated

from retic.objects import forms, meta


class ParentReference(meta.Part, frozen=True):
    """What a route attaches to: a Gateway, or a Service (mesh). No namespace: the route's own."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: forms.Name | None = None
    section_name: forms.Subdomain | None = None
    port: forms.Port | None = None


class ObjectReference(meta.Part, frozen=True):
    """A backend by name; `port` is needed for a Service. No namespace: the route's own."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: forms.Name | None = None
    port: forms.Port | None = None


class LocalObjectReference(meta.Part, frozen=True):
    """An object in the route's namespace."""

    group: str
    kind: str
    name: str


class HeaderValue(meta.Part, frozen=True):
    """A header that is set or added."""

    name: forms.HeaderName
    value: str


class HeaderModifier(meta.Part, frozen=True):
    """Changes of headers: first set, then add, then remove."""

    set: tuple[HeaderValue, ...] = ()
    add: tuple[HeaderValue, ...] = ()
    remove: tuple[forms.HeaderName, ...] = ()


class Fraction(meta.Part, frozen=True):
    """`numerator` of `denominator` (100 unless told otherwise)."""

    numerator: forms.AtLeastZero
    denominator: forms.AtLeastOne | None = None


class RequestMirror(meta.Part, frozen=True):
    """Requests that are also sent elsewhere; all of them without `percent` and `fraction`."""

    backend_ref: ObjectReference
    percent: forms.Percent | None = None
    fraction: Fraction | None = None


class PathModifier(meta.Part, frozen=True):
    """A new path: the whole, or the prefix that matched."""

    type: Annotated[str, forms.one_of("ReplaceFullPath", "ReplacePrefixMatch")]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(meta.Part, frozen=True):
    """An answer that sends the client elsewhere; what is absent stays as requested."""

    scheme: Annotated[str | None, forms.one_of("http", "https")] = None
    hostname: forms.PreciseHostname | None = None
    path: PathModifier | None = None
    port: forms.Port | None = None
    status_code: Annotated[int | None, forms.Range(301, 308)] = None


class URLRewrite(meta.Part, frozen=True):
    """A new host or path for the backend."""

    hostname: forms.PreciseHostname | None = None
    path: PathModifier | None = None


class CORS(meta.Part, frozen=True):
    """Answers to browsers that ask across origins."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool | None = None
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: forms.AtLeastOne | None = None


class HTTPRouteFilter(meta.Part, frozen=True):
    """One filter; exactly the field that `type` names is set."""

    type: Annotated[
        str,
        forms.one_of(
            "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect",
            "URLRewrite", "ExtensionRef", "CORS", "ExternalAuth",
        ),
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: URLRewrite | None = None
    extension_ref: LocalObjectReference | None = None
    cors: CORS | None = None
    external_auth: forms.Raw | None = None


class HTTPPathMatch(meta.Part, frozen=True):
    """A path. PathPrefix matches whole elements: /a matches /a/b, not /ab."""

    type: Annotated[str | None, forms.one_of("Exact", "PathPrefix", "RegularExpression")] = None
    value: str | None = None


class HeaderMatch(meta.Part, frozen=True):
    """A header, or a metadata entry of a gRPC request."""

    name: forms.HeaderName
    value: str
    type: Annotated[str | None, forms.one_of("Exact", "RegularExpression")] = None


class QueryParamMatch(meta.Part, frozen=True):
    """A parameter of the query."""

    name: str
    value: str
    type: Annotated[str | None, forms.one_of("Exact", "RegularExpression")] = None


Method = Annotated[
    str | None,
    forms.one_of("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
]


class HTTPRouteMatch(meta.Part, frozen=True):
    """All conditions of one match hold together."""

    path: HTTPPathMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query_params: tuple[QueryParamMatch, ...] = ()
    method: Method = None


class HTTPBackendRef(meta.Part, frozen=True):
    """A backend, its share of the requests, and filters for it alone."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: forms.Name | None = None
    port: forms.Port | None = None
    weight: forms.Weight | None = None
    filters: tuple[HTTPRouteFilter, ...] = ()


class HTTPRouteTimeouts(meta.Part, frozen=True):
    """Durations of GEP-2257; 0s means none."""

    request: forms.Duration | None = None
    backend_request: forms.Duration | None = None


class HTTPRouteRetry(meta.Part, frozen=True):
    """How often a request is sent again: `attempts` times after the first. 1 and no codes when left out."""

    codes: tuple[Annotated[int, forms.Range(400, 599)], ...] = ()
    attempts: Annotated[int | None, forms.Range(0, 2**31 - 1)] = None
    backoff: forms.Duration | None = None


class CookieConfig(meta.Part, frozen=True):
    """Whether a session's cookie ends with the browser's session or, Permanent, with its time."""

    lifetime_type: Annotated[str | None, forms.one_of("Session", "Permanent")] = None


class SessionPersistence(meta.Part, frozen=True):
    """Requests of one session go to one endpoint; Cookie when left out."""

    session_name: Annotated[str | None, forms.SESSION_NAME] = None
    absolute_timeout: forms.Duration | None = None
    idle_timeout: forms.Duration | None = None
    type: Annotated[str | None, forms.one_of("Cookie", "Header")] = None
    cookie_config: CookieConfig | None = None


class HTTPRouteRule(meta.Part, frozen=True):
    """One rule: any of `matches`, then `filters`, then one of `backend_refs`."""

    name: forms.Subdomain | None = None
    matches: tuple[HTTPRouteMatch, ...] = ()
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendRef, ...] = ()
    timeouts: HTTPRouteTimeouts | None = None
    retry: HTTPRouteRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(meta.Part, frozen=True):
    """Where the route is attached, for which hosts, and its rules."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[forms.Hostname, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()
    use_default_gateways: Annotated[str | None, forms.one_of("All", "None")] = None


class HTTPRoute(meta.Object, frozen=True):
    """An HTTPRoute."""

    spec: HTTPRouteSpec = HTTPRouteSpec()
    status: forms.Raw | None = None


class GRPCRouteFilter(meta.Part, frozen=True):
    """One filter; exactly the field that `type` names is set."""

    type: Annotated[
        str, forms.one_of("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
    ]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalObjectReference | None = None


class GRPCMethodMatch(meta.Part, frozen=True):
    """A service, a method, or both; absent matches any."""

    type: Annotated[str | None, forms.one_of("Exact", "RegularExpression")] = None
    service: str | None = None
    method: str | None = None


class GRPCRouteMatch(meta.Part, frozen=True):
    """All conditions of one match hold together; none matches every request."""

    method: GRPCMethodMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()


class GRPCBackendRef(meta.Part, frozen=True):
    """A backend, its share of the requests, and filters for it alone."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: forms.Name | None = None
    port: forms.Port | None = None
    weight: forms.Weight | None = None
    filters: tuple[GRPCRouteFilter, ...] = ()


class GRPCRouteRule(meta.Part, frozen=True):
    """One rule: any of `matches` (all requests when empty), then `filters`, then one of `backend_refs`."""

    name: forms.Subdomain | None = None
    matches: tuple[GRPCRouteMatch, ...] = ()
    filters: tuple[GRPCRouteFilter, ...] = ()
    backend_refs: tuple[GRPCBackendRef, ...] = ()
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(meta.Part, frozen=True):
    """Where the route is attached, for which hosts, and its rules."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[forms.Hostname, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()
    use_default_gateways: Annotated[str | None, forms.one_of("All", "None")] = None


class GRPCRoute(meta.Object, frozen=True):
    """A GRPCRoute."""

    spec: GRPCRouteSpec = GRPCRouteSpec()
    status: forms.Raw | None = None
