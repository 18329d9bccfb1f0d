"""How a pod stands with the mesh on a cluster, in words for a table: what `retic ps` shows beside its status."""

import enum

import msgspec

from retic import graph
from retic.mesh import service, tables, workloads
from retic.objects import pods


class State(enum.StrEnum):
    """`WAITING`: meant for the mesh, and its node's proxy does not take its connections yet; `LEAVING`: the other
    way round. `OUTSIDE`: its namespace is not in the mesh. `OVER`: it has ended. `UNKNOWN`: its namespace's label may
    not be read."""

    CAPTURED = "captured"
    WAITING = "waiting"
    LEAVING = "leaving"
    LEFT_OUT = "left out"
    OUTSIDE = "outside"
    GATEWAY = "gateway"
    OVER = "over"
    UNKNOWN = "unknown"


class Belonging(msgspec.Struct, frozen=True):
    """`why` says more of a pod that is left out or waits, else ""."""

    state: State
    why: str = ""

    def __str__(self) -> str:
        return f"{self.state.value}: {self.why}" if self.why else self.state.value


def of(db: graph.Graph, pod: pods.Pod, *, known: bool = True) -> Belonging:
    """A pod's; of one that no node has yet, what it is meant for. `known`: whether its namespace's label is."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return Belonging(State.OVER)
    if pod.metadata.annotations.get(tables.ROLE_ANNOTATION) == "gateway":
        return Belonging(State.GATEWAY)
    found = db.ask(workloads.workload, tables.Key(pod.metadata.namespace, pod.metadata.name))
    captured = found is not None and found.captured and found.role is not service.Role.STRANGER
    if not known:
        return Belonging(State.CAPTURED if captured else State.UNKNOWN)
    if not db.ask(workloads.enrolled, pod.metadata.namespace):
        return Belonging(State.LEAVING if captured else State.OUTSIDE)
    if pod.spec.host_network:
        return Belonging(State.LEFT_OUT, "it uses the host's network")
    if pod.metadata.labels.get(tables.MESH_LABEL) == "disabled":
        why = f"its label {tables.MESH_LABEL} says so"
        return Belonging(State.LEAVING) if captured else Belonging(State.LEFT_OUT, why)
    if captured:
        return Belonging(State.CAPTURED)
    return Belonging(State.WAITING, "" if pod.spec.node_name else "it has no node yet")
