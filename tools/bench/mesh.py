"""Retic as its users start it, and the places, addresses and Envoys in it."""

import asyncio
import contextlib
import json
import os
import pathlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tools.bench import generators, manifests, places

from retic.control import client, model
from retic.local import state
from retic.node import admin
from retic.testing import running, wait

NEAR, FAR = "Retic, near", "Retic, far"


class Mesh:
    """A mesh of two nodes. `file` is its only manifest; an edit of it is live."""

    def __init__(self, up: running.Mesh, file: pathlib.Path) -> None:
        self._up = up
        self.file = file
        self._folder = state.folder(up.name)
        self._edits = 0

    def pods(self) -> dict[tuple[str, str], places.Place]:
        """Where each pod is, by namespace and name."""
        found = self._ask({"get": "status"}, 30)["pods"]
        return {
            (one["namespace"], one["name"]): places.Place(f"/proc/{one['holder_pid']}/ns/net", one["holder_pid"])
            for one in found
        }

    def ready(self) -> set[tuple[str, str]]:
        """Namespace and name of each pod that is ready."""
        return {(one["namespace"], one["name"]) for one in self._ps()["pods"] if one["ready"]}

    def services(self) -> dict[str, str]:
        """The address of each Service of the namespace `default`."""
        return {one["name"]: one["address"] for one in self._ps()["services"] if one["namespace"] == "default"}

    def envoys(self) -> dict[str, int]:
        """The pid of each node's Envoy, by the node's name."""
        return {one["name"]: one["pid"] for one in self._ps()["processes"] if one["role"] == "envoy"}

    def others(self, node: str) -> tuple[int, ...]:
        """The pids of what works for a node's Envoy: its agent and the control plane."""
        processes = self._ps()["processes"]
        wanted = (("control", "control"), ("agent", node))
        return tuple(one["pid"] for one in processes if (one["role"], one["name"]) in wanted)

    def edit(self, objects: Sequence[manifests.Object]) -> None:
        """Replace the manifests, and wait until every proxy has them. RuntimeError when one does not."""
        self._edits += 1
        name = f"edit-{self._edits}"
        manifests.write(self.file, [*objects, manifests.marker(name)])
        wait.until(lambda: name in {one["name"] for one in self._ps()["services"]}, "the edit", 20)
        self.settled()

    def settled(self) -> None:
        """Wait until every proxy has what it was sent. RuntimeError when one does not."""
        done = client.ask(self._folder / "control.sock", model.AskConverged(30.0), seconds=40.0)
        if not done["ready"]:
            raise RuntimeError(f"proxies are behind: {done['reasons']}")

    def faults(self) -> list[str]:
        """What is wrong with the manifests, a line each."""
        found = client.ask(self._folder / "control.sock", model.AskFindings())
        return [f"{one['object']}: {one['code']} {one['message']}" for one in found]

    def allocated(self, node: str) -> int:
        """Bytes that a node's Envoy has allocated and not given back: no binary, nothing that is free."""
        said = asyncio.run(admin.get(self._folder / "agents" / node / "admin.sock", "/memory"))
        return int(json.loads(said)["allocated"])

    @contextlib.contextmanager
    def reported(self, node: str = "node-1") -> Iterator[None]:
        """Every request of the node's pods is reported to its agent, and read here. RuntimeError when none was."""
        seen = threading.Event()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self._folder / "agents" / node / "reports.sock"))
            sock.sendall(b'{"follow":{}}\n')
            if b'"following"' not in sock.recv(1 << 10):
                raise RuntimeError("the agent does not report")
            sock.settimeout(None)
            reader = threading.Thread(target=_read, args=(sock, seen))
            reader.start()
            try:
                yield
                if not seen.wait(5):
                    raise RuntimeError("no request was reported")
            finally:
                sock.shutdown(socket.SHUT_RDWR)
                reader.join()

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


def _read(sock: socket.socket, seen: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            seen.set()


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
