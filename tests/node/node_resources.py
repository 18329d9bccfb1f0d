"""Envoy resources for the tests: listeners inside a pod's namespace, one with mTLS."""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.echo.v3 import echo_pb2  # noqa: F401  (json_format finds it)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from google.protobuf import json_format

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_EXT = "type.googleapis.com/envoy.extensions."
_ADS = {"ads": {}, "resource_api_version": "V3"}


def cluster(name="nowhere"):
    return json_format.ParseDict(
        {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name}}, cluster_pb2.Cluster()
    )


def listener(name, netns, port, identity=""):
    address = {"address": "127.0.0.1", "port_value": port}
    if netns:
        address["network_namespace_filepath"] = netns
    echo = {"@type": _EXT + "filters.network.echo.v3.Echo"}
    chain = {"filters": [{"name": "echo", "typed_config": echo}]}
    if identity:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _EXT + "transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [{"name": identity, "sds_config": _ADS}],
                    "validation_context_sds_secret_config": {"name": "root", "sds_config": _ADS},
                },
            },
        }
    made = {"name": name, "address": {"socket_address": address}, "filter_chains": [chain]}
    return json_format.ParseDict(made, listener_pb2.Listener())
