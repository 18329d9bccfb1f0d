"""Load from a pod of the rough mesh, while something happens to it; who runs in it, asked without a command."""

import contextlib
import json
import os
import signal
import sys

from retic.control import client, model
from retic.local import state
from retic.testing import wait

KINDS = {
    "HTTP/1": ["http://web/"],
    "HTTP/1, a connection each": ["http://web/", "--new-connections"],
    "HTTP/2": ["h2c://others/"],
    "TCP": ["tcp://others:7001"],
}
RATE = 50
LONG = 240  # seconds: whoever waits for something ends it by `end`


def ask(mesh, request, seconds=30.0):
    return client.ask(state.folder(mesh.name) / "control.sock", request, seconds=seconds)


def processes(mesh):
    """Pids by (role, name). AssertionError while nobody answers."""
    try:
        return {(p["role"], p["name"]): p["pid"] for p in ask(mesh, model.AskPs())["processes"]}
    except (client.Away, client.Refused, TimeoutError) as error:
        raise AssertionError(repr(error)) from error


def new_pid(mesh, role, name, old):
    """The pid of the process that came instead of `old`."""
    return wait.until(
        lambda: (now := processes(mesh).get((role, name))) not in (None, old) and now, f"{name} is back", 20, every=0.1
    )


def settled(mesh, seconds=20):
    """Wait until every proxy has everything; how many resources were sent to them."""

    def ready():
        try:
            answer = ask(mesh, model.AskConverged(seconds=5))
        except (client.Away, client.Refused, TimeoutError):
            return None
        return answer if answer["ready"] else None

    return wait.until(ready, "every proxy has everything", seconds, every=0.1)["sent"]


def requests(mesh, node="node-1"):
    return sent(ask(mesh, model.AskProxy(proxy=node, section="stats")), "upstream_rq_total")


def sent(stats, what):
    """Of all clusters but the agent, whom Envoy tells of what it refused."""
    own = f"cluster.agent.{what}"
    return sum(v for k, v in stats.items() if k.startswith("cluster.") and k.endswith(what) and k != own)


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)


class Load:
    """All kinds of load at once, from one pod; `results` waits for their ends."""

    def __init__(self, mesh, seconds, pod="caller", kinds=KINDS, rate=RATE, timeout=10, node="node-1"):
        self._mesh = mesh
        before = requests(mesh, node)
        words = ["--rate", str(rate), "--seconds", str(seconds), "--connections", "16", "--timeout", str(timeout)]
        self._started = {
            kind: mesh.start(pod, sys.executable, "-m", "retic.testing.load", *kinds[kind], *words) for kind in kinds
        }
        # The load's warm-up second has passed when so many requests went through.
        wait.until(lambda: requests(mesh, node) > before + 3 * rate, "the load runs", 20, every=0.1)

    def running(self):
        return all(one.poll() is None for one in self._started.values())

    def results(self):
        answers = {}
        for kind, one in self._started.items():
            out, err = one.communicate(timeout=60)
            assert out, err
            answers[kind] = json.loads(out)
        return answers

    def end(self):
        """The results up to now: what was to happen has happened."""
        for one in self._started.values():
            one.terminate()
        return self.results()

    def close(self):
        for one in self._started.values():
            with contextlib.suppress(ProcessLookupError):
                one.kill()
            one.wait()
            one.stdout.close()
            one.stderr.close()
