"""The manifests that the bench runs Retic with: plain Kubernetes objects, as dictionaries."""

import pathlib
from collections.abc import Sequence
from typing import Any

import yaml
from tools.bench import places, ports

Object = dict[str, Any]
SLEEP = ["sleep", "infinity"]
_APP_PROTOCOLS = {
    ports.Protocol.HTTP1: "http",
    ports.Protocol.HTTP2: "kubernetes.io/h2c",
    ports.Protocol.TCP: "tcp",
}


def write(file: pathlib.Path, objects: Sequence[Object]) -> None:
    """Replace the file at once: a mesh that watches it sees the old text or the new."""
    new = file.with_suffix(".new")
    new.write_text(yaml.safe_dump_all(objects))
    new.rename(file)


def namespace(name: str) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def container(name: str, command: Sequence[str]) -> Object:
    """A container that can import the bench."""
    path = {"name": "PYTHONPATH", "value": str(places.ROOT)}
    return {"name": name, "image": "none", "command": list(command), "env": [path]}


def pod(name: str, node: str, containers: Sequence[Object], namespace: str = "default") -> Object:
    """A Pod on a node, found by the label `app` that is its name."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": pod_spec(node, containers),
    }


def pod_spec(node: str, containers: Sequence[Object]) -> Object:
    """The spec of such a Pod; it need not wait when it ends."""
    return {"nodeName": node, "containers": list(containers), "terminationGracePeriodSeconds": 0}


def server(name: str, node: str) -> Object:
    """A Pod with a server of each protocol."""
    return pod(name, node, [container(p.name.lower(), p.server()) for p in ports.Protocol])


def service(name: str, app: str, *protocols: ports.Protocol) -> Object:
    """A Service for these protocols of the pod `app`, at the ports of its containers."""
    listed = [
        {"name": p.name.lower(), "port": p.port, "appProtocol": _APP_PROTOCOLS[p]} for p in protocols
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": app}, "ports": listed},
    }


def marker(name: str) -> Object:
    """A Service of nobody: who sees it has the manifests that it came with."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
    }


def split(name: str, weights: dict[str, int]) -> Object:
    """An HTTPRoute that divides a Service's requests among other Services."""
    port = ports.Protocol.HTTP1.port
    backends = [{"name": to, "port": port, "weight": weight} for to, weight in weights.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": name, "port": port}],
            "rules": [{"backendRefs": backends}],
        },
    }


def sleepers(count: int, node: str) -> Object:
    """A Deployment of pods that only sleep."""
    labels = {"app": "sleeper"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleeper", "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_spec(node, [container("sleep", SLEEP)]),
            },
        },
    }
