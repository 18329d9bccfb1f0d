"""Defaults of the Gateway API's kinds, from the kubebuilder markers of its v1 types.

Namespaces of references stay absent: the API does not fill them in, and absent means the object's own.
"""

from typing import TypeVar

import msgspec

from retic.objects import gateway, routes
from retic.objects.defaults_pods import fill

_PREFIX = "PathPrefix"

Backend = TypeVar("Backend", routes.HTTPBackendRef, routes.GRPCBackendRef, routes.ObjectReference)
Filter = TypeVar("Filter", routes.HTTPRouteFilter, routes.GRPCRouteFilter)


def gateway_object(value: gateway.Gateway) -> gateway.Gateway:
    """A Gateway completed: routes from the same namespace, TLS ended here, Secrets as certificates."""
    listeners = tuple(_listener(listener) for listener in value.spec.listeners)
    addresses = tuple(fill(address, type="IPAddress") for address in value.spec.addresses)
    spec = msgspec.structs.replace(value.spec, listeners=listeners, addresses=addresses)
    return msgspec.structs.replace(value, spec=spec)


def _listener(listener: gateway.Listener) -> gateway.Listener:
    allowed = listener.allowed_routes or gateway.AllowedRoutes()
    namespaces = fill(allowed.namespaces or gateway.RouteNamespaces(), from_="Same")
    kinds = tuple(fill(kind, group=gateway.GROUP) for kind in allowed.kinds)
    tls = listener.tls
    if tls is not None:
        certificates = tuple(fill(ref, group="", kind="Secret") for ref in tls.certificate_refs)
        tls = msgspec.structs.replace(fill(tls, mode="Terminate"), certificate_refs=certificates)
    return msgspec.structs.replace(
        listener, tls=tls, allowed_routes=gateway.AllowedRoutes(namespaces=namespaces, kinds=kinds)
    )


def http_route(value: routes.HTTPRoute) -> routes.HTTPRoute:
    """An HTTPRoute completed: a rule without matches takes every path."""
    rules = value.spec.rules or (routes.HTTPRouteRule(),)
    spec = msgspec.structs.replace(
        value.spec,
        parent_refs=tuple(_parent(parent) for parent in value.spec.parent_refs),
        rules=tuple(_http_rule(rule) for rule in rules),
    )
    return msgspec.structs.replace(value, spec=spec)


def grpc_route(value: routes.GRPCRoute) -> routes.GRPCRoute:
    """A GRPCRoute completed; unlike an HTTPRoute it gets neither rules nor matches."""
    spec = msgspec.structs.replace(
        value.spec,
        parent_refs=tuple(_parent(parent) for parent in value.spec.parent_refs),
        rules=tuple(_grpc_rule(rule) for rule in value.spec.rules),
    )
    return msgspec.structs.replace(value, spec=spec)


def _parent(parent: routes.ParentReference) -> routes.ParentReference:
    return fill(parent, group=gateway.GROUP, kind="Gateway")


def _backend(backend: Backend) -> Backend:
    return fill(backend, group="", kind="Service")


def _header(match: routes.HeaderMatch) -> routes.HeaderMatch:
    return fill(match, type="Exact")


def _filter(item: Filter) -> Filter:
    mirror = item.request_mirror
    if mirror is not None:
        fraction = fill(mirror.fraction, denominator=100) if mirror.fraction else None
        mirror = msgspec.structs.replace(mirror, backend_ref=_backend(mirror.backend_ref), fraction=fraction)
        item = msgspec.structs.replace(item, request_mirror=mirror)
    if isinstance(item, routes.HTTPRouteFilter):
        if item.request_redirect is not None:
            redirect = fill(item.request_redirect, status_code=302)
            item = msgspec.structs.replace(item, request_redirect=redirect)
        if item.cors is not None:
            item = msgspec.structs.replace(item, cors=fill(item.cors, max_age=5))
    return item


def _http_match(match: routes.HTTPRouteMatch) -> routes.HTTPRouteMatch:
    path = fill(match.path or routes.HTTPPathMatch(), type=_PREFIX, value="/")
    return msgspec.structs.replace(
        match, path=path,
        headers=tuple(_header(header) for header in match.headers),
        query_params=tuple(fill(parameter, type="Exact") for parameter in match.query_params),
    )


def _http_rule(rule: routes.HTTPRouteRule) -> routes.HTTPRouteRule:
    backends = tuple(
        msgspec.structs.replace(
            fill(_backend(backend), weight=1), filters=tuple(_filter(item) for item in backend.filters)
        )
        for backend in rule.backend_refs
    )
    return msgspec.structs.replace(
        rule, backend_refs=backends,
        matches=tuple(_http_match(match) for match in rule.matches or (routes.HTTPRouteMatch(),)),
        filters=tuple(_filter(item) for item in rule.filters),
    )


def _grpc_match(match: routes.GRPCRouteMatch) -> routes.GRPCRouteMatch:
    method = fill(match.method, type="Exact") if match.method else None
    return msgspec.structs.replace(
        match, method=method, headers=tuple(_header(header) for header in match.headers)
    )


def _grpc_rule(rule: routes.GRPCRouteRule) -> routes.GRPCRouteRule:
    backends = tuple(
        msgspec.structs.replace(
            fill(_backend(backend), weight=1), filters=tuple(_filter(item) for item in backend.filters)
        )
        for backend in rule.backend_refs
    )
    return msgspec.structs.replace(
        rule, backend_refs=backends,
        matches=tuple(_grpc_match(match) for match in rule.matches),
        filters=tuple(_filter(item) for item in rule.filters),
    )
