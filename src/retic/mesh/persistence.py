"""What rules of HTTPRoutes and GRPCRoutes ask for beyond one request: retries, and sessions."""

import hashlib

from retic.mesh import route, translation
from retic.objects import routes

_ATTEMPTS = 1  # where the rule does not say: left to implementations (GEP-1731)


def retries(retry: routes.HTTPRouteRetry | None, try_timeout: float | None) -> route.Retries | None:
    """A rule's `retry`; `try_timeout` in seconds is its timeouts.backendRequest. Connections that fail are always a
    reason, as the specification recommends (HTTPRouteRetry)."""
    if retry is None:
        return None
    return route.Retries(
        attempts=_ATTEMPTS if retry.attempts is None else retry.attempts,
        on=("connect-failure", "refused-stream", "reset"),
        codes=tuple(dict.fromkeys(retry.codes)),
        try_timeout=try_timeout or None,
        backoff=translation.seconds(retry.backoff) or None,
    )


def session(
    notes: translation.Notes, asked: routes.SessionPersistence | None, backends: int, number: int
) -> route.Session | None:
    """A rule's `sessionPersistence`; what the proxy does not do of it is noted. `backends` of the rule have weight."""
    if asked is None:
        return None
    path = f"spec.rules[{number}].sessionPersistence"
    token = route.Token.HEADER if asked.type == "Header" else route.Token.COOKIE
    kind = (asked.cookie_config.lifetime_type if asked.cookie_config else None) or "Session"
    permanent = token is route.Token.COOKIE and kind == "Permanent"
    if asked.idle_timeout is not None:
        _endless(notes, f"{path}.idleTimeout", "being idle")
    if asked.absolute_timeout is not None and not permanent:
        _endless(notes, f"{path}.absoluteTimeout", "its age, unless a cookie of lifetimeType Permanent carries it")
    if backends > 1:
        notes.add(
            "RT0522", path,
            "the rule draws one of its backends for each request, of a session too: only at the same backend does a "
            "session find its endpoint again",
            "give the rule one backend, and split traffic by a match",
        )
    lifetime = (translation.seconds(asked.absolute_timeout) or 0) if permanent else 0
    return route.Session(token, asked.session_name or _name(notes, number), lifetime)


def _endless(notes: translation.Notes, path: str, reason: str) -> None:
    notes.add(
        "RT0521", path, f"the proxy ends no session for {reason}: it lasts until its client forgets it",
        "write type: Cookie, cookieConfig: {lifetimeType: Permanent} and absoluteTimeout, or remove the field",
    )


def _name(notes: translation.Notes, number: int) -> str:
    """One of its own for every rule, since a client may meet several; the same on every proxy."""
    origin = f"{notes.origin.kind}/{notes.origin.namespace}/{notes.origin.name}/{number}"
    return f"retic-session-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
