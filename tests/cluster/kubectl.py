"""kubectl as a test calls it: against one cluster, in one namespace."""

import contextlib
import json
import pathlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from tools.cluster import places

from retic.testing import wait


class Kubectl:
    """Commands with a kubeconfig and a namespace. Objects are given as values, and are applied server-side."""

    def __init__(self, kubeconfig: pathlib.Path, namespace: str) -> None:
        self.namespace = namespace
        self._words = [places.kubectl(), f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]

    def run(self, *words: str, given: str | None = None, seconds: float = 120) -> str:
        """What it prints. Raises AssertionError with its complaint where it fails."""
        done = self.attempt(*words, given=given, seconds=seconds)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def attempt(self, *words: str, given: str | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        return subprocess.run(
            [*self._words, *words], input=given, capture_output=True, text=True, check=False, timeout=seconds
        )

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change the objects."""
        self.run("apply", "--server-side", "-f", "-", given=json.dumps(_list(*objects)))

    def patch(self, what: str, change: Mapping[str, Any]) -> None:
        """Merge the change into an object."""
        self.run("patch", what, "--type=merge", "-p", json.dumps(change))

    def get(self, *words: str) -> Any:
        """The object or list, decoded."""
        return json.loads(self.run("get", *words, "-o", "json"))

    def ready(self, *pods: str) -> None:
        """Wait until the pods are ready."""
        done = self.attempt("wait", "--for=condition=Ready", "--timeout=110s", *(f"pod/{pod}" for pod in pods))
        assert done.returncode == 0, f"{done.stderr}{self.run('get', 'pods', '-o', 'wide')}{self.run('get', 'events')}"

    def rolled(self, what: str) -> None:
        """Wait until a rollout is over; of a Deployment, also until no pod of the namespace is ending any more."""
        self.run("rollout", "status", what, "--timeout=150s", seconds=160)

        def ended() -> bool:
            return not any("deletionTimestamp" in pod["metadata"] for pod in self.get("pods")["items"])

        if what.startswith("deployment/"):
            wait.until(ended, "the pods before have ended", 150, every=0.5)

    def python(self, pod: str, code: str) -> str:
        """Run a line of Python in the pod; what it prints, without the line's end."""
        return self.run("exec", pod, "--", "python3", "-c", code).rstrip("\n")

    @contextlib.contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine's loopback that leads to the target's port, up to the end of the block."""
        process = subprocess.Popen(
            [*self._words, "port-forward", target, f":{port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
            assert found, line
            yield int(found[1])
        finally:
            process.terminate()
            process.wait(10)


def _list(*objects: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}
