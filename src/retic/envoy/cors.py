"""What scripts of other origins may do: a filter in every chain that does nothing, and the policies of routes."""

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import any_pb2

from retic.envoy import matches, packing
from retic.mesh import route

NAME = "envoy.filters.http.cors"


def resting() -> hcm_pb2.HttpFilter:
    """The filter as it stands in a chain: passed over, unless a route says otherwise."""
    return hcm_pb2.HttpFilter(name=NAME, typed_config=packing.pack(cors_pb2.Cors()), disabled=True)


def of(policy: route.Cors) -> any_pb2.Any:
    """A route's policy (CorsPolicy): preflights are answered by the proxy, other answers get their headers."""
    answer = cors_pb2.CorsPolicy(
        allow_origin_string_match=[matches.text(each) for each in policy.origins],
        allow_methods=",".join(policy.methods),
        allow_headers=",".join(policy.headers),
        expose_headers=",".join(policy.exposed),
        max_age="" if policy.age is None else str(policy.age),
    )
    if policy.credentials is not None:
        answer.allow_credentials.value = policy.credentials
    answer.forward_not_matching_preflights.value = policy.forward
    return packing.pack(answer)
