"""Ports for servers that begin to listen later: of the machine, for tests that must know a port beforehand."""

import os
import random
import socket

# Below those that Linux gives to whoever asks for any (net.ipv4.ip_local_port_range), so that nothing takes one
# meanwhile; and between those that tests have chosen and those of NodePorts.
_PORTS = range(21_000, 30_000)
_given: set[int] = set()


def free() -> int:
    """A TCP port that nobody has at any IPv4 address now, each time another; no worker of pytest-xdist is given one of
    another's. RuntimeError when there is none left."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = [port for port in _PORTS[worker % workers :: workers] if port not in _given]
    for port in random.SystemRandom().sample(own, len(own)):
        if _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True
