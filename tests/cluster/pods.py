"""Pods for tests, of the demo's image: Python, with which a test does what it needs."""

from typing import Any

IMAGE = "retic-shop:1"

# Answers with its own name and the caller's address, and prints each call.
ECHO = """
import http.server, os, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{os.uname().nodename} {self.client_address[0]}".encode()
        print("asked for", self.path, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Echo).serve_forever()
"""


def echo(name: str, *, node: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod on `node` that answers on port 8080."""
    made = python(name, ECHO, node=node, labels=labels)
    container = made["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}
    return made


def python(name: str, code: str, *, node: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod on `node` that runs the code."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-c", code]}
            ],
        },
    }


def service(name: str, selector: dict[str, str], port: int, target: int | str) -> dict[str, Any]:
    """A Service of one TCP port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"port": port, "targetPort": target}]},
    }
