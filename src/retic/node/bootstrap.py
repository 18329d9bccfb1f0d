"""The bootstrap of an agent's Envoy, as JSON: it knows its agent's socket and limits, nothing of the mesh."""

import json
import pathlib
from typing import Any

from retic.node import config, shares
from retic.telemetry import words

_TYPE = "type.googleapis.com/envoy."
AGENT = "agent"  # the one static cluster: the agent's socket, for discovery and for questions about limits
_ADS = {"ads": {}, "resource_api_version": "V3"}

MOST_INSTRUCTIONS = 16384

# From which share of the heap on Envoy does what (envoy.overload_actions), gentlest first. Four fifths are not here:
# then the agent puts another Envoy in its place (docs/concepts.md).
HEAP_ACTIONS = {
    "shrink_heap": 0.90,  # what is free goes back to the system
    "disable_http_keepalive": 0.92,  # connections end with their request, so that none is held idle
    "stop_accepting_requests": 0.95,  # 503 at once; those under way go on
    "stop_accepting_connections": 0.98,
}

# Statistics are half of a cluster's memory, so only what somebody reads is kept. By the end of the name:
KEPT_SUFFIXES = (
    "downstream_cx_total", "downstream_cx_active", "downstream_cx_overflow", "downstream_global_cx_overflow",
    "downstream_cx_overload_reject", "downstream_rq_total", "downstream_rq_active", "downstream_rq_completed",
    "downstream_rq_2xx", "downstream_rq_3xx", "downstream_rq_4xx", "downstream_rq_5xx",
    "no_filter_chain_match",
    "upstream_cx_total", "upstream_cx_active", "upstream_cx_connect_fail", "upstream_cx_overflow",
    "upstream_rq_total", "upstream_rq_active", "upstream_rq_pending_overflow", "upstream_rq_retry",
    "upstream_rq_retry_overflow", "outlier_detection.ejections_active",
    "upstream_rq_timeout", "membership_total", "membership_healthy", "ssl.handshake", "ssl.session_reused",
    "ssl.connection_error", "ssl.fail_verify_error", "ssl.fail_verify_no_cert", "ssl.fail_verify_san",
    "rbac.allowed", "rbac.denied", "deny.denied", "allow.denied", "shadow_denied", "shadow_allowed",
    "original_dst_host_invalid",
)  # fmt: skip
# and by its beginning:
KEPT_PREFIXES = ("server.", "listener_manager.", "cluster_manager.", "control_plane.", "overload.", "retic.")

# and by what is in it: single rules of policies, counted where policies only count; answers about global limits.
KEPT_PARTS = (".policy.", ".ratelimit.")


def make(
    settings: config.Config, *, admin: pathlib.Path, discovery: pathlib.Path, connections: int
) -> bytes:
    """The bootstrap. `admin` and `discovery` are sockets: one that Envoy opens, and its agent's.

    `connections` is the most that all listeners together accept at a time.
    """
    node: dict[str, Any] = {"id": settings.id, "cluster": settings.role.value}
    if settings.zone:
        node["locality"] = {"zone": settings.zone}
    return json.dumps(
        {
            "node": node,
            "admin": {
                "address": {"pipe": {"path": str(admin), "mode": 0o600}},
                "ignore_global_conn_limit": True,
            },
            "dynamic_resources": _discovery(),
            "static_resources": {"clusters": [_agent(str(discovery))]},
            # Mirrored requests come back by a listener without a socket.
            "bootstrap_extensions": [_extension("bootstrap.internal_listener", "InternalListener")],
            "stats_config": _stats(),
            "stats_eviction_interval": f"{settings.forget_seconds}s",
            "overload_manager": _overload(settings.heap_bytes, connections),
            "layered_runtime": {"layers": [_bounds(), _shares(), {"name": "agent", "admin_layer": {}}]},
        },
        indent=1,
    ).encode()


def _extension(name: str, message: str) -> dict[str, Any]:
    return {"name": f"envoy.{name}", "typed_config": {"@type": f"{_TYPE}extensions.{name}.v3.{message}"}}


def _discovery() -> dict[str, Any]:
    back_off = {"base_interval": "0.05s", "max_interval": "1s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {"envoy_grpc": {"cluster_name": AGENT, "retry_policy": {"retry_back_off": back_off}}}
            ],
        },
        "cds_config": _ADS,
        "lds_config": _ADS,
    }


def _bounds() -> dict[str, Any]:
    """Envoy takes regular expressions of 100 instructions only; what is too large is found before (RT0207).

    And it would take one value of a header that is sent several times for all of it: who may send a second value would
    pass a policy that wants the first. They are one value, joined by commas (RFC 9110, section 5.2).
    """
    features = ("match_headers_individually", "rbac_match_headers_individually")
    joined = {f"envoy.reloadable_features.{feature}": False for feature in features}
    size = {"re2": {"max_program_size": {"error_level": MOST_INSTRUCTIONS}}}
    return {"name": "bounds", "static_layer": {**size, **joined}}


def _shares() -> dict[str, Any]:
    return {"name": shares.NAME, "rtds_layer": {"name": shares.NAME, "rtds_config": _ADS}}


def _agent(socket: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    message = "extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": _TYPE + message,
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": AGENT,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": AGENT, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {f"envoy.{message}": options},
    }


def _stats() -> dict[str, Any]:
    patterns = [{"suffix": suffix} for suffix in KEPT_SUFFIXES]
    patterns += [{"prefix": prefix} for prefix in KEPT_PREFIXES]
    patterns += [{"contains": part} for part in KEPT_PARTS]
    return {
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
        "histogram_bucket_settings": [
            {"match": {"prefix": f"{words.PREFIX}.{stat}."}, "buckets": list(buckets)}
            for stat, buckets in words.BUCKETS.items()
        ],
    }


def _overload(heap: int, connections: int) -> dict[str, Any]:
    def monitor(name: str, message: str, **fields: int) -> dict[str, Any]:
        typed = {"@type": f"{_TYPE}extensions.resource_monitors.{message}", **fields}
        return {"name": f"envoy.resource_monitors.{name}", "typed_config": typed}

    def action(name: str, resource: str, above: float) -> dict[str, Any]:
        trigger = {"name": f"envoy.resource_monitors.{resource}", "threshold": {"value": above}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            monitor("fixed_heap", "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=heap),
            monitor(
                "global_downstream_max_connections",
                "downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=connections,
            ),
        ],
        "actions": [action(name, "fixed_heap", share) for name, share in HEAP_ACTIONS.items()],
    }
