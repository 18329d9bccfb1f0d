"""Pods as workloads: who they are, where they run, which of them a node's proxy serves.

A pod is *meant* for the mesh by its namespace's label and its own; it is *captured* while its node's proxy takes its
connections, which its status says: others reach it by the mesh's TLS exactly then. Where every pod is enrolled
(`network.Settings.enrolment`), both hold from the start.
"""

from retic import graph
from retic.mesh import network, owners, service, tables
from retic.objects import pods

_NEVER = "kube-system"


@graph.query
def settings(db: graph.Db, key: tables.One) -> network.Settings:
    """The mesh's settings; the defaults when nobody has set any."""
    return db.get(tables.SETTINGS, key) or network.Settings()


@graph.query
def enrolled(db: graph.Db, namespace: str) -> bool:
    """Whether the namespace's pods are meant for the mesh, unless one of them says otherwise."""
    values = db.ask(settings, tables.ONE)
    if values.enrolment == "all":
        return True
    if values.enrolment == "none" or namespace in (_NEVER, values.system_namespace, *values.excluded):
        return False
    found = db.get(tables.NAMESPACES, tables.Key("", namespace))
    return found is not None and found.metadata.labels.get(tables.MESH_LABEL) == "enabled"


@graph.query
def pod_labels(db: graph.Db, key: tables.Key) -> dict[str, str] | None:
    """A pod's labels, which change seldom; None when there is no such pod."""
    pod = db.get(tables.PODS, key)
    return None if pod is None else pod.metadata.labels


@graph.query
def workload(db: graph.Db, key: tables.Key) -> service.Workload | None:
    """A pod bound to a node: None when there is none, or when it is over. Its address may not be known yet."""
    pod = db.get(tables.PODS, key)
    if pod is None or not pod.metadata.uid or not pod.spec.node_name:
        return None
    if pod.status is not None and pod.status.phase is not None:
        return None
    everybody = db.ask(settings, tables.ONE).enrolment == "all"
    return service.Workload(
        uid=pod.metadata.uid,
        namespace=key.namespace,
        name=key.name,
        node=pod.spec.node_name,
        address=(pod.status.pod_ip if pod.status else None) or "",
        account=pod.spec.service_account_name or "default",
        role=_role(db, pod, everybody),
        captured=everybody or bool(pod.status and pod.status.conditions),
        workload=owners.workload(key.name, pod.metadata.generate_name),
    )


def _role(db: graph.Db, pod: pods.Pod, everybody: bool) -> service.Role:
    if _is_gateway(pod):
        return service.Role.GATEWAY
    if pod.spec.host_network:
        return service.Role.STRANGER
    left_out = not everybody and pod.metadata.labels.get(tables.MESH_LABEL) == "disabled"
    if left_out or not db.ask(enrolled, pod.metadata.namespace):
        return service.Role.OUTSIDE
    return service.Role.WORKLOAD


def _is_gateway(pod: pods.Pod) -> bool:
    return pod.metadata.annotations.get(tables.ROLE_ANNOTATION) == "gateway"


@graph.query
def at(db: graph.Db, address: str) -> service.Workload | None:
    """The pod that has an address of its own; of several (one is ending) the first by name."""
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
def bound(db: graph.Db, node: str) -> tuple[service.Workload, ...]:
    """The pods of a node that have a network of their own and are not over, by name."""
    found = (db.ask(workload, key) for key in sorted(db.find(tables.PODS_BY_NODE, node)))
    return tuple(w for w in found if w is not None and w.role is not service.Role.STRANGER)


@graph.query
def on_node(db: graph.Db, node: str) -> tuple[service.Workload, ...]:
    """The pods that a node's proxy has listeners for, by name: those that are meant for the mesh, and those whose
    agent has not yet let go of them."""
    return tuple(w for w in db.ask(bound, node) if w.served)


@graph.query
def present(db: graph.Db, place: tables.Place) -> bool:
    """Whether a node has a pod of the namespace: then it may see what the namespace sees.

    Pods that are left out of the mesh count: one that has just left still has connections that go by its routes.
    """
    found = (db.ask(workload, key) for key in sorted(db.find(tables.PODS_BY_PLACE, place)))
    return any(w is not None and w.role in (service.Role.WORKLOAD, service.Role.OUTSIDE) for w in found)


@graph.query
def accounts_on_node(db: graph.Db, node: str) -> frozenset[service.Account]:
    """The accounts whose certificates a node may hold: of pods bound to it, with or without an address."""
    return frozenset(service.Account(w.namespace, w.account) for w in db.ask(on_node, node))


@graph.query
def gateway_accounts(db: graph.Db, key: tables.One) -> frozenset[service.Account]:
    """The accounts of all Gateways' pods: of those who say truly where a request came from."""
    found = (db.get(tables.PODS, pod) for pod in db.find(tables.PODS_OF_GATEWAYS, key))
    return frozenset(
        service.Account(pod.metadata.namespace, pod.spec.service_account_name or "default")
        for pod in found
        if pod is not None
    )


@graph.query
def accounts_of_gateway(db: graph.Db, key: tables.Key) -> frozenset[service.Account]:
    """The accounts whose certificates a gateway may hold: those of its own pods."""
    answer = set()
    for pod_key in sorted(db.find(tables.PODS_BY_GATEWAY, key)):
        pod = db.get(tables.PODS, pod_key)
        if pod is not None and _is_gateway(pod):
            answer.add(service.Account(pod_key.namespace, pod.spec.service_account_name or "default"))
    return frozenset(answer)
