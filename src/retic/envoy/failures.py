"""What the proxy in front of an application says of a request that the application has not answered.

Towards the caller's proxy the connection is fine, so that one sees a 503 like any other. This header tells it that
the answer is not the application's, and may be retried like a connection of its own that failed. It is between
proxies: an application's header of this name is taken away, and so is ours before a caller sees it.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

HEADER = "x-retic-unanswered"

# By Envoy's response flags: no connection could be made; it ended, or the stream was reset, before an answer.
_SAID = {"connect": ("UF",), "reset": ("UC", "UR")}


def header(flags: Iterable[str]) -> base_pb2.HeaderValueOption | None:
    """What an answer with one of these flags carries; None for others."""
    for word, those in _SAID.items():
        if not set(those).isdisjoint(flags):
            return base_pb2.HeaderValueOption(
                header=base_pb2.HeaderValue(key=HEADER, value=word),
                append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
            )
    return None


def said(*, reset: bool) -> route_components_pb2.HeaderMatcher:
    """Matches an answer that says so: of a connection that could not be made, and with `reset` of one that ended."""
    if reset:
        return route_components_pb2.HeaderMatcher(name=HEADER, present_match=True)
    return route_components_pb2.HeaderMatcher(name=HEADER, string_match=string_pb2.StringMatcher(exact="connect"))
