"""Retic as its users start it, and the places, addresses and Envoys in it."""

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from tools.bench import generators, manifests, places

from retic.local import state
from retic.testing import running

NEAR, FAR = "Retic, near", "Retic, far"


class Mesh:
    """A mesh of two nodes. `file` is its only manifest; an edit of it is live."""

    def __init__(self, up: running.Mesh, file: pathlib.Path) -> None:
        self._up = up
        self.file = file
        self._folder = state.folder(up.name)

    def pods(self) -> dict[tuple[str, str], places.Place]:
        """Where each pod is, by namespace and name."""
        found = self._ask({"get": "status"}, 30)["pods"]
        return {
            (one["namespace"], one["name"]): places.Place(f"/proc/{one['holder_pid']}/ns/net", one["holder_pid"])
            for one in found
        }

    def services(self) -> dict[str, str]:
        """The address of each Service of the namespace `default`."""
        return {one["name"]: one["address"] for one in self._ps()["services"] if one["namespace"] == "default"}

    def envoys(self) -> dict[str, int]:
        """The pid of each node's Envoy, by the node's name."""
        return {one["name"]: one["pid"] for one in self._ps()["processes"] if one["role"] == "envoy"}

    def paths(self) -> list[generators.Path]:
        """From the pod `client` to the servers `near`, on its own node, and `far`, on another."""
        client = self.pods()["default", "client"]
        address, pids = self.services(), self.envoys()
        both = (pids["node-1"], pids["node-2"])
        return [
            generators.Path(NEAR, client, address["near"], both[:1]),
            generators.Path(FAR, client, address["far"], both),
        ]

    def _ps(self) -> dict[str, Any]:
        return self._up.ps()

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds)
            sock.connect(str(self._folder / "cluster.sock"))
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(sock.makefile("rb").readline())
            return answer


@contextlib.contextmanager
def up(folder: pathlib.Path, objects: Sequence[manifests.Object]) -> Iterator[Mesh]:
    """A mesh with these objects, up to the end of the block, when everything of it is removed."""
    folder.mkdir()
    file = folder / "mesh.yaml"
    manifests.write(file, objects)
    name = f"bench-{os.getpid()}-{folder.name}"
    started = None
    try:
        started = running.Mesh.up(folder, nodes=2, name=name)
        yield Mesh(started, file)
    finally:
        (started or running.Mesh(name, folder)).down()


def workers(pid: int) -> int:
    """How many worker threads an Envoy was told to have."""
    arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return int(arguments[arguments.index("--concurrency") + 1])
