"""Istio's telemetry.istio.io/v1, Telemetry, field by field as its reference has them; and TelemetryProvider
(retic.dev/v1alpha1), which has what an entry of `extensionProviders` in Istio's MeshConfig has.
"""

from typing import Annotated

import msgspec

from retic.objects import forms, meta, security

GROUP = "telemetry.istio.io"
MOST_EXPRESSION = 1024
"""The most letters of a filter's expression."""

_DURATION = forms.Syntax(
    "a duration (numbers with h, m, s or ms)", r"([0-9]{1,5}(\.[0-9]{1,3})?(h|m|s|ms)){1,4}", "5s", 24
)
_HOST = forms.Syntax(
    "a Service's name in the cluster, a host's name, or an IPv4 address",
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "otel.observability.svc.cluster.local", 317,
)
_NAME = forms.Syntax(
    "a host's name or an IPv4 address", r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "otel.example.com",
)
_PEM = forms.Syntax(
    "certificates in PEM", r"[ -~\t\r\n]*-----BEGIN CERTIFICATE-----[ -~\t\r\n]+-----END CERTIFICATE-----[ \t\r\n]*",
    "-----BEGIN CERTIFICATE----- and so on", 16384,
)
_PATH = forms.Syntax("a path", r"/[!-~]*", "/v1/traces", 1024)
_EXPRESSION = forms.Syntax("an expression", r"(.|\n)+", "response.code >= 500", MOST_EXPRESSION)

Mode = Annotated[str | None, forms.one_of("CLIENT", "SERVER", "CLIENT_AND_SERVER")]


class ProviderRef(meta.Part, frozen=True):
    """A provider by its name."""

    name: str


class ModeMatch(meta.Part, frozen=True):
    """Of which side of a call; absent is both."""

    mode: Mode = None


class LogFilter(meta.Part, frozen=True):
    """Which requests and connections are logged: an expression in CEL, over Envoy's attributes."""

    expression: Annotated[str, _EXPRESSION]


class AccessLogging(meta.Part, frozen=True):
    """One entry of `accessLogging`."""

    match: ModeMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: LogFilter | None = None


class Literal(meta.Part, frozen=True):
    """The same for every span."""

    value: str


class Environment(meta.Part, frozen=True):
    """A variable of the proxy."""

    name: str
    default_value: str | None = None


class RequestHeader(meta.Part, frozen=True):
    """A header of the request."""

    name: Annotated[str, forms.HEADER_NAME]
    default_value: str | None = None


class Formatter(meta.Part, frozen=True):
    """A format of Envoy's access logs."""

    value: str


class CustomTag(meta.Part, frozen=True):
    """Exactly one of them."""

    literal: Literal | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None
    formatter: Formatter | None = None


class Tracing(meta.Part, frozen=True):
    """One entry of `tracing`. `random_sampling_percentage` is from 0 to 100."""

    match: ModeMatch | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: float | None = None
    disable_span_reporting: bool | None = None
    custom_tags: dict[str, CustomTag] = msgspec.field(default_factory=dict)
    use_request_id_for_trace_sampling: bool | None = msgspec.field(default=None, name="useRequestIdForTraceSampling")
    enable_istio_tags: bool | None = None


class MetricSelector(meta.Part, frozen=True):
    """Which metric, of which side."""

    metric: str | None = None
    custom_metric: str | None = None
    mode: Mode = None


class TagOverride(meta.Part, frozen=True):
    """What becomes of a label."""

    operation: Annotated[str | None, forms.one_of("UPSERT", "REMOVE")] = None
    value: str | None = None


class MetricsOverride(meta.Part, frozen=True):
    """One entry of `overrides`."""

    match: MetricSelector | None = None
    disabled: bool | None = None
    tag_overrides: dict[str, TagOverride] = msgspec.field(default_factory=dict)


class Metrics(meta.Part, frozen=True):
    """One entry of `metrics`."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverride, ...] = ()
    reporting_interval: str | None = None


class TelemetrySpec(meta.Part, frozen=True):
    """Without selector and targets it is for the namespace, and in the mesh's own namespace for the mesh."""

    selector: security.WorkloadSelector | None = None
    target_ref: security.TargetReference | None = None
    target_refs: tuple[security.TargetReference, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()


class Telemetry(meta.Object, frozen=True):
    """What proxies tell of requests."""

    spec: TelemetrySpec = TelemetrySpec()
    status: forms.Raw | None = None


class OtlpHttp(meta.Part, frozen=True):
    """By HTTP, as protobuf."""

    path: Annotated[str | None, _PATH] = None
    timeout: Annotated[str | None, _DURATION] = None


class OtlpGrpc(meta.Part, frozen=True):
    """By gRPC."""

    timeout: Annotated[str | None, _DURATION] = None


class OtlpTls(meta.Part, frozen=True):
    """By TLS. `hostname` is whom the collector's certificate has to be for: `service` unless it is said.
    `ca_certificates` are its authority's in PEM: those that the public trusts unless they are said."""

    hostname: Annotated[str | None, _NAME] = None
    ca_certificates: Annotated[str | None, _PEM] = None


class Otlp(meta.Part, frozen=True):
    """A collector of OpenTelemetry: a Service of the cluster, or a host outside. By gRPC unless `http` is there, in
    plaintext unless `tls` is."""

    service: Annotated[str, _HOST]
    port: forms.Port
    tls: OtlpTls | None = None
    http: OtlpHttp | None = None
    grpc: OtlpGrpc | None = None


class TelemetryProviderSpec(meta.Part, frozen=True):
    """Whom Telemetry may name."""

    opentelemetry: Otlp


class TelemetryProvider(meta.Object, frozen=True):
    """Where spans are sent, for the whole mesh: Telemetry names it. It has no namespace."""

    spec: TelemetryProviderSpec
