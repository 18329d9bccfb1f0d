"""A route that delegates, merged with the routes of the VirtualService that it delegates to (one level).

As Istio does it: a delegate's match must be narrower than one of the root's, else that route of the delegate takes no
effect; what the delegate does not say, the root does.
"""

from collections.abc import Iterator, Mapping

import msgspec

from retic.mesh import translation
from retic.objects import virtual_services as vs

_INHERITED = (
    "rewrite", "timeout", "retries", "fault", "mirror", "mirror_percent", "mirror_percentage", "cors_policy", "headers",
)  # fmt: skip
_CALLER = ("source_labels", "source_namespace", "gateways")


class Piece(msgspec.Struct, frozen=True):
    """One route of a delegate, merged. `number` is its place there"""

    number: int
    route: vs.VirtualHTTPRoute


def merged(
    notes: translation.Notes, root: vs.VirtualHTTPRoute, path: str, delegate: vs.VirtualService
) -> Iterator[Piece]:
    """The delegate's routes as they hold within the root's, with the faults noted at `path`."""
    name = f"{delegate.metadata.namespace}/{delegate.metadata.name}"
    for number, inner in enumerate(delegate.spec.http):
        if inner.delegate is not None:
            notes.add(
                "RT0544", f"{path}.delegate",
                f"route {number + 1} of VirtualService {name} delegates once more: it takes no "
                "effect", "delegate once only",
            )
            continue
        found = _matches(root.match, inner.match)
        if found is None:
            notes.add(
                "RT0544", f"{path}.delegate",
                f"route {number + 1} of VirtualService {name} matches more than this route, "
                "or something else: it takes no effect", "make its match narrower: a longer prefix, the same method, "
                "no regular expression for what this one compares",
            )
            continue
        changes = {field: getattr(root, field) for field in _INHERITED if getattr(inner, field) is None}
        if inner.mirrors or root.mirrors:
            changes.update(_mirrors(root, inner))
        yield Piece(number, msgspec.structs.replace(inner, match=found, **changes))


def _mirrors(root: vs.VirtualHTTPRoute, inner: vs.VirtualHTTPRoute) -> dict[str, object]:
    """All mirrors of one of the two: the delegate's, if it has some."""
    if inner.mirrors:
        return {"mirror": None, "mirror_percent": None, "mirror_percentage": None}
    return {} if inner.mirror else {"mirrors": root.mirrors}


def _matches(
    root: tuple[vs.HTTPMatchRequest, ...], inner: tuple[vs.HTTPMatchRequest, ...]
) -> tuple[vs.HTTPMatchRequest, ...] | None:
    """Every match of the delegate within each of the root's that it is narrower than; None where one is in none."""
    if not root or not inner:
        return root or inner
    answer = []
    for each in inner:
        around = [one for one in root if not _conflict(one, each)]
        if not around:
            return None
        answer += [_joined(one, each) for one in around]
    return tuple(answer)


def _conflict(root: vs.HTTPMatchRequest, inner: vs.HTTPMatchRequest) -> bool:
    pairs = [(getattr(root, name), getattr(inner, name)) for name in ("uri", "scheme", "method", "authority")]
    for field in ("headers", "query_params"):
        outer: Mapping[str, vs.StringMatch] = getattr(root, field)
        pairs += [(outer.get(key), value) for key, value in getattr(inner, field).items()]
    # What must not be is narrower where more must not be, which nobody can say: only the same will do.
    if any(root.without_headers.get(k, v) != v for k, v in inner.without_headers.items()):
        return True
    if any(a is not None and b is not None and not _narrower(a, b) for a, b in pairs):
        return True
    if bool(root.ignore_uri_case) is not bool(inner.ignore_uri_case):
        return True
    if root.port and inner.port and root.port != inner.port:
        return True
    return any(
        getattr(inner, field) and getattr(root, field) and getattr(inner, field) != getattr(root, field)
        for field in _CALLER
    )


def _narrower(root: vs.StringMatch, inner: vs.StringMatch) -> bool:
    """Whether what `inner` takes is taken by `root` too, as far as that can be said."""
    if root.regex is not None or inner.regex is not None:
        return False
    if root.exact is not None:
        return inner.exact == root.exact
    if root.prefix is not None:
        value = inner.exact if inner.exact is not None else inner.prefix
        return value is not None and value.startswith(root.prefix)
    return True  # it need only be there


def _joined(root: vs.HTTPMatchRequest, inner: vs.HTTPMatchRequest) -> vs.HTTPMatchRequest:
    changes: dict[str, object] = {}
    for field in ("uri", "scheme", "method", "authority", "port", "source_namespace"):
        if getattr(inner, field) is None:
            changes[field] = getattr(root, field)
    for field in ("headers", "query_params", "without_headers", "source_labels"):
        changes[field] = {**getattr(root, field), **getattr(inner, field)}
    changes["gateways"] = inner.gateways or root.gateways
    return msgspec.structs.replace(inner, **changes)
