"""Labels and annotations of retic.dev that do not say what their author expects: one fault each, at its place.

Where every pod is enrolled (local mode), enrolment labels are looked at no further: manifests for a cluster keep them.
"""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import network, tables, workloads

Faults = Iterator[findings.Fault]

_KNOWN = ("enabled", "disabled")
_LABEL = f"metadata.labels[{tables.MESH_LABEL}]"


def _fault(ref: findings.Ref, message: str, fix: str) -> findings.Fault:
    return findings.Fault("RT0112", ref, _LABEL, message, fix)


def namespace(db: graph.Db, ref: findings.Ref) -> Faults:
    """A value that is neither of the two, and namespaces that are never enrolled."""
    settings = db.ask(workloads.settings, tables.ONE)
    found = db.get(tables.NAMESPACES, tables.Key("", ref.name))
    said = found.metadata.labels.get(tables.MESH_LABEL) if found else None
    if said is None or settings.enrolment == "all":
        return
    if said not in _KNOWN:
        yield _fault(
            ref, f"{tables.MESH_LABEL}: {said} enrols nobody",
            f"write {tables.MESH_LABEL}: enabled, or remove the label",
        )
    elif said == "enabled" and not db.ask(workloads.enrolled, ref.name):
        yield _fault(
            ref, f"pods of {ref.name} are never enrolled: the mesh itself, or the cluster, depends on them",
            "remove the label",
        )


def pod(db: graph.Db, ref: findings.Ref) -> Faults:
    """A value that is neither of the two, and a pod that wants to be enrolled where its namespace is not."""
    settings = db.ask(workloads.settings, tables.ONE)
    found = db.get(tables.PODS, tables.Key(ref.namespace, ref.name))
    said = found.metadata.labels.get(tables.MESH_LABEL) if found else None
    if said is None or settings.enrolment == "all":
        return
    if said not in _KNOWN:
        yield _fault(
            ref, f"{tables.MESH_LABEL}: {said} leaves nobody out",
            f"write {tables.MESH_LABEL}: disabled to leave the pod out of the mesh, or remove the label",
        )
    elif said == "enabled" and not db.ask(workloads.enrolled, ref.namespace):
        yield _fault(
            ref, f"the pod is not enrolled: its label counts only where namespace {ref.namespace} is",
            f"write {tables.MESH_LABEL}: enabled in the namespace's labels",
        )


def node(db: graph.Db, ref: findings.Ref) -> Faults:
    """Addresses that are none."""
    found = db.get(tables.NODES, tables.Key("", ref.name))
    said = found.metadata.annotations.get(tables.PROBE_SOURCES, "") if found else ""
    for text in said.split(",") if said else ():
        if network.ipv4(text) is None:
            yield findings.Fault(
                "RT0112", ref, f"metadata.annotations[{tables.PROBE_SOURCES}]", f"{text.strip()!r} is no IPv4 address",
                "write the addresses from which the node's kubelet reaches its pods, with commas between them",
            )
