"""The wire between the host and the nodes: a bridge in a namespace of its own, and one link into each.

The host gets one interface and routes to nodes, pods and services over it; none of its packet rules, sysctls or
other interfaces is touched, and its own rules for bridges see nothing. No way leads out of the cluster.
"""

import ipaddress
import json
import os
import pathlib

from tools.cluster import control_plane, debian, processes, steps

HOST_LINK = "retic-cluster"
NETWORK = ipaddress.ip_network("10.41.0.0/24")
HOST = "10.41.0.1"
HOLDER = "fabric"


def address(node: str) -> str:
    """A node's: node-1 has 10.41.0.11."""
    return str(NETWORK[10 + int(node.rpartition("-")[2])])


def check() -> None:
    """Raises FailedError where the host already uses one of the cluster's networks."""
    ours = [NETWORK, ipaddress.ip_network(control_plane.PODS), ipaddress.ip_network(control_plane.SERVICES)]
    for route in json.loads(_ip("-json", "-4", "route", "show")):
        if route["dst"] != "default" and route.get("dev") != HOST_LINK:
            there = ipaddress.ip_network(route["dst"])
            if clash := next((each for each in ours if each.overlaps(there)), None):
                raise steps.FailedError(f"network: this machine has a route to {there}, and the cluster needs {clash}")


def make(pids: pathlib.Path, logs: pathlib.Path) -> None:
    """The bridge and the host's link to it."""
    record = processes.start(
        pids, HOLDER, ["unshare", "--net", "--", "sleep", "infinity"], logs=logs, environment={"PATH": debian.PATH}
    )
    processes.until(lambda: holds(record.pid), "the network's namespace", seconds=10)
    _inside(record.pid, "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
    _inside(record.pid, "link", "set", "bridge", "up")
    _attach(record.pid, "host", HOST_LINK, os.getpid())
    _ip("addr", "add", f"{HOST}/{NETWORK.prefixlen}", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")


def join(node: str, pids: pathlib.Path) -> None:
    """Link the node's namespace, which its holder has made: eth0 with its address."""
    fabric, holder = processes.pid(pids, HOLDER), processes.pid(pids, node)
    _attach(fabric, node, "eth0", holder)
    _inside(holder, "link", "set", "lo", "up")
    _inside(holder, "addr", "add", f"{address(node)}/{NETWORK.prefixlen}", "dev", "eth0")
    _inside(holder, "link", "set", "eth0", "up")
    # The node's own calls to services need a route before their address is rewritten.
    _inside(holder, "route", "add", control_plane.SERVICES, "dev", "eth0")


def route(networks: dict[str, str], pids: pathlib.Path) -> None:
    """Each node's pod network by way of that node, from the host and from the others; services by the first."""
    for node, pods in networks.items():
        _ip("route", "replace", pods, "via", address(node))
        for other in networks:
            if other != node:
                _inside(processes.pid(pids, other), "route", "replace", pods, "via", address(node))
    _ip("route", "replace", control_plane.SERVICES, "via", address(min(networks)))


def remove() -> None:
    """Take the host's link away, and its routes with it. What is in namespaces ends with their holders."""
    if exists():
        try:
            _ip("link", "delete", HOST_LINK)
        except steps.FailedError:
            if exists():
                raise  # else it has just gone with the namespace of its other end


def exists() -> bool:
    """Whether the host's link is there."""
    return pathlib.Path("/sys/class/net", HOST_LINK).exists()


def holds(pid: int) -> bool:
    """Whether a holder has its namespaces: it has become `sleep`."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    except OSError:
        return False


def _attach(fabric: int, port: str, name: str, into: int) -> None:
    """A link from the bridge, whose end there is `port`, to `name` in the namespace of the process `into`."""
    _inside(fabric, "link", "add", port, "type", "veth", "peer", "name", name, "netns", str(into))
    _inside(fabric, "link", "set", port, "master", "bridge", "up")


def _inside(pid: int, *words: str) -> str:
    return _run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words)


def _ip(*words: str) -> str:
    return _run("ip", *words)


def _run(*words: str) -> str:
    return steps.Steps().command(*words, env={"PATH": debian.PATH})
