"""The HTTP filters' order, as one table with reasons, and the slots that policy fills later.

A slot is a filter whose configuration travels by itself (ECDS): changing it drains no connection. Slots
stand in every listener from its first day, because adding one later would change the listener.
"""

import enum

from envoy.config.core.v3 import config_source_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from google.protobuf import any_pb2

from retic.envoy import limits, names, packing, tls


class Slot(enum.StrEnum):
    """The filters that are filled by ECDS. Every one is a security slot: unfilled, it refuses."""

    AUTHORIZATION = "authorization"
    TCP_AUTHORIZATION = "tcp-authorization"
    PLAINTEXT = "plaintext"


_HTTP_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_TCP_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"


def inbound(pod_uid: str) -> list[hcm_pb2.HttpFilter]:
    """What a request passes before it reaches the application."""
    return [
        # First: nothing behind it may see a request that is not allowed.
        _http_slot(Slot.AUTHORIZATION, pod_uid),
        # Last by Envoy's own rule.
        _router(),
    ]


def outbound() -> list[hcm_pb2.HttpFilter]:
    """What a request passes when it leaves a pod or enters a gateway."""
    return [
        # Just before the router: only a request that will be sent loads its cluster.
        _on_demand(),
        _router(),
    ]


def _router() -> hcm_pb2.HttpFilter:
    router = router_pb2.Router(suppress_envoy_headers=True)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packing.pack(router))


def _on_demand() -> hcm_pb2.HttpFilter:
    odcds = on_demand_pb2.OnDemandCds(source=tls.ads(), timeout=limits.seconds(limits.ON_DEMAND_SECONDS))
    config = on_demand_pb2.OnDemand(odcds=odcds)
    return hcm_pb2.HttpFilter(name="envoy.filters.http.on_demand", typed_config=packing.pack(config))


def _http_slot(slot: Slot, pod_uid: str) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(
        name=names.filter_slot(slot, pod_uid), config_discovery=_discovery(_HTTP_RBAC, packing.pack(deny_http()))
    )


def network_slot(slot: Slot, pod_uid: str) -> listener_components_pb2.Filter:
    """A slot among a chain's network filters."""
    return listener_components_pb2.Filter(
        name=names.filter_slot(slot, pod_uid),
        config_discovery=_discovery(_TCP_RBAC, packing.pack(deny_network(slot))),
    )


def _discovery(type_url: str, default: any_pb2.Any) -> config_source_pb2.ExtensionConfigSource:
    # Unanswered, a slot would hold back every listener for 15 s: it starts with its default instead.
    return config_source_pb2.ExtensionConfigSource(
        config_source=tls.ads(),
        default_config=default,
        apply_default_config_without_warming=True,
        type_urls=[type_url],
    )


def deny_http() -> http_rbac_pb2.RBAC:
    """Refuses every request."""
    return http_rbac_pb2.RBAC(rules=rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW))


def deny_network(slot: Slot) -> network_rbac_pb2.RBAC:
    """Refuses every connection."""
    return network_rbac_pb2.RBAC(stat_prefix=f"{slot}.", rules=rbac_pb2.RBAC(action=rbac_pb2.RBAC.ALLOW))


def filled(slot: Slot, pod_uid: str, allow: bool) -> extension_pb2.TypedExtensionConfig:
    """A slot's configuration: everything allowed, or everything refused."""
    name = names.filter_slot(slot, pod_uid)
    if slot is Slot.AUTHORIZATION:
        return packing.typed(name, http_rbac_pb2.RBAC() if allow else deny_http())
    if allow:
        return packing.typed(name, network_rbac_pb2.RBAC(stat_prefix=f"{slot}."))
    return packing.typed(name, deny_network(slot))
