"""What the proxy in front of an application says of a request that the application has not answered.

Towards the caller's proxy the connection is fine, so that one sees a 503 like any other. This header tells it that
the answer is not the application's, and may be retried like a connection of its own that failed. It is between
proxies: an application's header of this name is taken away, and so is ours before a caller sees it.
"""

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import string_pb2

HEADER = "x-retic-unanswered"

# By Envoy's response flags: no connection could be made; it ended, or the stream was reset, before an answer.
_SAID = {"connect": ("UF",), "reset": ("UC", "UR")}


def mappers() -> list[hcm_pb2.ResponseMapper]:
    """For `local_reply_config` of a manager in front of an application."""
    return [_mapper(word, flags) for word, flags in _SAID.items()]


def _mapper(word: str, flags: tuple[str, ...]) -> hcm_pb2.ResponseMapper:
    said = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=HEADER, value=word),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    those = accesslog_pb2.AccessLogFilter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=flags))
    return hcm_pb2.ResponseMapper(filter=those, headers_to_add=[said])


def said(*, reset: bool) -> route_components_pb2.HeaderMatcher:
    """Matches an answer that says so: of a connection that could not be made, and with `reset` of one that ended."""
    if reset:
        return route_components_pb2.HeaderMatcher(name=HEADER, present_match=True)
    return route_components_pb2.HeaderMatcher(name=HEADER, string_match=string_pb2.StringMatcher(exact="connect"))
