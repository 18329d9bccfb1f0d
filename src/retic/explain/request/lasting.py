"""How long a request may take, whether it is sent again, and where its session and its caller lead it, in words."""

from retic.explain.request.answer import Step
from retic.mesh import route, service

_FAILED = "when no connection is made or it ends before an answer"
_REACH = {
    service.Reach.NODE_FIRST: "endpoints of the caller's node come first, then those of its zone",
    service.Reach.NODE_ONLY: "endpoints of the caller's node only (internalTrafficPolicy: Local)",
}


def limits(timeout: float | None, retries: route.Retries | None, method: str) -> Step:
    """A rule's, or with neither the mesh's own; `timeout` in seconds."""
    limit = f"at most {timeout:g} s" if timeout else "no time-out"
    return Step("limits", f"{limit}; {_again(retries, method)}")


def _again(retries: route.Retries | None, method: str) -> str:
    if retries is None:
        return f"once more {_FAILED}" if method in route.IDEMPOTENT else f"{method} is not sent twice"
    if not retries.attempts:
        return "no retries"
    reasons = ", ".join((*retries.on, *map(str, retries.codes))) or _FAILED
    answer = f"up to {retries.attempts} more on {reasons}"
    if retries.try_timeout:
        answer += f"; each attempt at most {retries.try_timeout:g} s"
    if retries.backoff:
        answer += f"; a pause of some {retries.backoff:g} s, then longer ones"
    return answer


def session(of: route.Session) -> Step:
    """What a session is known by."""
    until = f"for {of.lifetime:g} s" if of.lifetime else "for as long as the client sends it"
    text = f"requests with the {of.token.value} {of.name} of an answer go to its endpoint, if that is there, {until}"
    return Step("session", text)


def led(balancing: service.Balancing) -> str:
    """What a Service says of its callers; "" when it says nothing."""
    parts = [_REACH[balancing.reach]] if balancing.reach in _REACH else []
    if balancing.sticky:
        parts.append("the same one for the same caller's address (sessionAffinity: ClientIP)")
    return "; ".join(parts)
