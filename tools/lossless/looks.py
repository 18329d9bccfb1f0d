"""What is asked of a running mesh, and done to its processes, without a command of its own for each question."""

import contextlib
import datetime
import json
import os
import signal
import socket
from typing import Any

from retic.control import client, model
from retic.local import state
from retic.testing import running, wait

NODES = ("node-1", "node-2")


def ask(mesh: running.Mesh, request: Any, seconds: float = 30.0) -> Any:
    """Of the control plane: the answer's JSON."""
    return client.ask(state.folder(mesh.name) / "control.sock", request, seconds=seconds)


def processes(mesh: running.Mesh) -> dict[tuple[str, str], int]:
    """Process ids by (role, name); none while nobody answers."""
    with contextlib.suppress(client.Away, client.Refused, TimeoutError):
        return {(one["role"], one["name"]): one["pid"] for one in ask(mesh, model.AskPs())["processes"]}
    return {}


def pods(mesh: running.Mesh) -> dict[str, bool]:
    """Whether each pod is ready, by name; none while nobody answers."""
    with contextlib.suppress(client.Away, client.Refused, TimeoutError):
        return {one["name"]: one["ready"] for one in ask(mesh, model.AskPs())["pods"]}
    return {}


def killed(mesh: running.Mesh, role: str, name: str) -> None:
    """Kill a process, and wait for the one that comes instead."""
    before = wait.until(lambda: processes(mesh).get((role, name)), f"{name} is there", 20, every=0.1)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait.until(lambda: processes(mesh).get((role, name)) not in (None, before), f"{name} is back", 30, every=0.1)


def agent(mesh: running.Mesh, node: str, seconds: float = 90, **request: Any) -> dict[str, Any]:
    """Ask a node's agent on its own socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(str(state.folder(mesh.name) / "agents" / node / "agent.sock"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(sock.makefile("rb").readline())
    return answer


def is_renewed(mesh: running.Mesh, node: str, seconds: float) -> bool:
    """Whether all certificates that a node's proxy has are good for so many seconds more."""
    end = datetime.datetime.fromisoformat(first_end(mesh, node))
    return (end - datetime.datetime.now(datetime.UTC)).total_seconds() > seconds


def first_end(mesh: running.Mesh, node: str) -> str:
    """When the first of the certificates ends that a node's proxy has, as it says."""
    found = ask(mesh, model.AskProxy(proxy=node, section="secrets"))
    return min(str(one["not_after"]) for one in found if one.get("not_after"))
