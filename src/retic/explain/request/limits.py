"""Which limits count a request: those it can be refused by, not whether they are used up."""

from collections.abc import Iterable

from retic.explain.request import matching, message
from retic.explain.request.answer import Step
from retic.explain.request.world import World
from retic.mesh import limit, plain_paths, route

_UNITS = {1: "second", 60: "minute", 3600: "hour"}


def told(world: World, given: Iterable[limit.Limit], request: message.Message, port: int | None = None) -> list[Step]:
    """A step for each limit that counts the request, made to the pod's own `port` where it is one that arrives."""
    return [
        world.step("limit", f"{each.origin}: {words(each)}", each.origin, f"spec.limits[{each.number}]")
        for each in given
        if (port is None or not each.ports or port in each.ports) and counts(each, request)
    ]


def counts(of: limit.Limit, request: message.Message) -> bool:
    """Whether the request is one of those that the limit is for. A path with two readings is each that it compares."""
    if not of.matches:
        return True
    texts = [match.path.value for match in of.matches if match.path != route.Path()]
    readable = matching.full(plain_paths.readable(texts), request.path)
    return any(
        not matching.missed(match, request) or (not readable and not matching.missed(_anywhere(match), request))
        for match in of.matches
    )


def _anywhere(match: route.Match) -> route.Match:
    return route.Match(route.Path(), match.method, match.headers)


def words(of: limit.Limit) -> str:
    """The limit as people read it."""
    by = [*(["service account that calls"] if of.identity else ()), *(f"value of {name}" for name in of.headers)]
    by += ["address that calls"] if of.address else []
    each = f" for each {' and '.join(by)}" if by else ""
    burst = f" (up to {of.burst} at once)" if of.burst != of.requests and of.scope is limit.Scope.LOCAL else ""
    where = "in each proxy by itself" if of.scope is limit.Scope.LOCAL else "in all proxies together"
    beyond = "what is more is only counted (dryRun)" if of.dry_run else "what is more is answered 429"
    return f"{of.requests} requests a {_UNITS[of.seconds]}{burst}{each}, counted {where}; {beyond}"
