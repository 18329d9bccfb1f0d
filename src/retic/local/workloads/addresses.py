"""Addresses of pods and Services: which are free, and which one comes next.

Pods of node i live in 10.244.i.0/24 from .2 to .254; an address just given up is the last to be given
out again, so that a peer that still speaks to it does not reach another pod. Services live in
10.96.0.0/16 at an address drawn from their name, so that it is mostly the same at the next start too.
Refuses to give what is taken: None means that the network is full.
"""

import hashlib
import ipaddress
from collections.abc import Collection

SERVICES = ipaddress.IPv4Network("10.96.0.0/16")
DNS = "10.96.0.10"
_FIRST, _LAST = 2, 254
# Below 10.96.1.0 stand addresses that manifests choose by hand (DNS is one): Kubernetes too draws from
# the upper band first (KEP-3070).
_BAND = 256


def pod(node: int, taken: Collection[str], last: int) -> str | None:
    """The next free address of node `node` (1-based) after host number `last`, going round; None: full."""
    count = _LAST - _FIRST + 1
    start = last - _FIRST + 1 if last >= _FIRST else 0
    for step in range(count):
        address = f"10.244.{node}.{_FIRST + (start + step) % count}"
        if address not in taken:
            return address
    return None


def service(namespace: str, name: str, taken: Collection[str]) -> str | None:
    """A free address for this Service, drawn from its name; None: the network is full."""
    room = SERVICES.num_addresses - _BAND - 1
    start = int.from_bytes(hashlib.sha256(f"{namespace}/{name}".encode()).digest()[:8], "big") % room
    for step in range(room):
        address = str(SERVICES.network_address + _BAND + (start + step) % room)
        if address not in taken:
            return address
    return None


def usable(address: str) -> bool:
    """Whether a manifest may claim `address` as a Service's: inside the network and not reserved."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    ends = (SERVICES.network_address, SERVICES.broadcast_address)
    return parsed in SERVICES and address != DNS and parsed not in ends
