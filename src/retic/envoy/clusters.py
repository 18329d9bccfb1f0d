"""Clusters: one builder for everything that a proxy sends to, shared by all pods of a node.

The pod's network namespace and identity come from filter state (`riders`), never from the cluster.
"""

import functools
from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, protocol_pb2, socket_option_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.local_address_selectors.filter_state_override.v3 import config_pb2
from envoy.extensions.matching.common_inputs.transport_socket.v3 import transport_socket_inputs_pb2 as inputs
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2

from retic.envoy import balancing, limits, logs, names, packing, pools, riders, tls
from retic.mesh import destination, peer, service

_SOL_SOCKET, _SO_MARK = 1, 36
MTLS_MATCH = {"retic": True}
_NO_POLICY = destination.Policy()


def mesh_service(
    name: str,
    endpoints: str,
    protocol: service.Protocol,
    identities: Iterable[str],
    strangers: bool,
    policy: destination.Policy = _NO_POLICY,
) -> cluster_pb2.Cluster:
    """A Service's port: endpoints by EDS under the name `endpoints`, by `policy`.

    `identities` are the SPIFFE IDs of the accounts behind it; `strangers` says that some endpoints are, or may
    come to be, outside the mesh, reached in plaintext unless the policy has all encrypted.
    """
    cluster = _base(name)
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.CopyFrom(
        cluster_pb2.Cluster.EdsClusterConfig(eds_config=tls.ads(), service_name=endpoints)
    )
    balancing.apply(cluster, policy.balancer)
    cluster.outlier_detection.CopyFrom(limits.ejection())
    cluster.common_lb_config.healthy_panic_threshold.value = limits.PANIC_PERCENT
    known, plain = tuple(identities), strangers and not policy.is_encrypted
    _transport(cluster, known, plain)
    speak(cluster, protocol, _idle(bool(known), plain))
    pools.apply(cluster, policy)
    return cluster


def _idle(secured: bool, strangers: bool) -> float:
    """How long a connection may be idle where some endpoints are `secured`, and some, or all, `strangers`."""
    if secured:
        return limits.IDLE_MIXED_SECONDS if strangers else limits.IDLE_SECONDS
    return limits.IDLE_SERVER_SECONDS


def authorizer(
    name: str, endpoints: str, *, http2: bool, own: str, identities: Iterable[str]
) -> cluster_pb2.Cluster:
    """An external authorizer, asked with the certificate of `own` (a SPIFFE ID) and by nobody's connection: sockets
    are opened where the proxy itself is. It is reached by the mesh's TLS or not at all."""
    cluster = _base(name)
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.CopyFrom(
        cluster_pb2.Cluster.EdsClusterConfig(eds_config=tls.ads(), service_name=endpoints)
    )
    balancing.apply(cluster, None)
    cluster.transport_socket.CopyFrom(tls.upstream(identities, own))
    speak(cluster, service.Protocol.HTTP2 if http2 else service.Protocol.HTTP1, limits.IDLE_SECONDS)
    return cluster


def _transport(cluster: cluster_pb2.Cluster, identities: tuple[str, ...], strangers: bool) -> None:
    if not identities:
        return
    socket = tls.upstream(identities)
    if not strangers:
        cluster.transport_socket.CopyFrom(socket)
        return
    match = struct_pb2.Struct()
    match.update(MTLS_MATCH)
    cluster.transport_socket_matches.add(name="mesh", match=match, transport_socket=socket)
    cluster.transport_socket_matches.add(name="outside", transport_socket=tls.plaintext())


def nowhere(name: str) -> cluster_pb2.Cluster:
    """A cluster without endpoints: the answer for what does not exist, failing at once.

    A removal would leave every later request waiting for the whole on-demand time-out.
    """
    # One name in statistics for all of them: a tenth less memory, and a scan does not lengthen the list.
    cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC, alt_stat_name="nowhere")
    cluster.load_assignment.CopyFrom(endpoint_pb2.ClusterLoadAssignment(cluster_name=name))
    return cluster


_EVERY_PORT = peer.Taken(peer.Terms(mtls=True, plaintext=False, secured=True))


def address(name: str, identities: Iterable[str], taken: peer.Taken = _EVERY_PORT) -> cluster_pb2.Cluster:
    """One pod's address, whatever the port; `identities` are those it may have, none for a pod outside the mesh:
    plaintext.

    Ports of which callers are told to use plaintext are told apart by the port that the caller's proxy saw.
    """
    known = tuple(identities)
    plain = not known or not taken.whole.secured or any(not each.terms.secured for each in taken.ports)
    cluster = _original_destination(name, limits.UPSTREAM_MARK, _idle(bool(known), plain))
    differing = [each.port for each in taken.ports if each.terms.secured is not taken.whole.secured]
    if known and differing:
        _by_port(cluster, known, taken.whole.secured, differing)
    elif known and taken.whole.secured:
        cluster.transport_socket.CopyFrom(tls.upstream(known))
    return cluster


_SOCKETS = {True: "mesh", False: "outside"}


def _by_port(
    cluster: cluster_pb2.Cluster, identities: Iterable[str], secured: bool, differing: Iterable[int]
) -> None:
    """By TLS at all ports but those that differ, or the other way round (Cluster, transport_socket_matcher)."""
    cluster.transport_socket_matches.add(name=_SOCKETS[True], transport_socket=tls.upstream(identities))
    cluster.transport_socket_matches.add(name=_SOCKETS[False], transport_socket=tls.plaintext())
    tree = cluster.transport_socket_matcher.matcher_tree
    said = inputs.FilterStateInput(key=riders.Rider.PORT.key)
    tree.input.CopyFrom(packing.typed_xds("envoy.matching.inputs.transport_socket_filter_state", said))
    for port in differing:
        tree.exact_match_map.map[str(port)].action.CopyFrom(_socket(not secured))
    cluster.transport_socket_matcher.on_no_match.action.CopyFrom(_socket(secured))


def _socket(secured: bool) -> xds_extension_pb2.TypedExtensionConfig:
    return packing.typed_xds(
        "envoy.matching.action.transport_socket.name", inputs.TransportSocketNameAction(name=_SOCKETS[secured])
    )


def application() -> cluster_pb2.Cluster:
    """From the proxy to the pod's own application, at the address and port that the caller meant."""
    return _application(names.APPLICATION, service.Protocol.AUTO)


def application_tls() -> cluster_pb2.Cluster:
    """As `application`, by the application's own TLS: for probes by HTTPS."""
    cluster = _application(names.APPLICATION_TLS, service.Protocol.HTTP1)
    cluster.transport_socket.CopyFrom(tls.application())
    return cluster


def _application(name: str, protocol: service.Protocol) -> cluster_pb2.Cluster:
    cluster = _original_destination(name, limits.APPLICATION_MARK, limits.IDLE_SERVER_SECONDS, protocol)
    cluster.circuit_breakers.CopyFrom(limits.circuit_breakers(application=True))
    return cluster


def passthrough() -> cluster_pb2.Cluster:
    """To destinations outside the mesh's networks, as they are."""
    return _original_destination(names.PASSTHROUGH, limits.UPSTREAM_MARK, limits.IDLE_SERVER_SECONDS)


def _original_destination(
    name: str, mark: int, idle: float, protocol: service.Protocol = service.Protocol.AUTO
) -> cluster_pb2.Cluster:
    cluster = _base(name, mark)
    cluster.type = cluster_pb2.Cluster.ORIGINAL_DST
    cluster.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    speak(cluster, protocol, idle)
    return cluster


def _base(name: str, mark: int = limits.UPSTREAM_MARK) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(
        name=name,
        connect_timeout=limits.seconds(limits.CONNECT_SECONDS),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
        circuit_breakers=limits.circuit_breakers(),
    )
    cluster.upstream_connection_options.tcp_keepalive.CopyFrom(limits.keep_alive())
    bind = cluster.upstream_bind_config
    bind.source_address.CopyFrom(address_pb2.SocketAddress(address="0.0.0.0", port_value=0))
    bind.socket_options.append(_mark(mark))
    bind.local_address_selector.CopyFrom(
        packing.typed(
            "envoy.upstream.local_address_selector.filter_state_override",
            config_pb2.Config(),
        )
    )
    return cluster


def unmark(cluster: cluster_pb2.Cluster) -> None:
    """For gateways: where nothing is redirected nothing is marked, for which a process needs CAP_NET_ADMIN."""
    if cluster.HasField("upstream_bind_config"):
        cluster.upstream_bind_config.ClearField("socket_options")


def _mark(mark: int) -> socket_option_pb2.SocketOption:
    return socket_option_pb2.SocketOption(
        description="mark",
        level=_SOL_SOCKET,
        name=_SO_MARK,
        int_value=mark,
        state=socket_option_pb2.SocketOption.STATE_PREBIND,
    )


def speak(cluster: cluster_pb2.Cluster, protocol: service.Protocol, idle: float) -> None:
    """What is spoken to the cluster, and for how many seconds a connection without requests is kept; nothing for
    OPAQUE."""
    if protocol is not service.Protocol.OPAQUE:
        cluster.typed_extension_protocol_options[pools.HTTP_OPTIONS].CopyFrom(_http_options(protocol, idle))


@functools.lru_cache(maxsize=16)
def _http_options(protocol: service.Protocol, idle: float) -> any_pb2.Any:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.common_http_protocol_options.idle_timeout.CopyFrom(limits.seconds(idle))
    h2 = protocol_pb2.Http2ProtocolOptions(allow_connect=True)
    if protocol is service.Protocol.HTTP2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(h2)
    elif protocol is service.Protocol.HTTP1:
        options.explicit_http_config.http_protocol_options.SetInParent()
    else:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(h2)
    return packing.pack(options)


def metadata_for(endpoint: service.Endpoint) -> base_pb2.Metadata | None:
    """An endpoint's metadata: whether it takes our mTLS, and which workload it is one of."""
    metadata = base_pb2.Metadata()
    if endpoint.secured:
        metadata.filter_metadata["envoy.transport_socket_match"].update(MTLS_MATCH)
    if endpoint.workload:
        metadata.MergeFrom(logs.workload(endpoint.workload))
    return metadata if metadata.filter_metadata else None
