"""Loads from a pod of a cluster, of each kind at once, and the servers that answer them, as a normal user has them."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from tests.cluster import kubectl
from tools import image
from tools.cluster import images, whole

from retic.node import processes
from retic.testing import wait

RATE = 200  # requests a second of each kind of HTTP
IMAGE = "retic.dev/retic-testing:1"
# The first process of the client's pod: it reaps what ends, and ends when it is told to.
_IDLE = (
    "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit()); [signal.pause() for _ in iter(int, 1)]"
)
_HTTP, _H2, _TCP = 8080, 8081, 7001
Reports: TypeAlias = dict[str, dict[str, Any]]


def bring() -> None:
    """See that the nodes have the image; elsewhere they must have it already."""
    if not whole.given():
        images.load(image.build(named=IMAGE, testing=True))


def servers(name: str, *, replicas: int = 2) -> list[dict[str, Any]]:
    """A Deployment spread over the nodes, and its Service: HTTP/1 at 80, HTTP/2 at 81, TCP at 7001.

    As an application should be that wants no request lost when it rolls: a readiness probe, a while between the news
    that a pod ends and its end, and processor time asked for. What asks for none gets next to none while something that
    did, such as a control plane that begins, takes all that there is.
    """
    containers = [
        _server("http", "fast_http1", _HTTP, {"httpGet": {"path": "/", "port": _HTTP}}),
        _server("h2", "echo_h2", _H2, {"tcpSocket": {"port": _H2}}),
        _server("tcp", "fast_tcp", _TCP, {"tcpSocket": {"port": _TCP}}),
    ]
    labels = {"app": name}
    spread = {
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels}, "matchLabelKeys": ["pod-template-hash"],
    }  # fmt: skip
    ports = [
        {"name": "http", "port": 80, "targetPort": _HTTP},
        {"name": "h2", "port": 81, "targetPort": _H2, "appProtocol": "kubernetes.io/h2c"},
        {"name": "tcp", "port": _TCP},
    ]
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "topologySpreadConstraints": [spread], "containers": containers, "terminationGracePeriodSeconds": 20,
            "automountServiceAccountToken": False,
        },
    }  # fmt: skip
    meta = {"name": name}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}},
    ]


def _server(name: str, app: str, port: int, probe: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", f"retic.testing.apps.{app}", "--port", str(port)],
        "ports": [{"containerPort": port}],
        "readinessProbe": {**probe, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {"requests": {"cpu": "50m"}},
    }  # fmt: skip


def client(node: str) -> dict[str, Any]:
    """The pod that loads come from."""
    container = {
        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python", "-c", _IDLE],
        "resources": {"requests": {"cpu": "200m"}},
    }  # fmt: skip
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 1, "containers": [container],
        "automountServiceAccountToken": False,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}


def kinds(server: str, held: str) -> dict[str, Sequence[str]]:
    """The arguments of each load; `held` is the host of the TCP connections that are to last.

    Room for many at a time: what waits at the client for its turn would be told as late, or lost.
    """
    http = ("--rate", str(RATE), "--connections")
    return {
        "http1": (f"http://{server}/", *http, "64"),
        "new": (f"http://{server}/", "--new-connections", *http, "64"),
        "http2": (f"h2c://{server}:81/", *http, "2", "--streams", "64"),
        "tcp": (f"tcp://{held}:{_TCP}", "--rate", "10", "--connections", "2"),
    }


@contextlib.contextmanager
def within(uid: str, asked: dict[str, Sequence[str]], *, seconds: float = 300) -> Iterator[Callable[[], Reports]]:
    """Loads from that pod's network as processes of this machine, which its pods share: no API server is asked.

    What is yielded ends them, and gives their reports; for less than `seconds` to go on, call it sooner.
    """
    found = processes.oldest([uid])[uid].descriptor
    words = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{found}", sys.executable, "-m", "retic.testing.load"]
    started: dict[str, subprocess.Popen[str]] = {}

    def ended() -> Reports:
        for one in started.values():
            one.terminate()
        return {name: json.loads(one.communicate(timeout=30)[0]) for name, one in started.items()}

    try:
        for name, more in asked.items():
            started[name] = subprocess.Popen(
                [*words, *more, f"--seconds={seconds}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        for one in started.values():
            assert one.stderr is not None
            assert one.stderr.readline() == "measuring\n"
        yield ended
    finally:
        os.close(found)
        for one in started.values():
            one.kill()
            one.communicate()


def measured(uid: str, asked: dict[str, Sequence[str]], seconds: float) -> Reports:
    """The reports of such loads that have run for so long."""
    with within(uid, asked) as ended:
        end = time.monotonic() + seconds
        wait.until(lambda: time.monotonic() >= end, "the end of the loads", seconds + 5, every=0.1)
        return ended()


class Loads:
    """Loads that run in the pod `client` of `kube`'s namespace until they are told to end."""

    def __init__(self, kube: kubectl.Kubectl, asked: dict[str, Sequence[str]]) -> None:
        self._kube = kube
        self._asked = asked

    def start(self) -> None:
        """Return when each has sent for a second."""
        lines = ["rm -f /tmp/*.json /tmp/*.pid /tmp/*.err"]
        for name, words in self._asked.items():
            shown = " ".join(words)
            lines.append(
                f"python -m retic.testing.load --seconds 900 --timeout 10 {shown} "
                f">/tmp/{name}.json 2>/tmp/{name}.err & echo $! >/tmp/{name}.pid"
            )
        self._shell("\n".join(lines))
        begun = f"test $(cat /tmp/*.err | grep -c measuring) = {len(self._asked)} && echo yes"
        wait.until(lambda: self._kube.attempt("exec", "client", "--", "sh", "-c", begun).stdout, "loads", 60, every=0.5)

    def _shell(self, script: str) -> str:
        return self._kube.run("exec", "client", "--", "sh", "-c", script)

    def results(self, seconds: float = 30) -> Reports:
        """End them; their reports. AssertionError for a load that says nothing."""
        self.end()

        def said() -> Reports:
            show = "cd /tmp; for f in *.json; do printf '%s ' ${f%.json}; tr -d '\\n' <$f; echo; done"
            pairs = (line.partition(" ") for line in self._shell(show).splitlines())
            found = {name: json.loads(text) for name, _, text in pairs if text}
            assert found.keys() == self._asked.keys(), found.keys()
            return found

        return wait.until(said, "every load has reported", seconds, every=0.5)

    def end(self) -> None:
        """Have them end."""
        self._shell("kill -TERM $(cat /tmp/*.pid)")


@contextlib.contextmanager
def running(kube: kubectl.Kubectl, asked: dict[str, Sequence[str]], *, least: float = 20) -> Iterator[Loads]:
    """Loads during the block and 2 s beyond it for what comes late, in all for `least` seconds; no request may fail."""
    made = Loads(kube, asked)
    made.start()
    begun = time.monotonic()
    try:
        yield made
        end = max(begun + least, time.monotonic() + 2)
        wait.until(lambda: time.monotonic() >= end, "the end of the loads", least + 5, every=0.1)
    except BaseException:
        made.end()
        raise
    lossless(made.results())


def lossless(results: Reports) -> None:
    """AssertionError with what failed, and when. Each load must have run at its rate."""
    for name, one in results.items():
        print(
            f"{name}: {one['answered']} answered in {one['seconds']:.1f} s, {one['failed']} failed, "
            f"p99 {one['percentiles_ms']['p99']:.0f} ms, slowest {one['max_ms']:.0f} ms"
        )
    lost = {name: (one["failures"], one.get("first_failures")) for name, one in results.items() if one["failed"]}
    assert not lost, lost
    assert all(one["answered"] > 0.8 * one["wanted_rate"] * one["seconds"] for one in results.values()), results
