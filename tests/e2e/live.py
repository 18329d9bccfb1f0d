"""Manifests added to, changed in and taken from a running mesh's folder, as a user with an editor would."""

import contextlib
import os
import socket

import yaml

from retic.local import state
from retic.sources import codec
from retic.testing import wait


def write(mesh, name, *objects):
    """Put a file there, whole at once, so that no half of it is ever read."""
    path = mesh.folder / name
    hidden = path.with_name(f".{name}.new")
    hidden.write_text("---\n".join(o if isinstance(o, str) else yaml.safe_dump(o, sort_keys=False) for o in objects))
    os.replace(hidden, path)


def remove(mesh, name):
    """Take a file away."""
    (mesh.folder / name).unlink()


@contextlib.contextmanager
def file(mesh, name, *objects):
    """A file for the length of a block. It must be a new one: others' manifests would be gone for all later tests."""
    assert not (mesh.folder / name).exists(), f"{name} is there already"
    write(mesh, name, *objects)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            remove(mesh, name)


def everything(mesh):
    """All objects, as everybody in the mesh sees them."""
    found = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(state.folder(mesh.name) / "cluster.sock"))
        sock.sendall(b'{"watch":true}\n')
        for line in sock.makefile("rb"):
            event = codec.decode(line)
            if event.type == codec.Type.SYNCED:
                break
            if event.object is not None:
                found.append(event.object)
    return found


def objects(mesh, kind, prefix=""):
    """The objects of a kind whose names begin so."""
    those = [o for o in everything(mesh) if type(o).__name__ == kind and o.metadata.name.startswith(prefix)]
    return sorted(those, key=lambda o: o.metadata.name)


def pods(mesh, prefix):
    """The pods whose names begin so."""
    return [p for p in mesh.ps()["pods"] if p["name"].startswith(prefix)]


def ready(mesh, prefix, number=1, seconds=20):
    """Wait until so many pods whose names begin so are there, all ready; gives them."""
    def those():
        found = pods(mesh, prefix)
        assert len(found) == number, found
        assert all(p["ready"] for p in found), (found, mesh.logs_of_processes())
        return found

    return wait.until(those, f"{number} ready pods {prefix}*", seconds=seconds, every=0.2)


def meta(name, namespace="default", **more):
    """An object's metadata."""
    return {"name": name, "namespace": namespace, **more}


def service(name, selector, *ports, namespace="default", **more):
    """A Service; a port is its number, (number, target) or a whole mapping."""
    made = []
    for port in ports or ((80, 8080),):
        if isinstance(port, int):
            port = (port, port)
        if isinstance(port, tuple):
            port = {"name": f"p{port[0]}", "port": port[0], "targetPort": port[1]}
        made.append(port)
    spec = {"selector": selector, "ports": made, **more}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace), "spec": spec}


def echo(version, port=8080, **more):
    """A container that serves HTTP and says its version."""
    return {
        "name": "server",
        "command": ["python3", "-m", "retic.testing.apps.echo_http", "--port", str(port), "--version", version],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        **more,
    }


def deployment(name, *containers, namespace="default", replicas=1, spec=None, kind="Deployment", **more):
    """A Deployment, or another kind like it, whose pods are labelled app=NAME."""
    labels = {"app": name}
    pod = {"terminationGracePeriodSeconds": 3, "containers": list(containers), **(spec or {})}
    template = {"metadata": {"labels": labels}, "spec": pod}
    body = {"selector": {"matchLabels": labels}, "template": template, **more}
    if kind != "DaemonSet":
        body["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta(name, namespace), "spec": body}


def route(name, parent, *rules, namespace="default", kind="HTTPRoute", **more):
    """A route on a Service (by name) or on another parent (a mapping)."""
    if isinstance(parent, str):
        parent = {"group": "", "kind": "Service", "name": parent}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": meta(name, namespace),
        "spec": {"parentRefs": [parent], "rules": list(rules), **more},
    }


def to(name, weight=1, port=80, **more):
    """A backendRef."""
    return {"name": name, "port": port, "weight": weight, **more}
