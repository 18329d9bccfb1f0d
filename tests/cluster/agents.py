"""The nodes' agents of an installation, as a test looks at them and disturbs them; each with its Envoy."""

import datetime
import json
from collections.abc import Callable

import msgspec
from tests.cluster import kubectl

from retic.install import names
from retic.testing import wait

_SELECTOR = ",".join(f"{key}={value}" for key, value in names.selector("node").items())
# hostPID: the processes of this container are those that share its mounts.
_FIND = """
import os, signal, sys
mine = os.readlink("/proc/self/ns/mnt")
def own(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") == mine
    except OSError:
        return False
def words(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().rstrip(chr(0)).split(chr(0))
    except OSError:
        return []
found = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and own(pid)]
agents = [pid for pid in found if words(pid)[1:] == ["-m", "retic.node"]]
# An agent that begins asks the program for its version: that one serves nothing.
envoys = [pid for pid in found if words(pid)[:1] and words(pid)[0].endswith("/envoy") and "--config-path" in words(pid)]
"""
_ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as made:
    made.connect("/run/retic/agent.sock")
    made.sendall(sys.argv[1].encode() + b"\\n")
    print(made.makefile().readline())
"""


class Processes(msgspec.Struct, frozen=True):
    """Ids of the agents and the Envoys in one agent's container."""

    agents: list[int]
    envoys: list[int]


class Agents:
    """`system` is kubectl in the installation's namespace."""

    def __init__(self, system: kubectl.Kubectl) -> None:
        self._system = system

    def of(self, node: str) -> str:
        """The pod of the node's agent. AssertionError unless there is one that is ready and is not ending."""
        found = [
            pod["metadata"]["name"]
            for pod in self._system.get("pods", "-l", _SELECTOR)["items"]
            if pod["spec"].get("nodeName") == node and "deletionTimestamp" not in pod["metadata"] and _ready(pod)
        ]
        assert len(found) == 1, found
        return str(found[0])

    def replaced(self, node: str, before: str, seconds: float = 90) -> str:
        """The pod that has come instead of `before`, once it is in charge."""

        def other() -> str:
            found = self.of(node)
            return "" if found == before else found

        return wait.until(other, f"another agent on {node}", seconds, every=0.5)

    def processes(self, pod: str) -> Processes:
        """What runs in its container."""
        script = _FIND + "import json; print(json.dumps({'agents': agents, 'envoys': envoys}))"
        return msgspec.json.decode(self._python(pod, script), type=Processes)

    def kill(self, pod: str, what: str) -> None:
        """kill -9 of its `agents` or its `envoys`."""
        self._python(pod, f"{_FIND}\nfor pid in {what}: os.kill(pid, signal.SIGKILL)")

    def replace_envoy(self, pod: str) -> None:
        """Have its Envoy replaced; returns when the next one has the pods."""
        answer = json.loads(self._python(pod, _ASK, '{"replace": true}'))
        assert answer == {"ok": True}, answer

    def until(self, pod: str, met: Callable[[Processes], bool], what: str) -> Processes:
        """Wait for processes that are as they should be."""

        def look() -> Processes | None:
            found = self.processes(pod)
            return found if met(found) else None

        found = wait.until(look, what, 60, every=0.5)
        assert found is not None
        return found

    def log(self, pod: str) -> str:
        """What it has logged."""
        return self._system.run("logs", pod)

    def renewals(self, pod: str) -> list[str]:
        """The identities whose certificates it has got, one for each time."""
        lines = [line for line in self.log(pod).splitlines() if '"certificate renewed"' in line]
        return [str(json.loads(line)["identity"]) for line in lines]

    def renews_soon(self, pod: str) -> bool:
        """Whether its own certificate is one of a minute: it may have one of before, which holds for a day."""
        lines = [json.loads(line) for line in self.log(pod).splitlines() if '"certificate renewed"' in line]
        own = [line for line in lines if "/retic/node/" in line["identity"]]
        if not own:
            return False
        made, ends = (datetime.datetime.fromisoformat(own[-1][name]) for name in ("timestamp", "ends"))
        return ends - made < datetime.timedelta(minutes=2)

    def _python(self, pod: str, script: str, *words: str) -> str:
        return self._system.run("exec", pod, "--", "python", "-c", script, *words)


def _ready(pod: dict) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
