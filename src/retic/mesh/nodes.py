"""Nodes: from which addresses their kubelets look at pods, and in which zones they are."""

from retic import graph
from retic.mesh import network, tables

ZONE = "topology.kubernetes.io/zone"


@graph.query
def zone(db: graph.Db, node: str) -> str:
    """The zone that a Node's label names, "" for none."""
    found = db.get(tables.NODES, tables.Key("", node))
    return found.metadata.labels.get(ZONE, "") if found is not None else ""


@graph.query
def sources(db: graph.Db, node: str) -> tuple[str, ...]:
    """The IPv4 addresses that connections from the node itself may have, in order.

    The node's own (status.addresses), which it has towards pods that are routed to it one by one (Calico, the
    clouds' networks); the first address of each of its pod networks (spec.podCIDRs), which is its bridge's or
    gateway's where the CNI makes one (bridge, flannel, kindnet); and what the annotation
    `tables.PROBE_SOURCES` adds for others.
    """
    found = db.get(tables.NODES, tables.Key("", node))
    if found is None:
        return ()
    own = [network.ipv4(a.address) for a in found.status.addresses]
    bridges = [network.first_host(cidr) for cidr in (*found.spec.pod_cidrs, found.spec.pod_cidr or "")]
    added = [network.ipv4(text) for text in found.metadata.annotations.get(tables.PROBE_SOURCES, "").split(",")]
    return tuple(sorted({address for address in (*own, *bridges, *added) if address}))
