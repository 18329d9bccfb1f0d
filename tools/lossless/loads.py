"""Loads of three protocols at once, from a pod, open loop: each request is due whatever became of those before."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from tools.lossless import shop

from retic.testing import running, wait

RATE = 200  # requests a second of each protocol, unless told otherwise
# Not few at a time: on busy cores an answer takes long, and what waits at the client for its turn would be told as
# late, or lost. A server that ends takes its TCP connections along, in a mesh or not: each request has one of its own.
PROTOCOLS = {
    "HTTP/1": ("http://shop/", "--connections", "64"),
    "HTTP/2": ("h2c://shop:81/", "--connections", "2", "--streams", "64"),
    "TCP": ("tcp://shop:7001", "--connections", "64", "--new-connections"),
}


class Loads:
    """The loads that run."""

    def __init__(self, started: dict[str, "subprocess.Popen[str]"]) -> None:
        self._started = started

    def running(self) -> bool:
        """Whether all still run."""
        return all(one.poll() is None for one in self._started.values())

    def wait(self, seconds: float) -> None:
        """Return when they have run for so long, or have ended."""
        until = time.monotonic() + seconds
        wait.until(lambda: time.monotonic() >= until or not self.running(), "a pause", seconds + 10, every=0.1)

    def results(self) -> dict[str, dict[str, Any]]:
        """Their reports, by protocol, once they have ended. AssertionError with what one printed instead."""
        answer = {}
        for protocol, one in self._started.items():
            out, err = one.communicate(timeout=60)
            assert out, err
            answer[protocol] = json.loads(out)
        return answer


@contextlib.contextmanager
def begun(mesh: running.Mesh, seconds: float, rate: int = RATE) -> Iterator[Loads]:
    """Loads that last so long, once they are being measured; they end with the block at the latest."""
    common = ("--rate", str(rate), "--seconds", str(seconds))
    started = {
        protocol: mesh.start(shop.CLIENT, sys.executable, "-m", "retic.testing.load", *words, *common)
        for protocol, words in PROTOCOLS.items()
    }
    try:
        for one in started.values():
            assert one.stderr is not None
            said = one.stderr.readline()
            assert said == "measuring\n", said + one.stderr.read()
        yield Loads(started)
    finally:
        for one in started.values():
            if one.poll() is None:
                one.send_signal(signal.SIGKILL)
            one.wait()
            for pipe in (one.stdout, one.stderr):
                if pipe is not None:
                    pipe.close()
