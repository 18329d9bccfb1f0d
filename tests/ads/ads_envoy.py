"""The real Envoy against the discovery server of a test, and the resources it fetches."""

import asyncio
import importlib.util
import json
import pathlib

import httpx
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401  (known to json_format)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401  (known to json_format)
)
from google.protobuf import json_format

ADS = {"ads": {}, "resource_api_version": "V3"}
EDS = {"eds_config": ADS}
_EXT = "type.googleapis.com/envoy.extensions."
_NETWORK = _EXT + "filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _EXT + "filters.http.router.v3.Router"


def _bytes(message, content):
    return json_format.ParseDict(content, message).SerializeToString(deterministic=True)


def cluster(name, **fields):
    return _bytes(
        cluster_pb2.Cluster(),
        {"name": name, "type": "EDS", "eds_cluster_config": EDS, **fields},
    )


def endpoints(name, path):
    where = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    return _bytes(
        endpoint_pb2.ClusterLoadAssignment(),
        {"cluster_name": name, "endpoints": [{"lb_endpoints": [where]}]},
    )


def routes(name, *hosts):
    """`hosts` are pairs of domain and action."""
    virtual = [
        {"name": f"v{i}", "domains": [domain], "routes": [{"match": {"prefix": "/"}, **action}]}
        for i, (domain, action) in enumerate(hosts)
    ]
    return _bytes(route_pb2.RouteConfiguration(), {"name": name, "virtual_hosts": virtual})


def answer(text):
    return {"direct_response": {"status": 200, "body": {"inline_string": text}}}


def listener(name, path, route_name, *, chains=1):
    manager = {
        "@type": _NETWORK,
        "stat_prefix": "test",
        "rds": {"route_config_name": route_name, "config_source": ADS},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    content = {"name": name, "address": {"pipe": {"path": str(path)}}, "filter_chains": [chain] * chains}
    return _bytes(listener_pb2.Listener(), content)


class Proxy:
    """One Envoy process. `kind` is DELTA_GRPC or GRPC."""

    def __init__(self, folder, ads_socket, kind):
        self.folder = pathlib.Path(folder)
        self.admin = self.folder / "admin.sock"
        self.ads_socket = ads_socket
        self.kind = kind

    def _bootstrap(self):
        where = {"endpoint": {"address": {"pipe": {"path": str(self.ads_socket)}}}}
        http2 = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _EXT + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
        grpc = {"envoy_grpc": {"cluster_name": "discovery"}}
        return {
            "node": {"id": "node/node-1", "cluster": "test", "locality": {"zone": "a"}},
            "admin": {"address": {"pipe": {"path": str(self.admin)}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": self.kind, "transport_api_version": "V3", "grpc_services": [grpc],
                },
                "cds_config": ADS,
                "lds_config": ADS,
            },
            "static_resources": {
                "clusters": [
                    {
                        "name": "discovery",
                        "type": "STATIC",
                        "load_assignment": {
                            "cluster_name": "discovery", "endpoints": [{"lb_endpoints": [where]}],
                        },
                        "typed_extension_protocol_options": http2,
                    }
                ]
            },
        }  # fmt: skip

    async def start(self):
        binary = pathlib.Path(importlib.util.find_spec("envoy._bin").origin).parent / "envoy"
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(self._bootstrap()))
        with (self.folder / "envoy.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                binary, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "info",
                stdout=log, stderr=log,
            )  # fmt: skip

    async def stop(self):
        self.process.terminate()
        await self.process.wait()

    async def get(self, path, socket, host="x"):
        transport = httpx.AsyncHTTPTransport(uds=str(socket))
        try:
            async with httpx.AsyncClient(transport=transport) as client:
                return (await client.get(f"http://{host}{path}")).text
        except httpx.TransportError as error:
            raise AssertionError(f"{socket}: {error!r}") from error

    async def stat(self, name):
        text = await self.get(f"/stats?filter=^{name}$", self.admin)
        return int(text.split(": ")[1]) if ": " in text else None

    async def clusters(self):
        dump = json.loads(await self.get("/config_dump?resource=dynamic_active_clusters", self.admin))
        return {one["cluster"]["name"]: one["cluster"] for one in dump.get("configs", ())}
