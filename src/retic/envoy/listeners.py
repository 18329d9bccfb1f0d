"""A pod's three listeners: they know no services, and no connection is drained while the pod lives.

`outbound` looks for HTTP in the first bytes; `opaque` looks at nothing (servers that speak first, and all
that leaves the mesh's networks); `inbound` takes our own mTLS, and plaintext as far as the mode goes. Only the
tables by which they choose their chains ever change (`arrivals`), and a pod's chains are always the same.
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
from xds.type.matcher.v3 import matcher_pb2

from retic.envoy import arrivals, filters, limits, logs, managers, names, one_name, packing, riders, tls
from retic.mesh import network, service

_LOCAL = "%DOWNSTREAM_LOCAL_ADDRESS%"
_LOCAL_WITHOUT_PORT = "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"
_LOCAL_PORT = "%DOWNSTREAM_LOCAL_PORT%"
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
    listener.filter_chains.append(_http(pod, settings, who))
    listener.filter_chains.extend(_tcp(pod, who))
    listener.filter_chain_matcher.CopyFrom(_by_network(settings, look=True))
    return listener


def opaque(pod: service.Workload, settings: network.Settings) -> listener_pb2.Listener:
    """Where connections arrive that nobody looks into."""
    who = _riders(pod, settings)
    listener = _listener(names.opaque(pod.uid), limits.OPAQUE_PORT, pod, settings)
    listener.filter_chains.extend(_tcp(pod, who))
    listener.filter_chain_matcher.CopyFrom(_by_network(settings, look=False))
    listener.default_filter_chain.CopyFrom(_passthrough(pod, who))
    return listener


def inbound(
    pod: service.Workload, settings: network.Settings, http_ports: Iterable[int], may: filters.Plaintext
) -> listener_pb2.Listener:
    """Where connections to a pod arrive. The application sees the caller's address.

    What arrives for `http_ports` is parsed as HTTP even where the caller's proxy did not take it for that.
    """
    listener = _listener(names.inbound(pod.uid), limits.INBOUND_PORT, pod, settings)
    source = original_src_pb2.OriginalSrc(mark=limits.APPLICATION_MARK)
    listener.listener_filters.append(_listener_filter("original_src", source))
    listener.listener_filters.append(_listener_filter("tls_inspector", tls_inspector_pb2.TlsInspector()))
    # Who has said nothing by then waits for a server that speaks first, and has no TLS of ours.
    listener.listener_filters_timeout.CopyFrom(limits.seconds(limits.SILENT_SECONDS))
    listener.continue_on_listener_filters_timeout = True
    https = tuple(sorted({get.port for get in may.probed.gets if get.tls}))
    listener.filter_chains.extend([*_ours(pod, settings), *_plaintext(pod, settings)])
    if https:
        identity = network.identity(settings.trust_domain, pod.namespace, pod.account)
        manager = managers.as_filter(managers.plaintext(_who(pod, settings), names.APPLICATION_TLS))
        listener.filter_chains.append(
            Chain(name=arrivals.PROBES_TLS, transport_socket=tls.probed(identity), filters=[_here(pod), manager])
        )
    probes = arrivals.Probes(
        sources=may.sources,
        http=tuple(sorted({*may.probed.grpc, *(get.port for get in may.probed.gets if not get.tls)})),
        https=https,
    )
    listener.filter_chain_matcher.CopyFrom(arrivals.inbound(http_ports, may.taken, probes))
    return listener


def _here(pod: service.Workload) -> Filter:
    return riders.remember({riders.Rider.NAMESPACE: _OWN_NAMESPACE, **_known(pod)})


def _known(pod: service.Workload) -> Riders:
    return {riders.Rider.WORKLOAD: pod.belongs_to, riders.Rider.POD: pod.uid}


def _who(pod: service.Workload, settings: network.Settings) -> logs.Who:
    principal = network.identity(settings.trust_domain, pod.namespace, pod.account)
    return logs.Who(pod.belongs_to, principal, pod.uid)


def _ours(pod: service.Workload, settings: network.Settings) -> list[Chain]:
    """For our own mTLS."""
    who = _who(pod, settings)
    socket = tls.downstream(who.principal)
    return [
        Chain(
            name=arrivals.HTTP,
            transport_socket=socket,
            filters=[one_name.only(), _here(pod), managers.as_filter(managers.inbound(who))],
        ),
        Chain(
            name=arrivals.TCP,
            transport_socket=socket,
            filters=[one_name.only(), _here(pod), *_authorization(pod.uid), _to_application()],
        ),
    ]


def _authorization(pod_uid: str) -> list[Filter]:
    of = filters.Slot
    # The gate last, just before what it chooses for: nothing in between may change the choice.
    slots = (of.TCP_MARK, of.TCP_ASK, of.TCP_AUDIT, of.TCP_DENY, of.TCP_ALLOW, of.TCP_GATE)
    return [filters.network_slot(slot, pod_uid) for slot in slots]


def _plaintext(pod: service.Workload, settings: network.Settings) -> list[Chain]:
    """For all else, where the table leads to them."""
    who = _who(pod, settings)
    manager = managers.as_filter(managers.plaintext(who, names.APPLICATION))
    allowed = [filters.network_slot(filters.Slot.PLAINTEXT, pod.uid), *_authorization(pod.uid)]
    return [
        Chain(name=arrivals.PLAINTEXT_HTTP, filters=[_here(pod), manager]),
        Chain(name=arrivals.PLAINTEXT_TCP, filters=[_here(pod), *allowed, _at_once()]),
    ]


def _riders(pod: service.Workload, settings: network.Settings) -> Riders:
    return {
        riders.Rider.NAMESPACE: _OWN_NAMESPACE,
        riders.Rider.IDENTITY: network.identity(settings.trust_domain, pod.namespace, pod.account),
        **_known(pod),
    }


def _listener(
    name: str, port: int, pod: service.Workload, settings: network.Settings
) -> listener_pb2.Listener:
    where = address_pb2.SocketAddress(
        address="0.0.0.0",
        port_value=port,
        network_namespace_filepath=f"{settings.netns_folder}/{pod.uid}",
    )
    side = logs.Side.INBOUND if port == limits.INBOUND_PORT else logs.Side.OUTBOUND
    return listener_pb2.Listener(
        name=name,
        access_log=logs.tcp(side, _who(pod, settings)),
        address=address_pb2.Address(socket_address=where),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
        stat_prefix=name.partition("/")[0],
        socket_options=limits.keep_alive_options(),
        listener_filters=[_listener_filter("original_dst", original_dst_pb2.OriginalDst())],
    )


def _listener_filter(name: str, config: Message) -> listener_components_pb2.ListenerFilter:
    return listener_components_pb2.ListenerFilter(
        name=f"envoy.filters.listener.{name}", typed_config=packing.pack(config)
    )


def _http(pod: service.Workload, settings: network.Settings, who: Riders) -> Chain:
    manager = managers.as_filter(managers.outbound(pod.namespace, _who(pod, settings)))
    return Chain(name=arrivals.HTTP, filters=[riders.remember({**who, riders.Rider.PORT: _LOCAL_PORT}), manager])


def _tcp(pod: service.Workload, who: Riders) -> list[Chain]:
    to_service = {riders.Rider.CLUSTER: names.virtual(pod.namespace, _LOCAL)}
    to_pod = {
        riders.Rider.CLUSTER: names.address(pod.namespace, _LOCAL_WITHOUT_PORT), riders.Rider.PORT: _LOCAL_PORT,
    }  # fmt: skip
    return [
        Chain(
            name=name,
            filters=[riders.remember({**who, riders.Rider.PROTOCOL: tls.ALPN_TCP, **where}), _on_demand(attempts)],
        )
        for name, where, attempts in (
            (arrivals.TO_SERVICE, to_service, limits.CONNECT_ATTEMPTS),
            # Of one pod there is no other endpoint.
            (arrivals.TO_POD, to_pod, 1),
        )
    ]


def _by_network(settings: network.Settings, *, look: bool) -> matcher_pb2.Matcher:
    pods, services = network.aggregate(settings.pod_networks), network.aggregate(settings.service_networks)
    return arrivals.outbound(pods, services, look=look)


def _passthrough(pod: service.Workload, who: Riders) -> Chain:
    here = {riders.Rider.NAMESPACE: who[riders.Rider.NAMESPACE], **_known(pod)}
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="passthrough", cluster=names.PASSTHROUGH)
    return Chain(name="passthrough", filters=[riders.remember(here), _proxy(proxy)])


def _on_demand(attempts: int) -> Filter:
    # `cluster` is only what would be used if the filter state were missing: it exists nowhere.
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix="outbound", cluster="none")
    proxy.max_connect_attempts.value = attempts
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


def _at_once() -> Filter:
    """To the application as soon as the connection is there: its server may be one that speaks first. Where
    plaintext is refused, the table leads nobody here."""
    return _proxy(tcp_proxy_pb2.TcpProxy(stat_prefix="plaintext", cluster=names.APPLICATION))


def _proxy(proxy: tcp_proxy_pb2.TcpProxy) -> Filter:
    proxy.idle_timeout.CopyFrom(limits.seconds(0))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packing.pack(proxy))
