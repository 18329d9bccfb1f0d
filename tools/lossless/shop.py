"""The mesh that events happen to: a client on one node, and servers of HTTP/1, HTTP/2 and TCP."""

import pathlib
from typing import Any

import yaml

CLIENT = "client"
REPLICAS = 3
GRACE = 10  # seconds
_PORTS = {"http": ("fast_http1", 8080), "h2": ("echo_h2", 8081), "tcp": ("fast_tcp", 7001)}


class Shop:
    """The manifests in a folder; every change is written at once, as a whole."""

    def __init__(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._replicas, self._revision = REPLICAS, 1
        self._write()

    def scale(self, replicas: int) -> None:
        """Another number of servers."""
        self._replicas = replicas
        self._write()

    def roll(self) -> None:
        """Servers of another revision, one after the other."""
        self._revision += 1
        self._write()

    def _write(self) -> None:
        parts = [_client(), *_servers(self._replicas, self._revision)]
        beside = self.folder / "shop.yaml.new"
        beside.write_text(yaml.safe_dump_all(parts))
        beside.rename(self.folder / "shop.yaml")


def _client() -> dict[str, Any]:
    spec = {"nodeName": "node-1", "containers": [{"name": "main", "command": ["sleep", "infinity"]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": CLIENT}, "spec": spec}


def _servers(replicas: int, revision: int) -> list[dict[str, Any]]:
    """A Deployment and its Service: HTTP/1 at 80, HTTP/2 at 81, TCP at 7001."""
    labels = {"app": "shop"}
    meta = {"name": "shop"}
    containers = [_container(name, app, port) for name, (app, port) in _PORTS.items()]
    template = {
        "metadata": {"labels": labels | {"revision": str(revision)}},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": GRACE},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "h2", "port": 81, "targetPort": 8081, "appProtocol": "kubernetes.io/h2c"},
        {"name": "tcp", "port": 7001, "appProtocol": "tcp"},
    ]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}},
    ]


def _container(name: str, app: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "command": ["python3", "-m", f"retic.testing.apps.{app}", "--port", str(port)],
        "ports": [{"containerPort": port}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
    }
