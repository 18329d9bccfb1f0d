"""Pods as workloads: who they are, where they run, which of them a node's proxy serves."""

from retic import graph
from retic.mesh import network, service, tables
from retic.objects import pods


@graph.query
def settings(db: graph.Db, key: tables.One) -> network.Settings:
    """The mesh's settings; the defaults when nobody has set any."""
    return db.get(tables.SETTINGS, key) or network.Settings()


@graph.query
def workload(db: graph.Db, key: tables.Key) -> service.Workload | None:
    """A pod bound to a node: None when there is none, or when it is over. Its address may not be known yet."""
    pod = db.get(tables.PODS, key)
    if pod is None or not pod.metadata.uid or not pod.spec.node_name:
        return None
    if pod.status is not None and pod.status.phase is not None:
        return None
    return service.Workload(
        uid=pod.metadata.uid,
        namespace=key.namespace,
        name=key.name,
        node=pod.spec.node_name,
        address=(pod.status.pod_ip if pod.status else None) or "",
        account=pod.spec.service_account_name or "default",
        role=_role(pod),
    )


def _role(pod: pods.Pod) -> service.Role:
    if pod.metadata.annotations.get(tables.ROLE_ANNOTATION) == "gateway":
        return service.Role.GATEWAY
    return service.Role.STRANGER if pod.spec.host_network else service.Role.WORKLOAD


@graph.query
def at(db: graph.Db, address: str) -> service.Workload | None:
    """The workload that has an address; of several (one is ending) the first by name."""
    for key in sorted(db.find(tables.PODS_BY_ADDRESS, address)):
        found = db.ask(workload, key)
        if found is not None and found.role is not service.Role.STRANGER:
            return found
    return None


@graph.query
def by_uid(db: graph.Db, uid: str) -> service.Workload | None:
    """The workload of that uid."""
    for key in sorted(db.find(tables.PODS_BY_UID, uid)):
        return db.ask(workload, key)
    return None


@graph.query
def on_node(db: graph.Db, node: str) -> tuple[service.Workload, ...]:
    """The enrolled workloads of a node, by name."""
    found = (db.ask(workload, key) for key in sorted(db.find(tables.PODS_BY_NODE, node)))
    return tuple(w for w in found if w is not None and w.role is service.Role.WORKLOAD)


@graph.query
def accounts_on_node(db: graph.Db, node: str) -> frozenset[service.Account]:
    """The accounts whose certificates a node may hold: of pods bound to it, with or without an address."""
    answer = set()
    for key in sorted(db.find(tables.PODS_BY_NODE, node)):
        pod = db.get(tables.PODS, key)
        if pod is not None and _role(pod) is service.Role.WORKLOAD:
            answer.add(service.Account(key.namespace, pod.spec.service_account_name or "default"))
    return frozenset(answer)


@graph.query
def accounts_of_gateway(db: graph.Db, key: tables.Key) -> frozenset[service.Account]:
    """The accounts whose certificates a gateway may hold: those of its own pods."""
    answer = set()
    for pod_key in sorted(db.find(tables.PODS_BY_GATEWAY, key)):
        pod = db.get(tables.PODS, pod_key)
        if pod is not None and _role(pod) is service.Role.GATEWAY:
            answer.add(service.Account(pod_key.namespace, pod.spec.service_account_name or "default"))
    return frozenset(answer)
