"""A minimal pair of Envoys configured by hand: what Retic's proxies are compared with.

One Envoy beside the client, one beside the server, each in its pod's network namespace with a static
configuration: nftables redirection, the original destination, an HTTP connection manager on both sides, mTLS
1.3 between them, x-forwarded-client-cert set; no authorization, no access log, no discovery.
"""

import json
import pathlib
from typing import Any

from tools.bench import certificates, ports

OUTBOUND, INBOUND, MARK = 15001, 15006, 0x539

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy."
_TLS = "extensions.transport_sockets.tls.v3."
_HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"
_PORTS = ", ".join(str(protocol.port) for protocol in ports.Protocol)

CLIENT_RULES = f"""
table inet bench {{
  chain output {{
    type nat hook output priority -100;
    meta mark {MARK:#x} return
    tcp dport {{ {_PORTS} }} redirect to :{OUTBOUND}
  }}
}}
"""
SERVER_RULES = f"""
table inet bench {{
  chain prerouting {{
    type nat hook prerouting priority -100;
    iifname != "lo" tcp dport {{ {_PORTS} }} redirect to :{INBOUND}
  }}
}}
"""


def typed(name: str, message: str, **fields: Any) -> Json:
    """An extension with its configuration; `message` is the full name after `envoy.`."""
    return {"name": name, "typed_config": {"@type": _TYPE + message, **fields}}


def client(folder: pathlib.Path, holder: certificates.Holder, server: str) -> Json:
    """The bootstrap beside the client; `server` is the address of the server's pod."""
    chains, clusters = [], []
    for protocol in ports.Protocol:
        clusters.append(_cluster(protocol, server, mark=True))
        clusters[-1]["transport_socket"] = typed(
            "tls", _TLS + "UpstreamTlsContext", common_tls_context=_tls(holder)
        )
        chains.append(_chain(protocol, sets_caller=False))
    return _bootstrap(folder, OUTBOUND, chains, clusters)


def server(folder: pathlib.Path, holder: certificates.Holder, address: str) -> Json:
    """The bootstrap beside the server, which listens at `address`."""
    chains, clusters = [], []
    for protocol in ports.Protocol:
        clusters.append(_cluster(protocol, address, mark=False))
        chains.append(_chain(protocol, sets_caller=True))
        chains[-1]["transport_socket"] = typed(
            "tls",
            _TLS + "DownstreamTlsContext",
            common_tls_context=_tls(holder),
            require_client_certificate=True,
        )
    return _bootstrap(folder, INBOUND, chains, clusters)


def command(envoy: pathlib.Path, bootstrap: pathlib.Path, workers: int) -> list[str]:
    """How such an Envoy is started."""
    return [
        str(envoy), "--config-path", str(bootstrap), "--concurrency", str(workers),
        "--disable-hot-restart", "--log-level", "warning",
    ]  # fmt: skip


def write(config: Json) -> pathlib.Path:
    """Put the bootstrap beside its admin socket."""
    file = pathlib.Path(config["admin"]["address"]["pipe"]["path"]).with_suffix(".json")
    file.touch(mode=0o600)  # it holds a private key
    file.write_text(json.dumps(config))
    return file


def _bootstrap(folder: pathlib.Path, port: int, chains: list[Json], clusters: list[Json]) -> Json:
    listener = {
        "name": "redirected",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "listener_filters": [
            typed("envoy.filters.listener.original_dst", "extensions.filters.listener.original_dst.v3.OriginalDst")
        ],
        "filter_chains": chains,
    }
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock"), "mode": 0o600}}},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _chain(protocol: ports.Protocol, *, sets_caller: bool) -> Json:
    name = protocol.name.lower()
    if protocol is ports.Protocol.TCP:
        last = typed(
            "envoy.filters.network.tcp_proxy",
            "extensions.filters.network.tcp_proxy.v3.TcpProxy",
            stat_prefix=name, cluster=name,
        )  # fmt: skip
    else:
        last = _manager(name, sets_caller=sets_caller)
    return {"filter_chain_match": {"destination_port": protocol.port}, "filters": [last]}


def _manager(name: str, *, sets_caller: bool) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}
    caller: Json = {"forward_client_cert_details": "SANITIZE"}
    if sets_caller:
        caller = {
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"uri": True},
        }
    return typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        stream_idle_timeout="0s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            typed(
                "envoy.filters.http.router",
                "extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            )
        ],
        **caller,
    )


def _cluster(protocol: ports.Protocol, address: str, *, mark: bool) -> Json:
    name = protocol.name.lower()
    socket = {"socket_address": {"address": address, "port_value": protocol.port}}
    most = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}],
        },
    }
    if mark:
        option = {"description": "mark", "level": 1, "name": 36, "int_value": MARK, "state": "STATE_PREBIND"}
        cluster["upstream_bind_config"] = {
            "source_address": {"address": "0.0.0.0", "port_value": 0},
            "socket_options": [option],
        }
    if protocol is ports.Protocol.HTTP2:
        cluster["typed_extension_protocol_options"] = {
            f"envoy.{_HTTP_OPTIONS}": {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _tls(holder: certificates.Holder) -> Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": {"inline_string": holder.chain}, "private_key": {"inline_string": holder.key}}
        ],
        "validation_context": {
            "trusted_ca": {"inline_string": holder.roots},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": holder.peer}}],
        },
    }
