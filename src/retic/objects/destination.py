"""Istio's networking.istio.io, DestinationRule: how a Service's pods are chosen, and how they are connected to.

Field by field as the API's reference has them (networking.istio.io/v1); a field that is absent leaves it to the mesh.
"""

from typing import Annotated

import msgspec

from retic.objects import forms, meta, security

DURATION = forms.Syntax(
    "a duration (numbers with h, m, s or ms)", r"([0-9]{1,6}(\.[0-9]{1,3})?(h|m|s|ms)){1,4}", "1.5s", 32
)
_LABEL = "[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?"
_HOST = forms.Syntax(
    "a Service's name, or the end of one behind '*.'", rf"\*|(\*\.)?{_LABEL}(\.{_LABEL})*",
    "reviews.shop.svc.cluster.local",
)
_EXPORTED = forms.Syntax('"*", ".", or a namespace\'s name', rf"\*|\.|~|{_LABEL}", "shop", 63)
_LOCALITY = forms.Syntax(
    "a region, or REGION/ZONE, or REGION/ZONE/SUBZONE", r"[^/\s]+(/[^/\s]+){0,2}", "eu-west/eu-west-1a"
)
_COOKIE = forms.Syntax("a cookie's name (RFC 6265: a token)", r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "session", 256)
_COOKIE_PATH = forms.Syntax("a cookie's path", r"/[^;\s]*", "/", 1024)
_COOKIE_PART = forms.Syntax("a part of a cookie", r"[^;,\s\"\\]*", "Strict", 256)
_QUERY = forms.Syntax("the name of a query's parameter", r"[^&=#\s]+", "user", 256)

Time = Annotated[str | None, DURATION]
Count = Annotated[int | None, forms.Range(0, 2_147_483_647)]
_U32 = Annotated[int | None, forms.Range(0, 4_294_967_295)]
_Share = Annotated[int | None, forms.Range(0, 100)]
_Locality = Annotated[str, _LOCALITY]


class CookieAttribute(meta.Part, frozen=True):
    """What a generated cookie says besides, such as `SameSite`."""

    name: Annotated[str, _COOKIE]
    value: Annotated[str | None, _COOKIE_PART] = None


class HTTPCookie(meta.Part, frozen=True):
    """A cookie that a request is told apart by. With `ttl` (0s: until the browser ends) the proxy makes the cookie
    where a request has none."""

    name: Annotated[str, _COOKIE]
    path: Annotated[str | None, _COOKIE_PATH] = None
    ttl: Time = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(meta.Part, frozen=True):
    """`minimum_ring_size`: how many places the ring has at least."""

    minimum_ring_size: Annotated[int | None, forms.Range(0)] = None


class MagLev(meta.Part, frozen=True):
    """`table_size`: how many places the table has, a prime."""

    table_size: Annotated[int | None, forms.Range(0)] = None


class ConsistentHash(meta.Part, frozen=True):
    """Exactly one of the four that requests are told apart by, and one algorithm at most (ring hash)."""

    http_header_name: Annotated[str | None, forms.HEADER_NAME] = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: bool | None = msgspec.field(default=None, name="useSourceIp")
    http_query_parameter_name: Annotated[str | None, _QUERY] = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: Annotated[int | None, forms.Range(0)] = None


class Distribute(meta.Part, frozen=True):
    """For callers of a locality, the shares (in a hundred) of the localities that they call."""

    from_: Annotated[str | None, _LOCALITY] = None
    to: Annotated[dict[str, Annotated[int, forms.Range(1, 100)]], forms.Entries(key=_LOCALITY)] = msgspec.field(
        default_factory=dict
    )


class Failover(meta.Part, frozen=True):
    """The region that callers of a region go to next."""

    from_: Annotated[str | None, _LOCALITY] = None
    to: Annotated[str | None, _LOCALITY] = None


class LocalitySetting(meta.Part, frozen=True):
    """One of `distribute`, `failover` and `failover_priority` at most."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class Warmup(meta.Part, frozen=True):
    """How long a new pod gets less than its share; `minimum_percent` of it at first."""

    duration: Annotated[str, DURATION]
    minimum_percent: Annotated[float | None, forms.Range(0, 100)] = None
    aggression: float | None = None


class LoadBalancer(meta.Part, frozen=True):
    """`simple` or `consistent_hash`."""

    simple: Annotated[
        str | None,
        forms.one_of(
            "UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH",
        ),
    ] = None
    consistent_hash: ConsistentHash | None = None
    locality_lb_setting: LocalitySetting | None = None
    warmup_duration_secs: Time = None
    warmup: Warmup | None = None


class TcpKeepalive(meta.Part, frozen=True):
    """Whole seconds reach the kernel."""

    probes: _U32 = None
    time: Time = None
    interval: Time = None


class TCPSettings(meta.Part, frozen=True):
    """Of connections, whatever they carry; `idle_timeout` of those that carry no HTTP."""

    max_connections: Count = None
    connect_timeout: Time = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Time = None
    idle_timeout: Time = None


class HTTPSettings(meta.Part, frozen=True):
    """Of requests, and of connections that carry them."""

    http1_max_pending_requests: Count = None
    http2_max_requests: Count = None
    max_requests_per_connection: Count = None
    max_retries: Count = None
    idle_timeout: Time = None
    h2_upgrade_policy: Annotated[str | None, forms.one_of("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE")] = None
    use_client_protocol: bool | None = None
    max_concurrent_streams: Count = None


class ConnectionPool(meta.Part, frozen=True):
    """Bounds of what is under way at once."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(meta.Part, frozen=True):
    """When a pod is left out for a while. A count of 0 switches its reason off."""

    consecutive_errors: Annotated[int | None, forms.Range(0)] = None
    split_external_local_origin_errors: bool | None = None
    consecutive_local_origin_failures: _U32 = None
    consecutive_gateway_errors: _U32 = None
    consecutive_5xx_errors: _U32 = None
    interval: Time = None
    base_ejection_time: Time = None
    max_ejection_percent: _Share = None
    min_health_percent: _Share = None


class TLS(meta.Part, frozen=True):
    """TLS towards the pods. Read to say what of it the mesh's own TLS stands for."""

    mode: Annotated[str | None, forms.one_of("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL")] = None
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    ca_crl: str | None = None
    credential_name: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: str | None = None
    insecure_skip_verify: bool | None = None


class PortSelector(meta.Part, frozen=True):
    """A Service's port."""

    number: forms.Port


class PortPolicy(meta.Part, frozen=True):
    """Replaces the policy around it for one port, wholly: what it leaves out is the mesh's, not that policy's."""

    port: PortSelector
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TLS | None = None


class TrafficPolicy(meta.Part, frozen=True):
    """What holds for connections to a host, or to a subset of it."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TLS | None = None
    port_level_settings: tuple[PortPolicy, ...] = ()
    tunnel: forms.Raw | None = None
    proxy_protocol: forms.Raw | None = None
    retry_budget: forms.Raw | None = None


class Subset(meta.Part, frozen=True):
    """The pods of a Service with certain labels, by a name that routes use."""

    name: forms.Name
    labels: forms.Labels = msgspec.field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(meta.Part, frozen=True):
    """`host`: a Service's name, short ones in the rule's own namespace, or "*." and the end of names."""

    host: Annotated[str, _HOST]
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[Annotated[str, _EXPORTED], ...] = ()
    workload_selector: security.WorkloadSelector | None = None


class DestinationRule(meta.Object, frozen=True):
    """How calls to a host are balanced, bounded and kept from pods that fail."""

    spec: DestinationRuleSpec
    status: forms.Raw | None = None
