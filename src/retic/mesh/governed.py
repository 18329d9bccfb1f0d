"""Which policies concern the mesh at all: a cluster may hold objects of the same kinds for another mesh."""

from retic import findings, graph
from retic.mesh import gateways, tables, workloads

POLICIES = tuple(each.__name__ for each in tables.POLICY_TYPES)
WITH_STATUS = tuple(each.__name__ for each in tables.TYPES_WITH_STATUS)
"""The kinds whose status Retic writes on a cluster."""


@graph.query
def is_concerned(db: graph.Db, ref: findings.Ref) -> bool:
    """Whether a policy's namespace is enrolled, is the mesh's own, or has a Gateway of ours.

    A DestinationRule or VirtualService elsewhere may hold for callers of the mesh all the same.
    """
    return db.ask(holds, ref.namespace)


@graph.query
def holds(db: graph.Db, namespace: str) -> bool:
    """Whether policies for what is in the namespace concern the mesh."""
    if db.ask(workloads.enrolled, namespace):
        return True
    if namespace == db.ask(workloads.settings, tables.ONE).system_namespace:
        return True
    found = (db.get(tables.GATEWAYS, key) for key in sorted(db.find(tables.GATEWAYS_BY_NAMESPACE, namespace)))
    return any(each is not None and db.ask(gateways.ours, each.spec.gateway_class_name) for each in found)
