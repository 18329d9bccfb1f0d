"""One rule of `mesh.route` as entries of a virtual host."""

from collections.abc import Iterable

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import cors, faults, limits, matches, mirrors, names, replies, retrying, sessions, shares
from retic.mesh import limit, route

Entry = route_components_pb2.Route
_CODES = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


def entries(rule: route.Rule, client: str, port: int = 0) -> list[Entry]:
    """The rule's entries, in order: usually one; more where a share of the requests must be answered 500.

    `port` is the listener's, where a redirect to another host must keep it; 0 where it goes without saying.
    """
    return [entry for match in matches.apart(rule.match) for entry in _entries(_with(rule, match), client, port)]


def _with(rule: route.Rule, match: route.Match) -> route.Rule:
    return rule if match is rule.match else msgspec.structs.replace(rule, match=match)


def _entries(rule: route.Rule, client: str, port: int) -> list[Entry]:
    if rule.redirect is not None and not rule.broken:
        return _redirects(rule, rule.redirect, port)
    if rule.answer is not None and not rule.broken:
        return [_answer(rule, rule.answer)]
    good = [b for b in rule.backends if b.port]
    total = sum(b.weight for b in rule.backends)
    lost = total - sum(b.weight for b in good)
    if rule.broken or not good:
        return [_refusal(rule)]
    answer = [_share(_refusal(rule), 100 * lost / total)] if lost else []
    return [*answer, _forward(rule, good, client)]


def _entry(rule: route.Rule) -> Entry:
    entry = Entry(name=named(rule), match=matches.of(rule.match))
    if rule.cors is not None:
        entry.typed_per_filter_config[cors.NAME].CopyFrom(cors.of(rule.cors))
    if rule.fault is not None:
        entry.typed_per_filter_config[faults.NAME].CopyFrom(faults.of(rule.fault))
    return entry


def named(rule: route.Rule | limit.Followed) -> str:
    """The name of a rule's entries: it leads from Envoy's logs back to the object, its rule and its line."""
    origin = rule.origin
    return f"{origin.kind}/{origin.namespace}/{origin.name}/{rule.number}"


def _refusal(rule: route.Rule) -> Entry:
    entry = _entry(rule)
    entry.direct_response.status = rule.unable
    replies.refusal(entry)
    return entry


def _answer(rule: route.Rule, answer: route.Answer) -> Entry:
    entry = _entry(rule)
    entry.direct_response.status = answer.status
    if answer.body:
        entry.direct_response.body.inline_bytes = answer.body
    entry.response_headers_to_add.extend(_added(rule.response))
    entry.response_headers_to_remove.extend(rule.response.remove)
    return entry


def _share(entry: Entry, share: float) -> Entry:
    entry.match.runtime_fraction.default_value.CopyFrom(shares.fraction(share))
    return entry


def _forward(rule: route.Rule, backends: list[route.Backend], client: str) -> Entry:
    entry = _entry(rule)
    action = entry.route
    _clusters(action, backends, client, grpc=rule.match.grpc)
    action.timeout.CopyFrom(limits.seconds(rule.timeout or 0))
    if rule.retries is not None:
        action.retry_policy.CopyFrom(retrying.asked(rule.retries))
    if rule.session is not None:
        entry.typed_per_filter_config[sessions.NAME].CopyFrom(sessions.of(rule.session))
    if rule.rewrite is not None:
        _rewrite(action, rule)
    for mirror, share in rule.mirrors:
        to = _cluster(mirror, client, grpc=rule.match.grpc)
        action.request_mirror_policies.append(mirrors.policy(to, share))
    entry.request_headers_to_add.extend(_added(rule.request))
    entry.request_headers_to_remove.extend(rule.request.remove)
    entry.response_headers_to_add.extend(_added(rule.response))
    entry.response_headers_to_remove.extend(rule.response.remove)
    return entry


def _cluster(backend: route.Backend, client: str, *, grpc: bool = False) -> str:
    name = names.grpc if grpc else names.service
    return name(client, backend.namespace, backend.name, backend.port, backend.subset)


def _clusters(
    action: route_components_pb2.RouteAction, backends: list[route.Backend], client: str, *, grpc: bool
) -> None:
    if len(backends) == 1 and not backends[0].request and not backends[0].response:
        action.cluster = _cluster(backends[0], client, grpc=grpc)
        return
    for backend in backends:
        weight = action.weighted_clusters.clusters.add(
            name=_cluster(backend, client, grpc=grpc),
            weight=wrappers_pb2.UInt32Value(value=backend.weight),
        )
        weight.request_headers_to_add.extend(_added(backend.request))
        weight.request_headers_to_remove.extend(backend.request.remove)
        weight.response_headers_to_add.extend(_added(backend.response))
        weight.response_headers_to_remove.extend(backend.response.remove)


def _added(edit: route.Edit) -> Iterable[base_pb2.HeaderValueOption]:
    option = base_pb2.HeaderValueOption
    for key, value in edit.set:
        yield _header(key, value, option.OVERWRITE_IF_EXISTS_OR_ADD)
    for key, value in edit.add:
        yield _header(key, value, option.APPEND_IF_EXISTS_OR_ADD)


def _header(
    key: str, value: str, action: "base_pb2.HeaderValueOption.HeaderAppendAction.ValueType"
) -> base_pb2.HeaderValueOption:
    # A percent sign begins a formatter in Envoy; the user's is meant literally.
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=key, value=value.replace("%", "%%")),
        append_action=action,
        keep_empty_value=True,
    )


def _rewrite(action: route_components_pb2.RouteAction, rule: route.Rule) -> None:
    assert rule.rewrite is not None
    if rule.rewrite.host:
        action.host_rewrite_literal = rule.rewrite.host
    if rule.rewrite.path is not None:
        change = rule.rewrite.path
        if change.prefix and not change.joined:
            action.prefix_rewrite = change.value
        else:
            action.regex_rewrite.CopyFrom(_path(change, rule.match.path))


def _path(change: route.PathChange, matched: route.Path) -> regex_pb2.RegexMatchAndSubstitute:
    """The new path by substitution, which leaves the query alone and joins slashes correctly."""
    if change.pattern:
        return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex(change.pattern), substitution=change.value)
    text = change.value.replace("\\", "\\\\")
    if not change.prefix:
        return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex("^[^?]*"), substitution=text)
    prefix = matched.value.rstrip("/")
    if text.rstrip("/"):
        # What follows the prefix keeps its own slash: /a -> /b turns /a/x into /b/x, and /a into /b.
        pattern = "^" + _quoted(prefix) if prefix else "^/?"
        substitution = text.rstrip("/") + ("" if prefix else "/")
        return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex(pattern), substitution=substitution)
    return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex("^" + _quoted(prefix) + "/*"), substitution="/")


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() or c in "/_-" else "\\" + c for c in text)


def _redirects(rule: route.Rule, redirect: route.Redirect, listener_port: int) -> list[Entry]:
    """Usually one entry. Well-known ports are not written into a location (HTTPRequestRedirectFilter.port)."""
    if redirect.bare:
        return [_redirect(rule, redirect, redirect.port or 0)]
    known = {"http": 80, "https": 443}.get(redirect.scheme or "")
    port = redirect.port or known
    if port is None:
        # Without host and port the location has what the client wrote in Host.
        return [_redirect(rule, redirect, listener_port if redirect.host else 0)]
    if port != known:
        return [_redirect(rule, redirect, port)]
    plain = _redirect(rule, redirect, 0)
    if redirect.host:
        return [plain]
    # Envoy keeps a port that stands in Host unless told another one.
    with_port = _redirect(rule, redirect, port)
    with_port.match.headers.append(
        route_components_pb2.HeaderMatcher(
            name=":authority", string_match=string_pb2.StringMatcher(safe_regex=matches.regex(".*:[0-9]+"))
        )
    )
    return [with_port, plain]


def _redirect(rule: route.Rule, redirect: route.Redirect, port: int) -> Entry:
    entry = _entry(rule)
    action = entry.redirect
    action.response_code = _CODES.get(redirect.status, route_components_pb2.RedirectAction.FOUND)
    if redirect.host:
        action.host_redirect = redirect.host
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    if port:
        action.port_redirect = port
    if redirect.path is not None:
        if redirect.path.prefix:
            action.regex_rewrite.CopyFrom(_path(redirect.path, rule.match.path))
        else:
            action.path_redirect = redirect.path.value
    entry.response_headers_to_add.extend(_added(rule.response))
    entry.response_headers_to_remove.extend(rule.response.remove)
    return entry
