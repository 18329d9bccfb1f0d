"""Fields of Services, EndpointSlices and Gateways that are well formed and that the mesh does not carry out.

One fault a field, at the field, with what happens instead. Values that ask for what the mesh does anyway are
no fault. Refuses to speak of what only a laptop cannot do: that is `retic.local`'s.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from retic import findings
from retic.objects import core, discovery, gateway

Faults = Iterator[findings.Fault]

_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_ROUTES = ("HTTPRoute", "GRPCRoute")
_AFFINITY_SECONDS = 10800  # core/v1, ClientIPConfig: what it is when left out
_CONTROLLER = "endpointslice-controller.k8s.io"


def service(ref: findings.Ref, spec: core.ServiceSpec) -> Faults:
    """Balancing and addresses that Services ask for. A headless one is not balanced in a cluster either."""
    if spec.type == "ExternalName":
        return
    if spec.ip_family_policy == "RequireDualStack":
        yield findings.Fault(
            "RT0108", ref, "spec.ipFamilyPolicy", "the mesh does not carry IPv6: the Service is IPv4 only",
            "write ipFamilyPolicy: SingleStack",
        )
    if spec.cluster_ip != "None":
        yield from _balancing(ref, spec)


def _balancing(ref: findings.Ref, spec: core.ServiceSpec) -> Faults:
    if spec.external_ips:
        yield findings.Fault(
            "RT0110", ref, "spec.externalIPs",
            f"the Service is not reached at {', '.join(spec.external_ips)}: the mesh knows its cluster IP only",
            "call it by its name; for calls from outside write a Gateway of class retic",
        )
    client = spec.session_affinity_config.client_ip if spec.session_affinity_config else None
    if spec.session_affinity == "ClientIP" and client and client.timeout_seconds not in (None, _AFFINITY_SECONDS):
        yield findings.Fault(
            "RT0523", ref, "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "the time is not counted: an address keeps its endpoint as long as the endpoints stay the same",
            "remove timeoutSeconds",
        )


def endpoint_slice(ref: findings.Ref, value: discovery.EndpointSlice) -> Faults:
    """Hints in a slice written by hand; a controller's follow from its Service, where the fault stands."""
    if value.metadata.labels.get(_MANAGED_BY) == _CONTROLLER:
        return
    for i, endpoint in enumerate(value.endpoints):
        hints = endpoint.hints
        if hints is None:
            continue
        zones = {zone.name for zone in hints.for_zones}
        if hints.for_nodes or zones - {endpoint.zone}:
            yield findings.Fault(
                "RT0110", ref, f"endpoints[{i}].hints",
                "hints are not followed: callers prefer endpoints whose zone is their own node's",
                "write the zone in the endpoint's own field zone",
            )
            return


def gateway_class(ref: findings.Ref, spec: gateway.GatewayClassSpec) -> Faults:
    """What a class of Retic's cannot ask for."""
    if spec.parameters_ref is not None:
        yield _gateway(ref, "spec.parametersRef", "Retic has no parameters for its Gateways: this is not read")


def gateways(ref: findings.Ref, spec: gateway.GatewaySpec) -> Faults:
    """What a Gateway of Retic's cannot ask for; what is wrong with a listener is `mesh.gateways`' to say."""
    if spec.infrastructure is not None and spec.infrastructure.parameters_ref is not None:
        path = "spec.infrastructure.parametersRef"
        yield _gateway(ref, path, "Retic has no parameters for its Gateways: this is not read")
    if spec.backend_tls or _map(spec.tls).get("backend"):
        path = "spec.backendTLS" if spec.backend_tls else "spec.tls.backend"
        yield _gateway(
            ref, path, "backends do not see this certificate: the Gateway calls pods with its own identity",
        )
    if _map(_map(spec.allowed_listeners).get("namespaces")).get("from") not in (None, "None"):
        yield _gateway(ref, "spec.allowedListeners", "ListenerSets are not read: none adds a listener")
    if spec.default_scope not in (None, "None"):
        yield _gateway(
            ref, "spec.defaultScope", "no route is attached by default: a route names its Gateway in parentRefs",
        )
    for i, listener in enumerate(spec.listeners):
        wanted = client_certificates(spec, i)
        if wanted is not None and wanted.optional:
            yield _gateway(ref, wanted.path, f"listener {listener.name} asks nobody for a client certificate")
        if listener.tls is not None and listener.tls.options:
            yield _gateway(
                ref, f"spec.listeners[{i}].tls.options",
                f"Retic knows no option of TLS: {', '.join(sorted(listener.tls.options))} has no effect",
            )
        yield from _kinds(ref, f"spec.listeners[{i}].allowedRoutes.kinds", listener)


def _kinds(ref: findings.Ref, path: str, listener: gateway.Listener) -> Faults:
    for i, kind in enumerate(listener.allowed_routes.kinds if listener.allowed_routes else ()):
        if kind.kind not in _ROUTES or (kind.group or gateway.GROUP) != gateway.GROUP:
            yield findings.Fault(
                "RT0308", ref, f"{path}[{i}]", f"no {kind.kind} can attach to listener {listener.name}",
                f"use {' or '.join(_ROUTES)}, or remove it",
            )


class Wanted(msgspec.Struct, frozen=True):
    """Where it stands that clients of a listener show certificates; `optional`: those without may come in."""

    path: str
    optional: bool


def client_certificates(spec: gateway.GatewaySpec, number: int) -> Wanted | None:
    """What an HTTPS listener wants of its clients (Gateway API: spec.tls.frontend, where the port's word goes
    before the default; before v1.4 tls.frontendValidation of the listener)."""
    listener = spec.listeners[number]
    if listener.protocol != "HTTPS":
        return None
    if listener.tls is not None and listener.tls.frontend_validation:
        return _wanted(listener.tls.frontend_validation, f"spec.listeners[{number}].tls.frontendValidation")
    frontend = _map(_map(spec.tls).get("frontend"))
    ports = frontend.get("perPort")
    for i, each in enumerate(ports if isinstance(ports, list) else ()):
        if _map(each).get("port") == listener.port:
            found = _map(_map(_map(each).get("tls")).get("validation"))
            return _wanted(found, f"spec.tls.frontend.perPort[{i}].tls.validation") if found else None
    found = _map(_map(frontend.get("default")).get("validation"))
    return _wanted(found, "spec.tls.frontend.default.validation") if found else None


def _wanted(validation: dict[str, Any], path: str) -> Wanted:
    return Wanted(path, validation.get("mode") == "AllowInsecureFallback")


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _gateway(ref: findings.Ref, path: str, message: str) -> findings.Fault:
    return findings.Fault("RT0308", ref, path, message, f"remove {path.rpartition('.')[2]}, or keep it for others")
