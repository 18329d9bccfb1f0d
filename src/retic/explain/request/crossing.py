"""Requests of scripts of other origins: which of them the proxy answers itself (Fetch Standard, CORS protocol)."""

from retic.explain.request import matching, message
from retic.mesh import route


def answered(policy: route.Cors, request: message.Message) -> bool:
    """Whether it is a preflight that goes no further: of an origin that is allowed, or where no other is let on."""
    origin = request.header("origin")
    if not origin or request.method != "OPTIONS" or not request.header("access-control-request-method"):
        return False
    return not policy.forward or any(_allowed(each, origin) for each in policy.origins)


def _allowed(wanted: route.Condition, origin: str) -> bool:
    every = wanted.how is route.How.EXACT and wanted.value == "*"
    return every or matching.holds(wanted, origin)
