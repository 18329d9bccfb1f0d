"""A real Envoy with one slot of requests in front of a server that says what reached it."""

import http.server
import importlib.util
import json
import pathlib
import socket
import subprocess
import threading

from google.protobuf import json_format

from retic.envoy import external, filters
from retic.mesh import authorizers

_EXT = "type.googleapis.com/envoy.extensions.filters."


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"target": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Answer:
    """`passed` tells whether the server was reached: then `headers` and `target` are what it saw."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        seen = json.loads(body) if status == 200 else {"headers": [], "target": ""}
        self.passed, self.target = status == 200, seen["target"]
        self.headers = tuple((name.lower(), value) for name, value in seen["headers"])

    def header(self, name):
        return [value for each, value in self.headers if each == name]


class Proxy:
    """Issuers and policies in their slots; `ask` sends a request."""

    def __init__(self, folder, issuers, policies=(), *, routed=True):
        self.folder = pathlib.Path(folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        who = external.Asker("shop", "web", "test")
        slots = (
            filters.asked_requests("ask", who, authorizers.NONE, issuers, routed=routed),
            filters.requests("slot", "test", policies),
        )
        file = self.folder / "envoy.json"
        as_json = [json_format.MessageToDict(slot, preserving_proto_field_name=True) for slot in slots]
        file.write_text(json.dumps(self._bootstrap(as_json)))
        binary = next(iter(importlib.util.find_spec("envoy._bin").submodule_search_locations))
        self.log = (self.folder / "log").open("w+")
        self.process = subprocess.Popen(
            [f"{binary}/envoy", "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"],
            stdout=self.log, stderr=self.log,
        )
        self.connection = None

    def _bootstrap(self, slots):
        manager = {
            "@type": _EXT + "network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "test",
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            "http_filters": [
                *slots, {"name": "router", "typed_config": {"@type": _EXT + "http.router.v3.Router"}},
            ],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {
                    "match": {"prefix": "/", "headers": [{"name": "x-role", "string_match": {"exact": "admin"}}]},
                    "direct_response": {"status": 299},
                },
                {"match": {"connect_matcher": {}}, "route": {"cluster": "server"}},
                {"match": {"prefix": ""}, "route": {"cluster": "server"}},
            ]}]},
        }  # fmt: skip
        where = {"address": "127.0.0.1", "port_value": self.server.server_port}
        return {
            "layered_runtime": {"layers": [
                {"name": "limits", "static_layer": {"re2.max_program_size.error_level": 16384}}
            ]},
            "static_resources": {
                "listeners": [{
                    "name": "in", "address": {"pipe": {"path": str(self.folder / "in.sock")}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }],
                "clusters": [{"name": "server", "load_assignment": {"cluster_name": "server", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": {"socket_address": where}}}]}
                ]}}],
            }
        }  # fmt: skip

    def _connect(self):
        path = str(self.folder / "in.sock")
        while True:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-600:]
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.settimeout(10)
            try:
                self.connection.connect(path)
            except OSError:
                self.connection.close()
                continue
            return

    def ask(self, headers=(), target="/", method="GET"):
        """The answer to a request with these headers, in this order and spelling."""
        if self.connection is None:
            self._connect()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.connection.sendall(f"{method} {target} HTTP/1.1\r\nhost: app\r\n{lines}\r\n".encode())
        raw = b""
        while b"\r\n\r\n" not in raw:
            piece = self.connection.recv(1 << 16)
            assert piece, raw
            raw += piece
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *rest = head.decode().lower().split("\r\n")
        said = dict(line.split(": ", 1) for line in rest)
        while len(body) < int(said.get("content-length", "0")):
            body += self.connection.recv(1 << 16)
        if said.get("connection") == "close" or "content-length" not in said:
            self.connection.close()
            self.connection = None
        return Answer(int(first.split(" ")[1]), body)

    def close(self):
        if self.connection:
            self.connection.close()
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.server.shutdown()
        self.server.server_close()
