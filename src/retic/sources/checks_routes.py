"""Rules between the fields of HTTPRoute and GRPCRoute (Gateway API v1, their CEL rules)."""

import re
from collections.abc import Iterator

from retic.objects import routes
from retic.sources import validate
from retic.sources.checks_core import fault

Faults = Iterator[validate.Fault]

_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "ExtensionRef": "extensionRef",
    "CORS": "cors",
    "ExternalAuth": "externalAuth",
}
_ONCE = frozenset(
    {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"}
)
_REDIRECTS = frozenset({None, 301, 302, 303, 307, 308})
_BAD_PATH = re.compile(r"//|/\./|/\.\./|%2[fF]|#|/\.\.?$")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """The length of a GEP-2257 duration that has the right form."""
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9]+)(ms|h|m|s)", duration))


def http(value: routes.HTTPRoute) -> Faults:
    """An HTTPRoute."""
    for i, rule in enumerate(value.spec.rules):
        path = f"spec.rules[{i}]"
        for j, match in enumerate(rule.matches):
            yield from path_match(match.path, f"{path}.matches[{j}].path")
        yield from _filters(rule.filters, f"{path}.filters")
        prefix_only = bool(rule.matches) and all(
            match.path is None or match.path.type in {None, "PathPrefix"} for match in rule.matches
        )
        for j, item in enumerate(rule.filters):
            yield from _http_filter(item, f"{path}.filters[{j}]", prefix_only=prefix_only or not rule.matches)
            if item.type == "RequestRedirect" and rule.backend_refs:
                fix = "remove backendRefs: the redirect answers the request"
                yield fault(f"{path}.backendRefs", "stands beside a RequestRedirect", fix)
        for j, backend in enumerate(rule.backend_refs):
            yield from _backend(backend, f"{path}.backendRefs[{j}]")
            yield from _filters(backend.filters, f"{path}.backendRefs[{j}].filters")
        yield from _timeouts(rule.timeouts, f"{path}.timeouts")
        yield from _session(rule.session_persistence, f"{path}.sessionPersistence")


def grpc(value: routes.GRPCRoute) -> Faults:
    """A GRPCRoute."""
    for i, rule in enumerate(value.spec.rules):
        path = f"spec.rules[{i}]"
        for j, match in enumerate(rule.matches):
            method = match.method
            if method is not None and not method.service and not method.method:
                fix = "write service, method, or both"
                yield fault(f"{path}.matches[{j}].method", "names neither service nor method", fix, "RT0007")
        yield from _filters(rule.filters, f"{path}.filters")
        for j, backend in enumerate(rule.backend_refs):
            yield from _backend(backend, f"{path}.backendRefs[{j}]")
            yield from _filters(backend.filters, f"{path}.backendRefs[{j}].filters")
        yield from _session(rule.session_persistence, f"{path}.sessionPersistence")


def _session(session: routes.SessionPersistence | None, path: str) -> Faults:
    cookie = session.cookie_config if session else None
    if session is None or cookie is None or cookie.lifetime_type != "Permanent" or session.absolute_timeout:
        return
    message = "is missing, and a cookie of lifetimeType Permanent needs it"
    yield fault(f"{path}.absoluteTimeout", message, "write absoluteTimeout: 1h", "RT0007")


def path_match(match: routes.HTTPPathMatch | None, path: str) -> Faults:
    if match is None or match.value is None or match.type == "RegularExpression":
        return
    if not match.value.startswith("/"):
        message = f'is "{match.value[:60]}", which begins without /'
        yield fault(f"{path}.value", message, f"write value: /{match.value[:60]}")
    elif _BAD_PATH.search(match.value):
        message = f'is "{match.value[:60]}", which no normalised path can match'
        yield fault(f"{path}.value", message, "write a path without //, /., /.., %2f and #")


def _filters(items: tuple[routes.HTTPRouteFilter | routes.GRPCRouteFilter, ...], path: str) -> Faults:
    seen: set[str] = set()
    for i, item in enumerate(items):
        yield from _filter(item, f"{path}[{i}]")
        if item.type in seen and item.type in _ONCE:
            yield fault(f"{path}[{i}].type", f"is {item.type} again", "put both into one filter")
        seen.add(item.type)
    if {"RequestRedirect", "URLRewrite"} <= seen:
        yield fault(path, "has both a RequestRedirect and a URLRewrite", "keep one of the two")


def _filter(item: routes.HTTPRouteFilter | routes.GRPCRouteFilter, path: str) -> Faults:
    wanted = _FIELDS[item.type]
    for name in item.__struct_fields__:
        encoded = item.__struct_encode_fields__[item.__struct_fields__.index(name)]
        present = name != "type" and getattr(item, name) is not None
        if present and encoded != wanted:
            yield fault(f"{path}.{encoded}", f"does not go with type {item.type}", f"write {wanted}:")
        if encoded == wanted and not present:
            message = f"is missing, and type {item.type} needs it"
            yield fault(f"{path}.{wanted}", message, f"write {wanted}:", "RT0007")
    mirror = item.request_mirror
    if mirror is not None:
        yield from _backend(mirror.backend_ref, f"{path}.requestMirror.backendRef")
        if mirror.percent is not None and mirror.fraction is not None:
            yield fault(f"{path}.requestMirror.fraction", "stands beside percent", "keep one of the two")
    for field, modifier in (
        ("requestHeaderModifier", item.request_header_modifier),
        ("responseHeaderModifier", item.response_header_modifier),
    ):
        if modifier is not None:
            yield from _modifier(modifier, f"{path}.{field}")


def _modifier(modifier: routes.HeaderModifier, path: str) -> Faults:
    for field, headers in (("set", modifier.set), ("add", modifier.add)):
        seen: set[str] = set()
        for i, header in enumerate(headers):
            if header.name.lower() in seen:
                yield fault(f"{path}.{field}[{i}].name", f'is "{header.name}" again', "keep one of them")
            seen.add(header.name.lower())


def _http_filter(item: routes.HTTPRouteFilter, path: str, *, prefix_only: bool) -> Faults:
    redirect = item.request_redirect
    if redirect is not None and redirect.status_code not in _REDIRECTS:
        where = f"{path}.requestRedirect.statusCode"
        yield fault(where, f"is {redirect.status_code}", "write 301, 302, 303, 307 or 308")
    for field, part in (("requestRedirect", redirect), ("urlRewrite", item.url_rewrite)):
        if part is None or part.path is None:
            continue
        where = f"{path}.{field}.path"
        whole = part.path.type == "ReplaceFullPath"
        own = part.path.replace_full_path if whole else part.path.replace_prefix_match
        other = part.path.replace_prefix_match if whole else part.path.replace_full_path
        name = "replaceFullPath" if whole else "replacePrefixMatch"
        if own is None or other is not None:
            yield fault(where, f"of type {part.path.type} wants {name}, and only that", f"write {name}: /")
        if not whole and not prefix_only:
            fix = "match with type PathPrefix, or write type: ReplaceFullPath"
            yield fault(f"{where}.type", "is ReplacePrefixMatch, but a match is no PathPrefix", fix)


def _backend(
    backend: routes.HTTPBackendRef | routes.GRPCBackendRef | routes.ObjectReference, path: str
) -> Faults:
    if not backend.group and backend.kind in {None, "Service"} and backend.port is None:
        yield fault(f"{path}.port", "is missing", "write the Service's port: port: 80", "RT0007")


def _timeouts(timeouts: routes.HTTPRouteTimeouts | None, path: str) -> Faults:
    if timeouts is None or timeouts.request is None or timeouts.backend_request is None:
        return
    whole, backend = seconds(timeouts.request), seconds(timeouts.backend_request)
    if whole and backend > whole:
        message = f"is {timeouts.backend_request}, longer than request ({timeouts.request})"
        yield fault(f"{path}.backendRequest", message, f"write {timeouts.request} or less")
