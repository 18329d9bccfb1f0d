"""The mesh's links, addresses and routes, set by netlink from the spawner.

    fabric (pid 1's namespace)  bridge `fabric` 172.31.255.1 ── veth ── node i: eth0 172.31.255.(10+i)
    node i                      bridge `cni0` 10.244.i.1, DNS on lo ── veth ── pod: eth0 10.244.i.x

Refuses to run in a process with threads: it moves the whole process between network namespaces. Sets no
packet filter rule: those belong to the agents and to egress.
"""

import contextlib
import ipaddress
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyroute2

from retic.local.sandbox import addresses, kernel

_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    # ::1 stays for applications that want it; links are IPv4 only.
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv6.conf.lo.disable_ipv6": "0",
    # Or a second refusal within a second would not be told, and its caller would wait.
    "net.ipv4.icmp_ratemask": "0",
    "net.ipv4.ping_group_range": "0 0",
    "net.bridge.bridge-nf-call-iptables": "0",
}
# A pod may listen on ports below 1024 whatever its user is, as in Kubernetes; it forwards for nobody.
_POD_SYSCTLS = {**_SYSCTLS, "net.ipv4.ip_forward": "0", "net.ipv4.ip_unprivileged_port_start": "0"}


class _Node(msgspec.Struct, frozen=True):
    index: int
    netns: str
    ipr: Any
    bridge: int


class _Link(msgspec.Struct, frozen=True):
    node: str
    name: str


class Topology:
    """All links of one mesh. Raises OSError (netlink errors too) with what was attempted."""

    def __init__(self, folder: str, nodes: Sequence[str]) -> None:
        self._netns = pathlib.Path(folder, "netns")
        self._names = tuple(nodes)
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[str, _Link] = {}
        self._fabric: Any = None

    def start(self) -> None:
        """Make the fabric and every node."""
        self._netns.mkdir(mode=0o700, exist_ok=True)
        # A mount of its own, so that a pod can drop all of it from its view in one call.
        kernel.mount(str(self._netns), str(self._netns), None, kernel.Mount.BIND)
        _set(_SYSCTLS)
        self._fabric = pyroute2.IPRoute()
        bridge = _bridge(self._fabric, "fabric", ipaddress.IPv4Interface(f"{addresses.FABRIC}/24"))
        _up(self._fabric, "lo")
        # Only so that packets to the outside have a way to the rules that redirect or refuse them.
        self._fabric.route("add", dst="0.0.0.0/0", oif=bridge)
        for index, name in enumerate(self._names, start=1):
            self._nodes[name] = self._add_node(index, name, bridge)

    def path(self, name: str) -> str:
        """Where the network namespace of a node or pod uid is bound."""
        return str(self._netns / name)

    def add_pod(self, uid: str, node: str, ip: str) -> str:
        """Make the pod's namespace, connect it to `node`, and return the namespace's path."""
        address = ipaddress.IPv4Address(ip)
        home = self._nodes[node]
        if address not in addresses.node_network(home.index):
            raise ValueError(f"{ip} is not in the network of {node}, {addresses.node_network(home.index)}")
        name = f"pod{address.packed[3]}"
        with self._new_namespace(uid, _POD_SYSCTLS) as netns:
            try:
                home.ipr.link(
                    "add",
                    ifname=name,
                    kind="veth",
                    mtu=addresses.MTU,
                    master=home.bridge,
                    state="up",
                    peer={
                        "ifname": "eth0",
                        "address": addresses.hardware(address),
                        "mtu": addresses.MTU,
                        "net_ns_fd": netns,
                    },
                )
                self._pods[uid] = _Link(node, name)
                with self._inside(netns):
                    _configure_pod(ipaddress.IPv4Interface(f"{ip}/24"), addresses.node_gateway(home.index))
            except Exception:
                self.remove_pod(uid)
                raise
        return self.path(uid)

    def remove_pod(self, uid: str) -> None:
        """Take the pod's link and namespace away; nothing happens when there is none."""
        link = self._pods.pop(uid, None)
        if link is not None:
            ipr = self._nodes[link.node].ipr
            for index in ipr.link_lookup(ifname=link.name):
                ipr.link("del", index=index)
        path = self._netns / uid
        if path.exists():
            with contextlib.suppress(OSError):
                kernel.detach(str(path))
            path.unlink()

    def _add_node(self, index: int, name: str, fabric: int) -> _Node:
        with self._new_namespace(name, _SYSCTLS) as netns:
            self._fabric.link(
                "add",
                ifname=f"node{index}",
                kind="veth",
                mtu=addresses.MTU,
                master=fabric,
                state="up",
                peer={
                    "ifname": "eth0",
                    "address": addresses.hardware(addresses.node_underlay(index)),
                    "mtu": addresses.MTU,
                    "net_ns_fd": netns,
                },
            )
            self._fabric.route(
                "add", dst=str(addresses.node_network(index)), gateway=str(addresses.node_underlay(index))
            )
            with self._inside(netns):
                return self._configure_node(index, name)

    def _configure_node(self, index: int, name: str) -> _Node:
        ipr = pyroute2.IPRoute()
        lo = _up(ipr, "lo")
        ipr.addr("add", index=lo, address=str(addresses.DNS), prefixlen=32)
        eth0 = _up(ipr, "eth0")
        ipr.addr("add", index=eth0, address=str(addresses.node_underlay(index)), prefixlen=24)
        ipr.route("add", dst="0.0.0.0/0", gateway=str(addresses.FABRIC))
        gateway = ipaddress.IPv4Interface(f"{addresses.node_gateway(index)}/24")
        bridge = _bridge(ipr, "cni0", gateway)
        for other in range(1, len(self._names) + 1):
            if other != index:
                network, via = addresses.node_network(other), addresses.node_underlay(other)
                ipr.route("add", dst=str(network), gateway=str(via))
        return _Node(index, self.path(name), ipr, bridge)

    @contextlib.contextmanager
    def _new_namespace(self, name: str, sysctls: dict[str, str]) -> Iterator[int]:
        """A new network namespace, bound at its path; its descriptor for as long as the block lasts."""
        path = self._netns / name
        path.touch(mode=0o600, exist_ok=False)
        kernel.unshare(kernel.New.NET)
        netns = -1
        try:
            netns = os.open("/proc/self/ns/net", os.O_RDONLY)
            kernel.mount("/proc/self/ns/net", str(path), None, kernel.Mount.BIND)
            _set(sysctls)  # before there is a link that would take the defaults
            kernel.setns(self._own, kernel.New.NET)
            yield netns
        finally:
            kernel.setns(self._own, kernel.New.NET)
            if netns >= 0:
                os.close(netns)

    @contextlib.contextmanager
    def _inside(self, netns: int) -> Iterator[None]:
        kernel.setns(netns, kernel.New.NET)
        try:
            yield
        finally:
            kernel.setns(self._own, kernel.New.NET)


def _configure_pod(address: ipaddress.IPv4Interface, gateway: ipaddress.IPv4Address) -> None:
    with pyroute2.IPRoute() as ipr:
        _up(ipr, "lo")
        eth0 = _up(ipr, "eth0")
        ipr.addr("add", index=eth0, address=str(address.ip), prefixlen=address.network.prefixlen)
        ipr.route("add", dst="0.0.0.0/0", gateway=str(gateway))


def _bridge(ipr: Any, name: str, address: ipaddress.IPv4Interface) -> int:
    """A bridge that keeps one hardware address, whatever is attached to it."""
    ipr.link("add", ifname=name, kind="bridge", address=addresses.hardware(address.ip), mtu=addresses.MTU)
    index = _up(ipr, name)
    ipr.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    return index


def _up(ipr: Any, name: str) -> int:
    index = int(ipr.link_lookup(ifname=name)[0])
    ipr.link("set", index=index, state="up")
    return index


def _set(sysctls: dict[str, str]) -> None:
    """Set what exists: a kernel without IPv6 or bridge filtering lacks some of them."""
    for name, value in sysctls.items():
        path = pathlib.Path("/proc/sys", *name.split("."))
        if path.exists():
            path.write_text(value)
