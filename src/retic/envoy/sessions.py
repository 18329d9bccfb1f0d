"""Sessions that routes ask for: a filter of Envoy that stands in every chain and does nothing by itself.

The token that a client keeps has its endpoint's address in it. One that names no endpoint of the Service, made up or
of a pod that has gone, counts for nothing: another endpoint is chosen, and the answer has a new token.
"""

from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2
from envoy.extensions.http.stateful_session.header.v3 import header_pb2
from envoy.type.http.v3 import cookie_pb2 as type_cookie_pb2
from google.protobuf import any_pb2

from retic.envoy import limits, packing
from retic.mesh import route

NAME = "envoy.filters.http.stateful_session"


def idle() -> hcm_pb2.HttpFilter:
    """The filter as it stands in a chain: for no request, unless its route says so."""
    config = packing.pack(stateful_session_pb2.StatefulSession())
    return hcm_pb2.HttpFilter(name=NAME, typed_config=config, disabled=True)


def of(session: route.Session) -> any_pb2.Any:
    """A route's own configuration of the filter (`typed_per_filter_config`)."""
    made = stateful_session_pb2.StatefulSessionPerRoute()
    state = made.stateful_session.session_state
    if session.token is route.Token.HEADER:
        state.CopyFrom(
            packing.typed("envoy.http.stateful_session.header", header_pb2.HeaderBasedSessionState(name=session.name))
        )
        return packing.pack(made)
    # All of the host: a rule may match several paths. Envoy adds HttpOnly.
    cookie = type_cookie_pb2.Cookie(name=session.name, path="/")
    if session.lifetime:
        cookie.ttl.CopyFrom(limits.seconds(session.lifetime))
    state.CopyFrom(
        packing.typed("envoy.http.stateful_session.cookie", cookie_pb2.CookieBasedSessionState(cookie=cookie))
    )
    return packing.pack(made)
