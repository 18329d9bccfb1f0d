"""Endpoints: where a Service's port can be reached, the client's own zone first."""

import itertools
from collections.abc import Iterable

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import clusters
from retic.mesh import destination, service


def assignment(
    name: str, endpoints: Iterable[service.Endpoint], zone: str, node: str = ""
) -> endpoint_pb2.ClusterLoadAssignment:
    """The endpoints as one ClusterLoadAssignment.

    Zones other than the client's own are the next priority, when the client has a zone and endpoints say
    theirs; the own zone is left as soon as it has no endpoint. Where `node` is given, the endpoints of that node come
    before all. Endpoints in plaintext stand apart.
    """
    answer = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)

    def far(endpoint: service.Endpoint) -> int:
        return 0 if node and endpoint.node == node else bool(node) + _distance(endpoint, zone)

    ordered = sorted(endpoints, key=lambda e: (far(e), *_place(e), e))
    # Envoy wants priorities without a gap.
    priorities = {distance: i for i, distance in enumerate(sorted({far(e) for e in ordered}))}
    for (distance, *place), group in itertools.groupby(ordered, key=lambda e: (far(e), *_place(e))):
        members = [_endpoint(e) for e in group]
        answer.endpoints.append(
            endpoint_components_pb2.LocalityLbEndpoints(
                locality=base_pb2.Locality(zone=place[0], sub_zone=place[1]),
                priority=priorities[distance],
                lb_endpoints=members,
                load_balancing_weight=wrappers_pb2.UInt32Value(value=len(members)),
            )
        )
    return answer


def grouped(name: str, groups: Iterable[destination.Group]) -> endpoint_pb2.ClusterLoadAssignment:
    """Endpoints in the order in which some callers call them."""
    answer = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    for group in groups:
        zone, part = _place(group.endpoints[0])
        answer.endpoints.append(
            endpoint_components_pb2.LocalityLbEndpoints(
                locality=base_pb2.Locality(zone=zone, sub_zone=part),
                priority=group.priority,
                lb_endpoints=[_endpoint(e) for e in group.endpoints],
                load_balancing_weight=wrappers_pb2.UInt32Value(value=group.weight),
            )
        )
    return answer


def _place(endpoint: service.Endpoint) -> tuple[str, str]:
    """The zone, and in plaintext a part of it: an endpoint that changes its place is a new one to Envoy, so that
    kept connections from before a pod was captured, or released, are used up and not used again."""
    return endpoint.zone, "" if endpoint.secured else "plaintext"


def _distance(endpoint: service.Endpoint, zone: str) -> int:
    return int(bool(zone) and bool(endpoint.zone) and endpoint.zone != zone)


def _endpoint(endpoint: service.Endpoint) -> endpoint_components_pb2.LbEndpoint:
    where = address_pb2.Address(
        socket_address=address_pb2.SocketAddress(address=endpoint.address, port_value=endpoint.port)
    )
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=where), metadata=clusters.metadata_for(endpoint)
    )
