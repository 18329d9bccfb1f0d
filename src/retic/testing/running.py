"""A mesh started by the command itself, as users start it, for tests of behaviour through real Envoys."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Any


class Mesh:
    """A detached mesh. `folder` is where its manifests are; edits there are live."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.name = name
        self.folder = folder

    @classmethod
    def up(
        cls,
        folder: pathlib.Path,
        *,
        nodes: int = 1,
        seconds: int = 90,
        extra: Sequence[str] = (),
        name: str = "",
    ) -> "Mesh":
        """Start it and wait until it is ready. AssertionError with everything printed when it is not."""
        mesh = cls(name or f"t-{uuid.uuid4().hex[:8]}", folder)
        done = mesh.command(
            "up", "-f", str(folder), "--nodes", str(nodes), "--detach", "--timeout", str(seconds), *extra,
            seconds=seconds + 30,
        )
        if done.returncode:
            logs = mesh.logs_of_processes()
            mesh.down()
            raise AssertionError(f"up failed ({done.returncode}):\n{done.stdout}\n{done.stderr}\n{logs}")
        return mesh

    def command(self, *words: str, seconds: float = 60, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run `retic WORDS --name NAME`; options go before a `--`."""
        at = words.index("--") if "--" in words else len(words)
        line = [sys.executable, "-m", "retic.cli", *words[:at], "--name", self.name, *words[at:]]
        return subprocess.run(
            line, capture_output=True, text=True, timeout=seconds, input=stdin, check=False, env=_environment()
        )

    def start(self, pod: str, *words: str, namespace: str = "default") -> "subprocess.Popen[str]":
        """Run a command in a pod, and do not wait."""
        line = [sys.executable, "-m", "retic.cli", "exec", "--name", self.name, "-n", namespace, pod, "--", *words]
        return subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            env=_environment(),
        )

    def exec(
        self, pod: str, *words: str, namespace: str = "default", seconds: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a pod (`NAME` or `deploy/NAME`)."""
        return self.command("exec", "-n", namespace, pod, "--", *words, seconds=seconds)

    def curl(self, pod: str, url: str, *options: str, namespace: str = "default") -> tuple[int, str]:
        """A request from a pod: status (0 when there was no answer) and body."""
        done = self.exec(
            pod, "curl", "-s", "-m", "10", "-w", "\n%{http_code}", *options, url, namespace=namespace
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    def ps(self) -> dict[str, Any]:
        """`retic ps -o json`."""
        done = self.command("ps", "-o", "json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def stats(self, proxy: str) -> dict[str, Any]:
        """An Envoy's statistics."""
        done = self.command("proxy", proxy, "stats", "-o", "json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def logs_of_processes(self) -> str:
        """The last lines of what the mesh's own processes wrote."""
        from retic.local import state

        parts = []
        for file in sorted((state.folder(self.name) / "logs").glob("*.log")):
            parts.append(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}")
        return "\n".join(parts)

    def down(self) -> "subprocess.CompletedProcess[str]":
        """End it and remove everything."""
        return self.command("down")


@contextlib.contextmanager
def mesh(folder: pathlib.Path, *, nodes: int = 1, extra: Sequence[str] = ()) -> Iterator[Mesh]:
    """A mesh for as long as the block lasts. AssertionError when it does not start, or does not end as it should."""
    started = Mesh.up(folder, nodes=nodes, extra=extra)
    try:
        yield started
    finally:
        done = started.down()
        assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
