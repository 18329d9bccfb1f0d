"""Bounds of a cluster, and when its endpoints are left out: what a policy says, in place of what all clusters have.

A field that is not set is left as it is: as `limits` has it for every cluster.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import limits, packing
from retic.mesh import destination

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ALWAYS = 100


def apply(cluster: cluster_pb2.Cluster, policy: destination.Policy) -> None:
    """All that the policy bounds, in a cluster that is otherwise complete."""
    if policy.pool is not None:
        _bounds(cluster, policy.pool)
        _connections(cluster, policy.pool)
        if HTTP_OPTIONS in cluster.typed_extension_protocol_options:
            _http(cluster, policy.pool)
    if policy.outliers is not None:
        _outliers(cluster, policy.outliers)


def _bounds(cluster: cluster_pb2.Cluster, pool: destination.Pool) -> None:
    bounds = cluster.circuit_breakers.thresholds[0]
    _set(bounds.max_connections, pool.connections)
    _set(bounds.max_pending_requests, pool.pending)
    _set(bounds.max_requests, pool.requests)
    if pool.retries is not None:
        bounds.ClearField("retry_budget")  # which would count instead
        bounds.max_retries.value = pool.retries


def _connections(cluster: cluster_pb2.Cluster, pool: destination.Pool) -> None:
    if pool.connect is not None:
        cluster.connect_timeout.CopyFrom(limits.seconds(pool.connect))
    if pool.keepalive is not None:
        alive: address_pb2.TcpKeepalive = cluster.upstream_connection_options.tcp_keepalive
        alive.SetInParent()
        _set(alive.keepalive_probes, pool.keepalive.probes)
        _set(alive.keepalive_time, pool.keepalive.time)
        _set(alive.keepalive_interval, pool.keepalive.interval)


def _set(field: wrappers_pb2.UInt32Value, value: int | None) -> None:
    if value is not None:
        field.value = value


def _http(cluster: cluster_pb2.Cluster, pool: destination.Pool) -> None:
    """Bounds of a connection that carries HTTP."""
    packed = cluster.typed_extension_protocol_options[HTTP_OPTIONS]
    options = http_protocol_options_pb2.HttpProtocolOptions.FromString(packed.value)
    shared = options.common_http_protocol_options
    if pool.idle is not None:
        shared.idle_timeout.CopyFrom(limits.seconds(pool.idle))
    if pool.longest is not None:
        shared.max_connection_duration.CopyFrom(limits.seconds(pool.longest))
    _set(shared.max_requests_per_connection, pool.per_connection)
    if options.explicit_http_config.HasField("http2_protocol_options"):
        _set(options.explicit_http_config.http2_protocol_options.max_concurrent_streams, pool.streams)
    elif options.HasField("use_downstream_protocol_config"):
        _set(options.use_downstream_protocol_config.http2_protocol_options.max_concurrent_streams, pool.streams)
    packed.CopyFrom(packing.pack(options))


def _outliers(cluster: cluster_pb2.Cluster, said: destination.Outliers) -> None:
    """When an endpoint is left out, by failures in a row only: not by how it compares with others."""
    found = cluster.outlier_detection
    found.SetInParent()
    found.enforcing_success_rate.value = 0
    _counted(found.consecutive_5xx, found.enforcing_consecutive_5xx, said.errors)
    _counted(found.consecutive_gateway_failure, found.enforcing_consecutive_gateway_failure, said.gateway_errors)
    if said.is_split:
        found.split_external_local_origin_errors = True
        found.enforcing_local_origin_success_rate.value = 0
        counted, enforced = found.consecutive_local_origin_failure, found.enforcing_consecutive_local_origin_failure
        _counted(counted, enforced, said.local)
    if said.interval is not None:
        found.interval.CopyFrom(limits.seconds(said.interval))
    if said.base is not None:
        found.base_ejection_time.CopyFrom(limits.seconds(said.base))
        # Envoy takes no longest time that is less than the first one.
        if found.HasField("max_ejection_time") and found.max_ejection_time.seconds < said.base:
            found.max_ejection_time.CopyFrom(found.base_ejection_time)
    if said.most is not None:
        found.max_ejection_percent.value = said.most
        # A small share of few endpoints is less than one of them, and would never leave one out.
        found.always_eject_one_host.value = True
    if said.panic is not None:
        cluster.common_lb_config.healthy_panic_threshold.value = said.panic


def _counted(counted: wrappers_pb2.UInt32Value, enforced: wrappers_pb2.UInt32Value, number: int | None) -> None:
    if number is not None:
        counted.value = max(number, 1)
        enforced.value = _ALWAYS if number else 0
