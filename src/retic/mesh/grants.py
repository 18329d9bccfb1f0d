"""References into another namespace: allowed only by a ReferenceGrant there (Gateway API, GEP-709)."""

import msgspec

from retic import graph
from retic.mesh import tables
from retic.objects import gateway


class Reference(msgspec.Struct, frozen=True):
    """From a kind in one namespace to an object in another. Groups: "" is core."""

    from_group: str
    from_kind: str
    from_namespace: str
    group: str
    kind: str
    namespace: str
    name: str


@graph.query
def allowed(db: graph.Db, reference: Reference) -> bool:
    """Whether the reference may be followed; within one namespace always."""
    if reference.from_namespace == reference.namespace:
        return True
    for key in db.find(tables.GRANTS_BY_NAMESPACE, reference.namespace):
        grant = db.get(tables.GRANTS, key)
        if grant is not None and _grants(grant, reference):
            return True
    return False


def _grants(grant: gateway.ReferenceGrant, reference: Reference) -> bool:
    sender = any(
        f.group == reference.from_group
        and f.kind == reference.from_kind
        and f.namespace == reference.from_namespace
        for f in grant.spec.from_
    )
    target = any(
        t.group == reference.group and t.kind == reference.kind and t.name in (None, "", reference.name)
        for t in grant.spec.to
    )
    return sender and target
