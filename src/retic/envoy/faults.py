"""Faults on purpose: the filter that stands in every chain and does nothing, and what a route makes it do."""

from envoy.extensions.filters.common.fault.v3 import fault_pb2 as common_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import any_pb2

from retic.envoy import limits, packing, shares
from retic.mesh import route

NAME = "envoy.filters.http.fault"


def resting() -> hcm_pb2.HttpFilter:
    """The filter as it stands in a chain: passed over, unless a route says otherwise."""
    return hcm_pb2.HttpFilter(name=NAME, typed_config=packing.pack(fault_pb2.HTTPFault()), disabled=True)


def of(fault: route.Fault) -> any_pb2.Any:
    """What a route has it do (HTTPFault)."""
    answer = fault_pb2.HTTPFault()
    if fault.delay is not None:
        answer.delay.CopyFrom(common_pb2.FaultDelay(fixed_delay=limits.seconds(fault.delay.seconds)))
        answer.delay.percentage.CopyFrom(shares.fraction(fault.delay.share))
    if fault.abort is not None:
        answer.abort.percentage.CopyFrom(shares.fraction(fault.abort.share))
        if fault.abort.grpc is not None:
            answer.abort.grpc_status = fault.abort.grpc
        else:
            answer.abort.http_status = fault.abort.status or 503
    return packing.pack(answer)
