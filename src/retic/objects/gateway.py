"""Gateway API v1: GatewayClass, Gateway, ReferenceGrant, and what routes of every kind share."""

from typing import Annotated

import msgspec

from retic.objects import forms, meta

GROUP = "gateway.networking.k8s.io"


class ParametersReference(meta.Part, frozen=True):
    """An object with more settings."""

    group: str
    kind: str
    name: str
    namespace: str | None = None


class GatewayClassSpec(meta.Part, frozen=True):
    """Whose Gateways these are: Retic's `controller_name` is retic.dev/gateway-controller."""

    controller_name: str
    parameters_ref: ParametersReference | None = None
    description: str | None = None


class GatewayClass(meta.Object, frozen=True):
    """A class of Gateways; it has no namespace. `status` is as its writers left it."""

    spec: GatewayClassSpec
    status: forms.Raw | None = None


class SecretObjectReference(meta.Part, frozen=True):
    """A certificate: a Secret of type kubernetes.io/tls unless told otherwise."""

    name: str
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None


class ListenerTLS(meta.Part, frozen=True):
    """How a listener ends or passes TLS."""

    mode: Annotated[str | None, forms.one_of("Terminate", "Passthrough")] = None
    certificate_refs: tuple[SecretObjectReference, ...] = ()
    options: dict[str, str] = msgspec.field(default_factory=dict)
    frontend_validation: forms.Raw | None = None


class RouteNamespaces(meta.Part, frozen=True):
    """From which namespaces routes may come; Selector wants `selector`."""

    from_: Annotated[str | None, forms.one_of("All", "Same", "Selector", "None")] = None
    selector: meta.LabelSelector | None = None


class RouteGroupKind(meta.Part, frozen=True):
    """A kind of route."""

    kind: str
    group: str | None = None


class AllowedRoutes(meta.Part, frozen=True):
    """Which routes may attach."""

    namespaces: RouteNamespaces | None = None
    kinds: tuple[RouteGroupKind, ...] = ()


class Listener(meta.Part, frozen=True):
    """One listener. `protocol`: HTTP, HTTPS, TLS, TCP, UDP or a domain-prefixed one."""

    name: forms.Subdomain
    port: forms.Port
    protocol: str
    hostname: forms.Hostname | None = None
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewayAddress(meta.Part, frozen=True):
    """An address that is asked for."""

    type: str | None = None
    value: str | None = None


class LocalParametersReference(meta.Part, frozen=True):
    """An object with more settings, in the Gateway's namespace."""

    group: str
    kind: str
    name: str


class GatewayInfrastructure(meta.Part, frozen=True):
    """Labels and annotations for what is made for the Gateway."""

    labels: forms.Labels = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    parameters_ref: LocalParametersReference | None = None


class GatewaySpec(meta.Part, frozen=True):
    """What a Gateway wants. Of `tls` and what follows it nothing is carried out; a finding says so."""

    gateway_class_name: str
    listeners: tuple[Listener, ...]
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure | None = None
    tls: forms.Raw | None = None
    allowed_listeners: forms.Raw | None = None
    backend_tls: forms.Raw | None = msgspec.field(default=None, name="backendTLS")
    default_scope: Annotated[str | None, forms.one_of("All", "None")] = None


class Gateway(meta.Object, frozen=True):
    """A Gateway."""

    spec: GatewaySpec
    status: forms.Raw | None = None


class ReferenceGrantFrom(meta.Part, frozen=True):
    """Who may refer."""

    group: str
    kind: str
    namespace: forms.Name


class ReferenceGrantTo(meta.Part, frozen=True):
    """To what; without `name` to all of the kind in the grant's namespace."""

    group: str
    kind: str
    name: str | None = None


class ReferenceGrantSpec(meta.Part, frozen=True):
    """Each of `from` may refer to each of `to`."""

    from_: tuple[ReferenceGrantFrom, ...]
    to: tuple[ReferenceGrantTo, ...]


class ReferenceGrant(meta.Object, frozen=True):
    """A permission to refer into this namespace."""

    spec: ReferenceGrantSpec
