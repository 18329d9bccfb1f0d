"""A gateway's listeners: one per port, in the gateway's own network namespace.

Behind TLS each of the Gateway's listeners has a chain and a route configuration of its own: the server name
that chose the chain also bounds the hosts that are served on the connection.
"""

from collections.abc import Iterable

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from google.protobuf import wrappers_pb2

from retic.envoy import filters, limits, logs, managers, names, packing, riders, tls
from retic.mesh import gateways


def listener(
    key: gateways.PortKey, served: Iterable[gateways.Listener], identity: str
) -> listener_pb2.Listener:
    """The listener of one port; `served` are the Gateway's listeners on it, of one protocol."""
    where = address_pb2.SocketAddress(address="0.0.0.0", port_value=key.port)
    answer = listener_pb2.Listener(
        name=names.gateway(key.namespace, key.name, key.port),
        address=address_pb2.Address(socket_address=where),
        stat_prefix="gateway",
        socket_options=limits.keep_alive_options(),
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=limits.READ_BUFFER_BYTES),
    )
    for each in served:
        if not each.https:
            chain_filters = _filters(key, identity, names.gateway_routes(key.namespace, key.name, key.port))
            answer.filter_chains.append(listener_components_pb2.FilterChain(name="http", filters=chain_filters))
            break
        chain_filters = _filters(key, identity, names.listener_routes(key.namespace, key.name, key.port, each.name))
        secrets = [names.tls(c.namespace, c.name) for c in each.certificates]
        chain = listener_components_pb2.FilterChain(
            name=each.name, filters=chain_filters, transport_socket=tls.server(secrets)
        )
        if each.hostname:
            chain.filter_chain_match.server_names.append(each.hostname)
        answer.filter_chains.append(chain)
    if answer.filter_chains and answer.filter_chains[0].HasField("transport_socket"):
        answer.listener_filters.append(
            listener_components_pb2.ListenerFilter(
                name="envoy.filters.listener.tls_inspector",
                typed_config=packing.pack(tls_inspector_pb2.TlsInspector()),
            )
        )
    return answer


def _filters(key: gateways.PortKey, identity: str, routes: str) -> list[listener_components_pb2.Filter]:
    slots = [names.gateway_slot(each, key.namespace, key.name) for each in filters.AT_GATEWAYS]
    who = logs.Who(f"{key.namespace}/{key.name}", identity)
    return [
        riders.remember({riders.Rider.IDENTITY: identity, riders.Rider.WORKLOAD: who.workload}),
        managers.as_filter(managers.gateway(routes, slots, who)),
    ]
