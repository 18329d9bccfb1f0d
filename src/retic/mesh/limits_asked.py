"""Which proxies may ask about a global limit: those that requests pass which it counts.

A question uses up what others have. An agent that somebody has taken over is to reach no more limits by it than its
node's own pods do.
"""

import msgspec

from retic import graph
from retic.mesh import limit, limits, tables, workloads
from retic.objects import limits as objects


class Question(msgspec.Struct, frozen=True, order=True):
    """`proxy` is its id: node/NODE or gateway/NAMESPACE/NAME. `name` is `limit.Limit.name`."""

    proxy: str
    name: str


@graph.query
def asked(db: graph.Db, key: Question) -> limit.Limit | None:
    """The limit; None when there is none of that name any more, or it is none of this proxy's."""
    named = limit.named(key.name)
    where = tables.Key(named.namespace, named.name) if named is not None else None
    said = db.get(tables.LIMITS, where) if where is not None else None
    if where is None or said is None:
        return None
    role, _, name = key.proxy.partition("/")
    passes = {"node": _at_node, "gateway": _at_gateway}.get(role)
    return db.ask(limits.by_name, key.name) if passes and passes(db, name, where, said.spec) else None


def _at_node(db: graph.Db, node: str, where: tables.Key, spec: objects.RateLimitSpec) -> bool:
    """Whether a pod of the node is limited, or may call by a rule that is."""
    for pod in db.ask(workloads.on_node, node):
        key = tables.Key(pod.namespace, pod.name)
        labels = db.ask(workloads.pod_labels, key) if pod.namespace == where.namespace else None
        if labels is not None and limits.pod_ports(db, spec, key, labels) is not None:
            return True
    return any(_follows(db, node, tables.Key(where.namespace, name)) for name in _routes(spec))


def _follows(db: graph.Db, node: str, route: tables.Key) -> bool:
    """A route in the Service's own namespace is for all callers, one elsewhere for those of its namespace."""
    found = db.get(tables.HTTP_ROUTES, route)
    parents = [tables.parent_ref(route.namespace, each) for each in found.spec.parent_refs] if found else []
    called = {each.namespace for each in parents if each.kind == "Service"}
    if route.namespace in called and db.ask(workloads.bound, node):
        return True
    return bool(called) and db.ask(workloads.present, tables.Place(node, route.namespace))


def _at_gateway(db: graph.Db, name: str, where: tables.Key, spec: objects.RateLimitSpec) -> bool:
    """Whether the Gateway is limited, or takes a route that is."""
    namespace, _, own = name.partition("/")
    if namespace == where.namespace and any(
        limits.is_of(each, "Gateway") and each.name == own for each in spec.target_refs
    ):
        return True
    found = (db.get(tables.HTTP_ROUTES, tables.Key(where.namespace, each)) for each in _routes(spec))
    parents = (tables.parent_ref(where.namespace, each) for one in found if one for each in one.spec.parent_refs)
    return any((each.kind, each.namespace, each.name) == ("Gateway", namespace, own) for each in parents)


def _routes(spec: objects.RateLimitSpec) -> list[str]:
    return [each.name for each in spec.target_refs if limits.is_of(each, "HTTPRoute")]
