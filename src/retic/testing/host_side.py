"""Bare meshes on test machines, from the side of the host: the command line, and what tests do with it.

`python -m retic.testing.host_side up|attached NAME NODES | down NAME | enter PID ARGV...`
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
from typing import Any

from retic.local import outer, state
from retic.local.sandbox import enter
from retic.testing import bare_mesh, machine, wait

COMMAND = (sys.executable, "-m", "retic.testing.host_side")


@dataclasses.dataclass
class Mesh:
    """A bare mesh that runs on a machine: pids of its outer process and its pid 1, its state folder."""

    machine: machine.Machine
    name: str
    outer: int
    cluster: int
    folder: pathlib.Path

    def ask(self, verb: str, **arguments: Any) -> Any:
        return bare_mesh.call(self.folder, verb, **arguments)

    def run(self, *argv: str, pod: str | None = None, **more: Any) -> Any:
        return self.ask("run", argv=list(argv), pod=pod, **more)

    def python(self, code: str, *arguments: str, pod: str | None = None, **more: Any) -> str:
        """Run Python in a pod; its output."""
        answer = self.run(sys.executable, "-c", code, *arguments, pod=pod, **more)
        assert answer["code"] == 0, answer["output"]
        return str(answer["output"]).strip()


def drive(on: machine.Machine, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line below on the machine."""
    return on.run([*COMMAND, *arguments])


def up(on: machine.Machine, name: str | None = None, nodes: int = 2) -> Mesh:
    """Start a bare mesh on the machine and wait until it answers."""
    name = name or f"t{os.getpid()}"
    answer = drive(on, "up", name, str(nodes))
    assert answer.returncode == 0, answer.stderr.decode()
    outer, cluster, folder = answer.stdout.decode().split()
    mesh = Mesh(on, name, int(outer), int(cluster), pathlib.Path(folder))
    wait.until(lambda: bare_mesh.listens(mesh.folder) or not on.processes(), "the mesh is up or has failed", 20)
    assert bare_mesh.listens(mesh.folder), (mesh.folder / "logs" / "cluster.log").read_text()
    return mesh


def _up(name: str, nodes: str, *, detach: bool) -> int:
    config = state.Config(
        name=name,
        nodes=tuple(f"node-{i}" for i in range(1, int(nodes) + 1)),
        manifests=(),
        state=str(state.folder(name)),
        entry="retic.testing.bare_mesh",
        grace=2,
    )
    mesh = outer.start(config, detach=detach)
    print(mesh.running.outer_pid, mesh.running.cluster_pid, config.state, flush=True)
    return 0 if detach else mesh.wait()


def _main(verb: str, *arguments: str) -> int:
    match verb:
        case "up" | "attached":
            return _up(arguments[0], arguments[1], detach=verb == "up")
        case "down":
            return 0 if outer.down(arguments[0], grace=10) else 3
        case "enter":
            return enter.enter(int(arguments[0]), arguments[1:])
    return 2


if __name__ == "__main__":
    try:
        sys.exit(_main(*sys.argv[1:]))
    except (state.StateError, outer.StartError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
