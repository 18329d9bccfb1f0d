"""Mirrored requests: a second way through the proxy, on which a request gets back whose it is.

Envoy sends a mirrored request on its own: the connection's filter state, and with it the caller's identity and network
namespace, stays behind. So every mirrored request goes to one cluster that leads back into the same proxy, to a
listener that no socket belongs to (an internal listener). What rides along (`riders`) stands in headers that the proxy
writes over whatever there was; they are made filter state again there, and taken away. From then on it is a request
like any other: its cluster is fetched on demand, so that the first one arrives too.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import clusters, filters, limits, logs, managers, names, packing, riders, shares
from retic.mesh import service

_CLUSTER_HEADER = "x-retic-mirror"
# What a request needs to leave as the caller's, and what the proxy remembers of the caller's connection.
_RIDERS = {
    riders.Rider.IDENTITY: "x-retic-mirror-identity",
    riders.Rider.NAMESPACE: "x-retic-mirror-namespace",
    riders.Rider.WORKLOAD: "x-retic-mirror-workload",
}
# Envoy adds an address of its own to x-forwarded-for, as if it were a proxy in between.
_FOR, _FOR_HEADER = "x-forwarded-for", "x-retic-mirror-for"
_OURS = (_CLUSTER_HEADER, _FOR_HEADER, *_RIDERS.values())

Policy = route_components_pb2.RouteAction.RequestMirrorPolicy


def policy(cluster: str, share: float) -> Policy:
    """Mirror `share` in a hundred of the requests to the cluster."""
    answer = Policy(cluster=names.MIRROR)
    answer.runtime_fraction.default_value.CopyFrom(shares.fraction(share))
    said = {_CLUSTER_HEADER: cluster.replace("%", "%%")}
    said |= {header: f"%FILTER_STATE({rider.key}:PLAIN)%" for rider, header in _RIDERS.items()}
    said[_FOR_HEADER] = f"%REQ({_FOR})%"
    # What a route of the user's may have set is gone, also where nothing takes its place.
    answer.request_headers_mutations.extend(mutation_rules_pb2.HeaderMutation(remove=key) for key in _OURS)
    answer.request_headers_mutations.extend(
        mutation_rules_pb2.HeaderMutation(append=_overwritten(key, value)) for key, value in said.items()
    )
    return answer


def _overwritten(key: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=key, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def cluster() -> cluster_pb2.Cluster:
    """Back into this proxy."""
    answer = cluster_pb2.Cluster(
        name=names.MIRROR,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=limits.seconds(limits.CONNECT_SECONDS),
        circuit_breakers=limits.circuit_breakers(),
    )
    # Envoy's own requests say nothing of the version that theirs came in.
    clusters.speak(answer, service.Protocol.HTTP1, limits.IDLE_SECONDS)
    answer.load_assignment.cluster_name = names.MIRROR
    member = answer.load_assignment.endpoints.add().lb_endpoints.add()
    member.endpoint.address.envoy_internal_address.server_listener_name = names.MIRRORS
    return answer


def listener(*, pods: bool) -> listener_pb2.Listener:
    """Where mirrored requests come back. `pods`: they leave from the network namespace of a pod."""
    manager = managers.mirrored(_filters(pods=pods))
    entry = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    entry.route.cluster_header = _CLUSTER_HEADER
    entry.route.timeout.CopyFrom(limits.seconds(0))
    entry.request_headers_to_remove.append(_FOR)
    entry.request_headers_to_add.append(_overwritten(_FOR, f"%REQ({_FOR_HEADER})%"))
    host = route_components_pb2.VirtualHost(name="mirrored", domains=["*"], routes=[entry])
    manager.route_config.CopyFrom(
        route_pb2.RouteConfiguration(
            name=names.MIRRORS,
            virtual_hosts=[host],
            validate_clusters=wrappers_pb2.BoolValue(value=False),
            request_headers_to_remove=_OURS,
            # It is counted as a call of that Service, not of the one that it was meant for first.
            request_headers_to_add=[logs.to_next()],
        )
    )
    answer = listener_pb2.Listener(name=names.MIRRORS, stat_prefix="mirrors")
    answer.internal_listener.SetInParent()
    answer.filter_chains.append(listener_components_pb2.FilterChain(filters=[managers.as_filter(manager)]))
    return answer


def _filters(*, pods: bool) -> list[hcm_pb2.HttpFilter]:
    values = [
        riders.value(rider, f"%REQ({header})%")
        for rider, header in _RIDERS.items()
        if pods or rider is not riders.Rider.NAMESPACE
    ]
    remember = hcm_pb2.HttpFilter(
        name="retic.riders", typed_config=packing.pack(set_filter_state_pb2.Config(on_request_headers=values))
    )
    return [
        # First: whose it is must be known before its connection is chosen.
        remember,
        *filters.sending(),
    ]
