"""Limits as Envoy's filters: one filter for each local limit, and one that asks about all global ones.

A local limit is a bucket of tokens in this proxy, or one for each combination of what it goes by, of which the least
used are forgotten beyond `MOST_BUCKETS` (envoy.extensions.filters.http.local_ratelimit.v3). A global limit is asked
about at the agent, which passes the question on to the control plane (envoy.extensions.filters.http.ratelimit.v3).
Whoever waits stands last: behind it Envoy passes over the other filters of a chain (`several`). Refused is with 429, or
RESOURCE_EXHAUSTED for gRPC; which limit it was, a client is not told.
"""

import enum
import json
from collections.abc import Iterable, Sequence

from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2
from envoy.config.ratelimit.v3 import rls_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2 as common_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.ratelimit.v3 import rate_limit_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.v3 import http_status_pb2, token_bucket_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import counted, limits, names, packing, riders, several
from retic.mesh import limit

IDENTITY, ADDRESS, HEADER = "identity", "address", "header."
"""Keys of what is said about a request: whose bucket it takes from."""
MOST_BUCKETS = 1000
LONGEST = 256
"""Letters of a header's value. Longer ones share a bucket: else a caller could fill the proxy's memory with them."""
ANSWER_SECONDS = 0.1
"""How long the store of global limits is waited for."""
FILTER = "rate-limits"
"""The filter that stands in chains for what routes say."""

_DIRECT = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
_STATE = "retic.address"
_NOTHING, _TOO_LONG = "-", "--"  # in place of a value

Filter = extension_pb2.TypedExtensionConfig
Action = route_components_pb2.RateLimit.Action


class Where(enum.Enum):
    """Where requests are counted, and how their caller's identity is found there: by its certificate, by the pod that
    the proxy sends for, or not at all."""

    ARRIVING = "connection.uri_san_peer_certificate"
    LEAVING = f"filter_state['{riders.Rider.IDENTITY.key}']"
    UNKNOWN = ""


def of_requests(
    given: Iterable[limit.Limit], where: Where, whose: str, exempt: counted.Exempt | None = None
) -> list[Filter]:
    """The filters that count requests, in their order; `whose` begins their counters. Those that wait stand last."""
    known, free = tuple(given), exempt or counted.Exempt()
    local = [each for each in known if each.scope is limit.Scope.LOCAL]
    asked = [each for each in known if each.scope is limit.Scope.GLOBAL]
    looks = any(each.address for each in known) or (bool(known) and bool(free.what))
    return [
        *([_address()] if looks else ()),
        *(packing.typed("limit", _local(each, where, whose, free)) for each in local),
        *([_global(asked, where, free)] if asked else ()),
    ]


def _local(
    of: limit.Limit, where: Where, whose: str, exempt: counted.Exempt
) -> local_rate_limit_pb2.LocalRateLimit:
    made = local_rate_limit_pb2.LocalRateLimit(
        stat_prefix=f"retic.limit.{_plain(whose)}.{_plain(of.name)}",
        rate_limited_as_resource_exhausted=True,
        always_consume_default_token_bucket=wrappers_pb2.BoolValue(value=False),
    )
    made.filter_enabled.default_value.numerator = 100
    made.filter_enforced.default_value.numerator = 0 if of.dry_run else 100
    if not of.dry_run:
        made.enable_x_ratelimit_headers = common_pb2.DRAFT_VERSION_03
        # A token is there again after this time at most.
        made.response_headers_to_add.append(_header("retry-after", str(-(-of.seconds // of.requests))))
    bucket = token_bucket_pb2.TokenBucket(
        max_tokens=of.burst, tokens_per_fill=wrappers_pb2.UInt32Value(value=of.requests)
    )
    bucket.fill_interval.seconds = of.seconds
    named, by = counted.said(limit.KEY, of.name), _by(of, where)
    for way in counted.descriptors(of, exempt):
        made.rate_limits.add(actions=[named, *way, *by.values()])
    own = made.descriptors.add(token_bucket=bucket)
    own.entries.add(key=limit.KEY, value=of.name)
    for key in counted.keys(of, exempt):
        own.entries.add(key=key, value=key)
    for key in by:
        # Without a value: each has a bucket.
        own.entries.add(key=key)
    made.max_dynamic_descriptors.value = MOST_BUCKETS
    return made


def _global(given: Sequence[limit.Limit], where: Where, exempt: counted.Exempt) -> Filter:
    """One filter, since only one may wait in a chain. Several that disagree about what cannot be counted refuse it."""
    made = rate_limit_pb2.RateLimit(
        domain=limit.DOMAIN,
        timeout=limits.seconds(ANSWER_SECONDS),
        failure_mode_deny=any(each.fail_closed for each in given),
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers=rate_limit_pb2.RateLimit.DRAFT_VERSION_03,
        disable_x_envoy_ratelimited_header=True,
        rate_limit_service=rls_pb2.RateLimitServiceConfig(transport_api_version=config_source_pb2.ApiVersion.V3),
    )
    made.status_on_error.code = http_status_pb2.ServiceUnavailable
    made.rate_limit_service.grpc_service.envoy_grpc.cluster_name = names.AGENT
    for each in given:
        named, by = counted.said(limit.KEY, each.name), _by(each, where)
        for way in counted.descriptors(each, exempt):
            made.rate_limits.add(actions=[named, *way, *by.values()])
    return packing.typed("global", made)


def _by(of: limit.Limit, where: Where) -> dict[str, Action]:
    """What says whose bucket it is. None of it may be missing: a request without it would not be counted."""
    found: dict[str, Action] = {}
    if of.identity:
        known = where is not Where.UNKNOWN
        found[IDENTITY] = counted.expression(IDENTITY, where.value) if known else counted.said(IDENTITY, _NOTHING)
    for name in of.headers:
        value = f"request.headers[{json.dumps(name)}]"
        bounded = f"(size({value}) > {LONGEST} ? '{_TOO_LONG}' : size({value}) == 0 ? '{_NOTHING}' : {value})"
        text = f"{json.dumps(name)} in request.headers ? {bounded} : '{_NOTHING}'"
        found[HEADER + name] = counted.expression(HEADER + name, text)
    if of.address:
        found[ADDRESS] = counted.expression(ADDRESS, counted.ADDRESS)
    return found


def _address() -> Filter:
    """The address of the connection itself: expressions know only one that a caller may write into X-Forwarded-For."""
    value = value_pb2.FilterStateValue(object_key=_STATE, factory_key="envoy.string")
    value.format_string.text_format_source.inline_string = _DIRECT
    return packing.typed("address", set_filter_state_pb2.Config(on_request_headers=[value]))


def _header(key: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=key, value=value))


def _plain(text: str) -> str:
    return text.replace(".", "_")


def standing() -> hcm_pb2.HttpFilter:
    """The filter in a chain that runs what a route configuration says, and nothing where it says nothing."""
    made = several.nothing("nothing").typed_config
    return hcm_pb2.HttpFilter(name=FILTER, typed_config=made, disabled=True)


def on_routes(
    config: route_pb2.RouteConfiguration, given: Sequence[limit.Limit], where: Where, whose: str
) -> route_pb2.RouteConfiguration:
    """The configuration with the limits of its routes. They are said for all of it, each with the names of the entries
    that it is for: said at an entry, it would have a bucket in each."""
    if given:
        run = several.always(of_requests(given, where, whose))
        own = extension_matcher_pb2.ExtensionWithMatcherPerRoute(xds_matcher=run)
        config.typed_per_filter_config[FILTER].CopyFrom(
            packing.pack(route_components_pb2.FilterConfig(config=packing.pack(own)))
        )
    return config
