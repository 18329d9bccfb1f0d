"""Subsets through a real Envoy: a route's backends are clusters of their own, with the pods that have the labels.

The control plane's own routes, clusters and endpoints; only where pods are is turned to servers of this machine.
"""

import collections
import http.server
import importlib.util
import json
import socket
import subprocess
import threading

import pytest
import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from retic import findings, wiring
from retic.envoy import names, resources, routes
from retic.mesh import network, route
from retic.sources import manifest_file
from retic.testing import wait

_EXT = "type.googleapis.com/envoy.extensions.filters."
VERSIONS = {"10.244.1.1": "v1", "10.244.1.2": "v1", "10.244.1.3": "v2"}


def server(name):
    class Echo(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


def manifests():
    meta = {"namespace": "shop"}
    yield {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", **meta},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80, "name": "http"}]},
    }  # fmt: skip
    for number, (address, version) in enumerate(VERSIONS.items()):
        yield {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"p{number}", "uid": f"u{number}", "labels": {"version": version}, **meta},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "command": ["c"]}]},
            "status": {"podIP": address, "phase": "Running"},
        }  # fmt: skip
    yield {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "cart", "labels": {"kubernetes.io/service-name": "cart"}, **meta},
        "endpoints": [{"addresses": [address]} for address in VERSIONS],
        "ports": [{"name": "http", "port": 8080}],
    }  # fmt: skip
    subsets = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
    subsets[0]["trafficPolicy"] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    yield {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "cart", **meta},
        "spec": {"host": "cart", "subsets": subsets},
    }  # fmt: skip


def rule(path, **weights):
    backends = tuple(route.Backend("shop", "cart", 80, weight, subset=name) for name, weight in weights.items())
    match = route.Match(route.Path(route.PathKind.PREFIX, path))
    return route.Rule(findings.Ref("VirtualService", "shop", "cart"), 0, match, backends)


RULES = (rule("/one", v1=1), rule("/two", v2=1), rule("/both", v1=3, v2=1), rule("/none", v3=1))


def made(db, message, name):
    encoded = db.ask(resources.resource, resources.Key(names.parse(name).type_url, name))
    discovery_pb2.Resource.FromString(encoded.resource).resource.Unpack(message)
    return message


def static(db, subset, ports):
    """The subset's cluster with its endpoints in it, at servers of this machine."""
    cluster = made(db, cluster_pb2.Cluster(), names.service("web", "shop", "cart", 80, subset))
    cluster.ClearField("upstream_bind_config")
    cluster.ClearField("transport_socket_matches")
    if cluster.type == cluster_pb2.Cluster.EDS:
        given = made(db, endpoint_pb2.ClusterLoadAssignment(), cluster.eds_cluster_config.service_name)
        for each in (e for group in given.endpoints for e in group.lb_endpoints):
            where = each.endpoint.address.socket_address
            where.address, where.port_value = "127.0.0.1", ports[where.address]
        given.cluster_name = cluster.name
        cluster.ClearField("eds_cluster_config")
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.load_assignment.CopyFrom(given)
    return json_format.MessageToDict(cluster, preserving_proto_field_name=True)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    text = "\n---\n".join(map(yaml.safe_dump, manifests()))
    loaded = [entry.located.object for entry in manifest_file.parse("it", text.encode())]
    db = wiring.offline(loaded, network.Settings(enrolment="none"))
    servers = {address: server(address) for address in VERSIONS}
    ports = {address: each.server_port for address, each in servers.items()}
    table = routes.outbound("web", [route.Table(("10.96.0.1:80",), RULES)], network.Settings())
    config = route_pb2.RouteConfiguration(virtual_hosts=table.virtual_hosts[:1])
    config.virtual_hosts[0].domains[:] = ["*"]
    manager = {
        "@type": _EXT + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "test",
        "http_protocol_options": {"accept_http_10": True},
        "http_filters": [{"name": "router", "typed_config": {"@type": _EXT + "http.router.v3.Router"}}],
        "route_config": json_format.MessageToDict(config, preserving_proto_field_name=True),
    }
    folder = tmp_path_factory.mktemp("envoy")
    (folder / "it.json").write_text(json.dumps({
        "static_resources": {
            "listeners": [{
                "name": "in", "address": {"pipe": {"path": str(folder / "in")}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [static(db, subset, ports) for subset in ("v1", "v2", "v3")],
        },
    }))  # fmt: skip
    binary = next(iter(importlib.util.find_spec("envoy._bin").submodule_search_locations))
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        [f"{binary}/envoy", "-c", str(folder / "it.json"), "--use-dynamic-base-id", "--concurrency", "1",
         "--log-level", "error"], stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield lambda path: _ask(process, folder, path)
    finally:
        process.terminate()
        process.wait()
        log.close()
        for each in servers.values():
            each.shutdown()
            each.server_close()


def _ask(process, folder, path):
    """Who answered, as a version and an address; a status for what the proxy answers itself."""
    with socket.socket(socket.AF_UNIX) as sock:
        def connected():
            assert process.poll() is None, (folder / "log").read_text()[-900:]
            return sock.connect_ex(str(folder / "in")) == 0

        wait.until(connected, "Envoy listens")
        sock.sendall(f"GET {path} HTTP/1.0\r\nhost: cart\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).decode().partition("\r\n\r\n")
    return VERSIONS.get(body, head.split(" ")[1]), body


def test_a_subset_has_the_pods_with_its_labels(ask):
    found = collections.Counter(ask("/one")[1] for _ in range(8))
    assert found == {"10.244.1.1": 4, "10.244.1.2": 4}  # round robin, as the subset's own policy says
    assert {ask("/two") for _ in range(8)} == {("v2", "10.244.1.3")}


def test_subsets_are_weighted_with_each_other(ask):
    found = collections.Counter(ask("/both")[0] for _ in range(400))
    assert 60 <= found["v2"] <= 145, found  # a quarter, five standard deviations around it
    assert found["v1"] + found["v2"] == 400


def test_a_subset_that_is_none_fails_at_once(ask):
    assert ask("/none")[0] == "503"
