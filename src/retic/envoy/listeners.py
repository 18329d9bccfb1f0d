"""A pod's three listeners: they know no services, and no connection is drained while the pod lives.

`outbound` looks for HTTP in the first bytes; `opaque` looks at nothing (servers that speak first, and all
that leaves the mesh's networks); `inbound` takes our own mTLS and nothing else unless policy says so. Only the
table by which `inbound` chooses its chains ever changes, and its chains are always the same.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from retic.envoy import arrivals, filters, limits, managers, names, packing, riders, tls
from retic.mesh import network, service

_LOCAL = "%DOWNSTREAM_LOCAL_ADDRESS%"
_LOCAL_WITHOUT_PORT = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"
_HTTP = ("http/1.0", "http/1.1", "h2c")
# Envoy fills it in from the connection itself, so the listener need not know its own namespace's path.
_OWN_NAMESPACE = "%FILTER_STATE(envoy.network.network_namespace:PLAIN)%"

Chain = listener_components_pb2.FilterChain
Filter = listener_components_pb2.Filter
Riders = dict[riders.Rider, str]


def outbound(pod: service.Workload, settings: network.Settings) -> listener_pb2.Listener:
    """Where a pod's connections into the mesh's networks arrive; no chain takes any other."""
    who = _riders(pod, settings)
    listener = _listener(names.outbound(pod.uid), limits.OUTBOUND_PORT, pod, settings)
    listener.listener_filters.append(_listener_filter("http_inspector", http_inspector_pb2.HttpInspector()))
    listener.listener_filters_timeout.CopyFrom(limits.seconds(limits.SNIFF_SECONDS))
    listener.continue_on_listener_filters_timeout = True
    listener.filter_chains.append(_http(pod.namespace, who, settings))
    listener.filter_chains.extend(_tcp(pod.namespace, who, settings))
    return listener


def opaque(pod: service.Workload, settings: network.Settings) -> listener_pb2.Listener:
    """Where connections arrive that nobody looks into."""
    who = _riders(pod, settings)
    listener = _listener(names.opaque(pod.uid), limits.OPAQUE_PORT, pod, settings)
    listener.filter_chains.extend(_tcp(pod.namespace, who, settings))
    listener.default_filter_chain.CopyFrom(_passthrough(who))
    return listener


def inbound(
    pod: service.Workload, settings: network.Settings, http_ports: Iterable[int]
) -> listener_pb2.Listener:
    """Where connections to a pod arrive. The application sees the caller's address.

    What arrives for `http_ports` is parsed as HTTP even where the caller's proxy did not take it for that.
    """
    listener = _listener(names.inbound(pod.uid), limits.INBOUND_PORT, pod, settings)
    source = original_src_pb2.OriginalSrc(mark=limits.APPLICATION_MARK)
    listener.listener_filters.append(_listener_filter("original_src", source))
    listener.listener_filters.append(_listener_filter("tls_inspector", tls_inspector_pb2.TlsInspector()))
    listener.listener_filters_timeout.CopyFrom(limits.seconds(limits.CONNECT_SECONDS))
    here = riders.remember({riders.Rider.NAMESPACE: _OWN_NAMESPACE})
    socket = tls.downstream(
        network.identity(settings.trust_domain, pod.namespace, pod.account), settings.trust_domain
    )
    http = Chain(
        name="http",
        transport_socket=socket,
        filters=[here, managers.as_filter(managers.inbound(pod.uid))],
    )
    authorization = filters.network_slot(filters.Slot.TCP_AUTHORIZATION, pod.uid)
    tcp = Chain(
        name="tcp",
        transport_socket=socket,
        filters=[here, authorization, _to_application()],
    )
    plaintext = Chain(
        name="plaintext",
        filters=[here, filters.network_slot(filters.Slot.PLAINTEXT, pod.uid), _once_allowed()],
    )
    listener.filter_chains.extend([http, tcp])
    listener.default_filter_chain.CopyFrom(plaintext)
    listener.filter_chain_matcher.CopyFrom(arrivals.chains(http.name, tcp.name, http_ports))
    return listener


def _riders(pod: service.Workload, settings: network.Settings) -> Riders:
    return {
        riders.Rider.NAMESPACE: _OWN_NAMESPACE,
        riders.Rider.IDENTITY: network.identity(settings.trust_domain, pod.namespace, pod.account),
    }


def _listener(
    name: str, port: int, pod: service.Workload, settings: network.Settings
) -> listener_pb2.Listener:
    where = address_pb2.SocketAddress(
        address="0.0.0.0",
        port_value=port,
        network_namespace_filepath=f"{settings.netns_folder}/{pod.uid}",
    )
    return listener_pb2.Listener(
        name=name,
        address=address_pb2.Address(socket_address=where),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
        stat_prefix=name.partition("/")[0],
        listener_filters=[_listener_filter("original_dst", original_dst_pb2.OriginalDst())],
    )


def _listener_filter(name: str, config: Message) -> listener_components_pb2.ListenerFilter:
    return listener_components_pb2.ListenerFilter(
        name=f"envoy.filters.listener.{name}", typed_config=packing.pack(config)
    )


def _http(namespace: str, who: Riders, settings: network.Settings) -> Chain:
    match = _inside(settings.pod_networks + settings.service_networks)
    match.application_protocols.extend(_HTTP)
    return Chain(
        name="http",
        filter_chain_match=match,
        filters=[riders.remember(who), managers.as_filter(managers.outbound(namespace))],
    )


def _tcp(namespace: str, who: Riders, settings: network.Settings) -> list[Chain]:
    places = (
        ("service", settings.service_networks, names.virtual(namespace, _LOCAL)),
        ("pod", settings.pod_networks, names.address(namespace, _LOCAL_WITHOUT_PORT)),
    )
    return [
        Chain(
            name=f"tcp-{place}",
            filter_chain_match=_inside(cidrs),
            filters=[
                riders.remember({**who, riders.Rider.PROTOCOL: tls.ALPN_TCP, riders.Rider.CLUSTER: cluster}),
                _on_demand(),
            ],
        )
        for place, cidrs, cluster in places
    ]


def _passthrough(who: Riders) -> Chain:
    here = {riders.Rider.NAMESPACE: who[riders.Rider.NAMESPACE]}
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="passthrough", cluster=names.PASSTHROUGH)
    return Chain(name="passthrough", filters=[riders.remember(here), _proxy(proxy)])


def _inside(cidrs: Iterable[str]) -> listener_components_pb2.FilterChainMatch:
    match = listener_components_pb2.FilterChainMatch()
    for cidr in cidrs:
        base, _, bits = cidr.partition("/")
        match.prefix_ranges.append(
            address_pb2.CidrRange(address_prefix=base, prefix_len=wrappers_pb2.UInt32Value(value=int(bits)))
        )
    return match


def _on_demand() -> Filter:
    # `cluster` is only what would be used if the filter state were missing: it exists nowhere.
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="outbound", cluster="none")
    proxy.on_demand.odcds_config.CopyFrom(tls.ads())
    proxy.on_demand.timeout.CopyFrom(limits.seconds(limits.ON_DEMAND_SECONDS))
    return _proxy(proxy)


def _to_application() -> Filter:
    """To the application, only after the caller's handshake: a peer that fails it opens no connection."""
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix="inbound",
        cluster=names.APPLICATION,
        upstream_connect_mode=tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE,
        max_early_data_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
    )
    return _proxy(proxy)


def _once_allowed() -> Filter:
    """To the application, only after the caller's first bytes: RBAC decides on those, and a server that
    speaks first would have spoken before."""
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix="plaintext",
        cluster=names.APPLICATION,
        upstream_connect_mode=tcp_proxy_pb2.ON_DOWNSTREAM_DATA,
        max_early_data_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
    )
    return _proxy(proxy)


def _proxy(proxy: tcp_proxy_pb2.TcpProxy) -> Filter:
    proxy.idle_timeout.CopyFrom(limits.seconds(0))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packing.pack(proxy))
