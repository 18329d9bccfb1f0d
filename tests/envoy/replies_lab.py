"""A real Envoy whose routes each fail in one way, and a real intake for what it reports."""

import asyncio
import contextlib
import importlib.util
import json
import pathlib
import socket
import ssl
import subprocess
import threading
import time

import grpc.aio
from google.protobuf import json_format

from retic.envoy import logs, replies
from retic.telemetry import intake
from retic.testing import ports, tls_pairs, wait

_EXT = "type.googleapis.com/envoy.extensions."
_FILTERS = _EXT + "filters.http."
REPLIES = {"outbound": replies.outbound, "inbound": replies.inbound, "gateway": replies.gateway}


def plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


class Servers:
    """What stands behind the routes: ports by name, each of a server that behaves badly in one way."""

    def __init__(self, folder):
        self._held = []
        self.ports = {
            "closing": self._serve(lambda peer: peer.recv(4096)),
            "garbage": self._serve(lambda peer: (peer.recv(4096), peer.sendall(b"what?\r\n\r\n"))),
            "slow": self._serve(lambda peer: (peer.recv(4096), peer.recv(4096))),
            "failing": self._serve(lambda peer: (peer.recv(4096), peer.sendall(self.OWN))),
            "tls": self._serve(lambda _: None, self._context(folder)),
            "silent": self._full(),
            "refused": self._unused(),
        }
        self.ports["full"] = self.ports["slow"]

    OWN = b"HTTP/1.1 503 Mine\r\ncontent-length: 4\r\nx-retic-kept: yes\r\n\r\nmine"

    def _serve(self, converse, context=None):
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)

        def take():
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(peer,), daemon=True).start()

        def one(peer):
            with contextlib.suppress(OSError), peer:
                converse(context.wrap_socket(peer, server_side=True) if context else peer)

        threading.Thread(target=take, daemon=True).start()
        self._held.append(listening)
        return listening.getsockname()[1]

    def _context(self, folder):
        chain, key = tls_pairs.pair("stranger.test")
        (folder / "chain.pem").write_bytes(chain)
        (folder / "key.pem").write_bytes(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        return context

    def _full(self):
        """Its queue is full, so a further SYN is not answered."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._held.append(listening)
        for _ in range(3):
            filling = socket.socket()
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
            self._held.append(filling)
        return listening.getsockname()[1]

    def _unused(self):
        return ports.free()

    def close(self):
        for each in self._held:
            each.close()


class Lab:
    """`ask(table, path)` sends a request through the manager that has the replies of that table."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.servers = Servers(self.folder)
        self.taken = intake.Intake(time.monotonic)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = asyncio.run_coroutine_threadsafe(self._intake(), self._loop).result(10)
        file = self.folder / "envoy.json"
        file.write_text(json.dumps(self._bootstrap()))
        binary = next(iter(importlib.util.find_spec("envoy._bin").submodule_search_locations))
        self.log = (self.folder / "log").open("w+")
        self.process = subprocess.Popen(
            [f"{binary}/envoy", "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"],
            stdout=self.log, stderr=self.log,
        )
        wait.until(lambda: all(self._ready(name) for name in REPLIES), "Envoy listens", seconds=20)

    async def _intake(self):
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self.taken.service(),))
        server.add_insecure_port(f"unix:{self.folder}/agent.sock")
        await server.start()
        return server

    def _ready(self, name):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-600:]
        with socket.socket(socket.AF_UNIX) as there:
            return there.connect_ex(str(self.folder / f"{name}.sock")) == 0

    def raw(self, table, request):
        """Everything that comes back until the other side closes."""
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(10)
            there.connect(str(self.folder / f"{table}.sock"))
            there.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := there.recv(1 << 16):
                    answer += piece
        head, _, body = answer.decode().partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        headers = (line.split(": ", 1) for line in rest)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in headers}, body

    def ask(self, table, path, *lines):
        """Status, headers and body."""
        head = "".join(f"{line}\r\n" for line in ("host: lab", "connection: close", *lines))
        return self.raw(table, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())

    def entry(self, wanted):
        """The one entry with this id."""
        return wait.until(lambda: self.taken.find(wanted), f"there is an entry {wanted}")[0]

    def _bootstrap(self):
        return {
            "static_resources": {
                "listeners": [self._listener(name, made()) for name, made in REPLIES.items()],
                "clusters": [
                    *(self._cluster(name, port) for name, port in self.servers.ports.items()),
                    {"name": "none", "type": "STATIC"},
                    self._agent(),
                ],
            }
        }

    def _agent(self):
        options = {"@type": _EXT + "upstreams.http.v3.HttpProtocolOptions",
                   "explicit_http_config": {"http2_protocol_options": {}}}  # fmt: skip
        where = {"pipe": {"path": f"{self.folder}/agent.sock"}}
        return {
            "name": logs.AGENT,
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
            "load_assignment": {
                "cluster_name": logs.AGENT, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
            },
        }  # fmt: skip

    def _cluster(self, name, port):
        where = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        made = {
            "name": name, "connect_timeout": "0.3s" if name == "silent" else "5s",
            "load_assignment": {
                "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}],
            },
        }  # fmt: skip
        if name == "full":
            # One request may be on its way, and one may wait.
            made["circuit_breakers"] = {"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}
        if name == "tls":
            roots = {"trusted_ca": {"inline_string": tls_pairs.pair("other.test")[0].decode()}}
            made["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": _EXT + "transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {"validation_context": roots},
            }}  # fmt: skip
        return made

    def _listener(self, name, config):
        who = logs.Who("shop/web", "spiffe://cluster.local/ns/shop/sa/web", "uid")
        manager = {
            "@type": _EXT + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "local_reply_config": plain(config),
            "access_log": [plain(each) for each in logs.http(logs.Side.OUTBOUND, who)],
            "http_filters": [
                {"name": "fault", "typed_config": {"@type": _FILTERS + "fault.v3.HTTPFault"}},
                {"name": "limit", "typed_config": {"@type": _FILTERS + "local_ratelimit.v3.LocalRateLimit",
                                                   "stat_prefix": "limit"}},
                {"name": "router", "typed_config": {"@type": _FILTERS + "router.v3.Router"}},
            ],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": self._routes()}],
                             "validate_clusters": False},
        }  # fmt: skip
        return {
            "name": name, "address": {"pipe": {"path": f"{self.folder}/{name}.sock"}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }  # fmt: skip

    def _routes(self):
        to = {name: {"cluster": name} for name in (*self.servers.ports, "none")}
        to["missing"] = {"cluster": "nowhere", "cluster_not_found_response_code": "SERVICE_UNAVAILABLE"}
        for name in ("slow", "full"):
            to[name] = {**to[name], "timeout": "0.3s" if name == "slow" else "4s"}
        to["again"] = {"cluster": "refused", "retry_policy": {"retry_on": "connect-failure", "num_retries": 2}}
        to["used-up"] = {"cluster": "failing", "retry_policy": {"retry_on": "5xx", "num_retries": 1}}
        routes = [{"match": {"path": f"/{name}"}, "route": action} for name, action in to.items()]
        own = {"status": 503, "body": {"inline_string": "closed on Sundays"}}
        routes.append({
            "match": {"path": "/own"}, "direct_response": own,
            "response_headers_to_add": [{"header": {"key": "content-type", "value": "text/html"}}],
        })  # fmt: skip
        fault = {"@type": _FILTERS + "fault.v3.HTTPFault",
                 "abort": {"http_status": 418, "percentage": {"numerator": 100}}}  # fmt: skip
        limit = {
            "@type": _FILTERS + "local_ratelimit.v3.LocalRateLimit", "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
            "filter_enabled": {"default_value": {"numerator": 100}},
            "filter_enforced": {"default_value": {"numerator": 100}},
        }  # fmt: skip
        for name, config in (("fault", fault), ("limit", limit)):
            routes.append({
                "match": {"path": f"/{name}"}, "route": to["failing"], "typed_per_filter_config": {name: config},
            })  # fmt: skip
        return routes

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.servers.close()


