"""The addresses of a mesh on one machine: the only place where they are written as numbers.

All of them exist inside the mesh's own network namespaces only, so several meshes use the same ones.
"""

import ipaddress

PODS = ipaddress.IPv4Network("10.244.0.0/16")
SERVICES = ipaddress.IPv4Network("10.96.0.0/16")
UNDERLAY = ipaddress.IPv4Network("172.31.255.0/24")
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
DNS = ipaddress.IPv4Address("10.96.0.10")
FABRIC = ipaddress.IPv4Address("172.31.255.1")
CLUSTER_DOMAIN = "cluster.local"
MTU = 1500
MOST_NODES = 200

MESH = (PODS, SERVICES, UNDERLAY)


def node_network(index: int) -> ipaddress.IPv4Network:
    """The pod network of node `index`, counted from 1. Raises ValueError outside 1..MOST_NODES."""
    if not 1 <= index <= MOST_NODES:
        raise ValueError(f"a mesh has 1 to {MOST_NODES} nodes, there is no node {index}")
    return ipaddress.IPv4Network((int(PODS.network_address) + (index << 8), 24))


def node_gateway(index: int) -> ipaddress.IPv4Address:
    """The address of the node's bridge: its pods' default route."""
    return node_network(index)[1]


def node_underlay(index: int) -> ipaddress.IPv4Address:
    """The node's own address, by which the other nodes and the fabric reach it."""
    return UNDERLAY[10 + node_network(index).network_address.packed[2]]


def hardware(address: ipaddress.IPv4Address) -> str:
    """A hardware address made from `address`, so that a reused address meets no stale neighbour entry."""
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x58, *address.packed))


def of_mesh(address: ipaddress.IPv4Address) -> bool:
    """Whether `address` is inside the mesh's own networks."""
    return any(address in network for network in MESH)
