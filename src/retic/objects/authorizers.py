"""retic.dev/v1alpha1, AuthorizationProvider: whom a CUSTOM policy asks.

Its spec has what an entry of `extensionProviders` in Istio's MeshConfig has, field by field, but for the name, which is
the object's (Istio's MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationHttpProvider and ...GrpcProvider).
"""

from typing import Annotated

import msgspec

from retic.objects import forms, meta

GROUP = "retic.dev"

MOST_BODY = 262_144
"""The most bytes of a request's body that an authorizer is shown: what the proxy buffers of a connection at most."""

STATUSES = (
    *range(400, 418), 421, 422, 423, 424, 426, 428, 429, 431, *range(500, 509), 510, 511,
)  # fmt: skip
"""What a request can be refused with (envoy.type.v3.StatusCode, from 400 on)."""

_DURATION = forms.Syntax(
    "a duration (numbers with h, m, s or ms)", r"([0-9]{1,5}(\.[0-9]{1,3})?(h|m|s|ms)){1,4}", "0.5s", 24
)
_SERVICE = forms.Syntax(
    "a Service's name in the cluster",
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "authz.security.svc.cluster.local", 317,
)
_PREFIX = forms.Syntax("a path", r"(/[^?#\s]*)?", "/check", 1024)
_HEADER = forms.Syntax(
    "a header's name, or the beginning or end of one with a *",
    r"\*|\*?[A-Za-z0-9!#$%&'+\-.^_`|~]+|[A-Za-z0-9!#$%&'+\-.^_`|~]+\*", "x-ext-authz-*", 256,
)

Host = Annotated[str, _SERVICE]
Time = Annotated[str | None, _DURATION]
Status = Annotated[str | None, forms.one_of(*map(str, STATUSES))]
Added = Annotated[dict[str, str], forms.Entries(key=forms.HEADER_NAME)]
Headers = tuple[Annotated[str, _HEADER], ...]


class RequestBody(meta.Part, frozen=True):
    """How much of a request's body is shown, in bytes: of a longer one the beginning if `allow_partial_message`;
    otherwise it is refused (413). `pack_as_bytes`: as bytes, not as UTF-8; gRPC only."""

    max_request_bytes: Annotated[int, forms.Range(1, MOST_BODY)]
    allow_partial_message: bool | None = None
    pack_as_bytes: bool | None = None


class GrpcAuthorizer(meta.Part, frozen=True):
    """Speaks envoy.service.auth.v3.Authorization. `service` is NAME.NAMESPACE, with or without what follows in DNS.

    `fail_open`: what cannot be asked about passes; otherwise it is refused with `status_on_error` (403).
    """

    service: Host
    port: forms.Port
    timeout: Time = None
    fail_open: bool | None = None
    clear_route_cache: bool | None = None
    status_on_error: Status = None
    include_request_body_in_check: RequestBody | None = None


class HttpAuthorizer(meta.Part, frozen=True):
    """Gets the request's method, its path behind `path_prefix`, Host, Authorization and the headers named; answers 200
    to allow. Names may begin or end with *.

    What it answers reaches the application by `headers_to_upstream_on_allow` only, and the client by
    `headers_to_downstream_on_allow`; if it refuses, by `headers_to_downstream_on_deny` (() for all).
    """

    service: Host
    port: forms.Port
    timeout: Time = None
    path_prefix: Annotated[str | None, _PREFIX] = None
    fail_open: bool | None = None
    clear_route_cache: bool | None = None
    status_on_error: Status = None
    include_request_headers_in_check: Headers = ()
    include_additional_headers_in_check: Added = msgspec.field(default_factory=dict)
    include_request_body_in_check: RequestBody | None = None
    headers_to_upstream_on_allow: Headers = ()
    headers_to_downstream_on_allow: Headers = ()
    headers_to_downstream_on_deny: Headers = ()


class AuthorizationProviderSpec(meta.Part, frozen=True):
    """Exactly one of the two."""

    envoy_ext_authz_grpc: GrpcAuthorizer | None = None
    envoy_ext_authz_http: HttpAuthorizer | None = None


class AuthorizationProvider(meta.Object, frozen=True):
    """An external authorizer, for the whole mesh: CUSTOM policies name it. It has no namespace."""

    spec: AuthorizationProviderSpec
