"""EndpointSlice: which addresses are behind a Service, and whether they are ready."""

from typing import Annotated

from retic.objects import forms, meta


class EndpointConditions(meta.Part, frozen=True):
    """None means: ready True, serving as ready, terminating False (discovery/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(meta.Part, frozen=True):
    """The object, mostly a Pod, that an endpoint is."""

    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


class ZoneHint(meta.Part, frozen=True):
    """A zone by name."""

    name: str


class EndpointHints(meta.Part, frozen=True):
    """Who should use an endpoint."""

    for_zones: tuple[ZoneHint, ...] = ()
    for_nodes: tuple[ZoneHint, ...] = ()


class Endpoint(meta.Part, frozen=True):
    """One backend; consumers use the first address only."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    hostname: forms.Name | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None
    hints: EndpointHints | None = None


class EndpointPort(meta.Part, frozen=True):
    """A port of every endpoint of the slice; `name` is the Service port's. `port` None means all ports."""

    name: str | None = None
    protocol: forms.Protocol | None = None
    port: forms.Port | None = None
    app_protocol: str | None = None


class EndpointSlice(meta.Object, frozen=True):
    """A part of a Service's endpoints; the label kubernetes.io/service-name says whose."""

    address_type: Annotated[str, forms.one_of("IPv4", "IPv6", "FQDN")]
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()
