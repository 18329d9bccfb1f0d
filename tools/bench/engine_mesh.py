"""Meshes of any size as objects in the engine: Services of one port, with two pods each, one of them ready."""


from retic import findings, graph, wiring
from retic.mesh import network, tables
from retic.objects import core, discovery, meta, pods

NAMESPACE = "shop"
_PORT, _TARGET = 80, 8080


def virtual_address(number: int) -> str:
    """The address of Service `number` (below 62,500)."""
    return f"10.96.{number // 250}.{number % 250 + 1}"


def name(number: int) -> str:
    """The name of Service `number`."""
    return f"s{number}"


def mesh(services: int) -> graph.Graph:
    """A mesh with so many Services."""
    made = wiring.mesh(network.Settings(pod_networks=("10.244.0.0/14",)))
    rows: list[graph.Change] = []
    for number in range(services):
        for value in (_service(number), _pod(number, 0), _pod(number, 1), _slice(number, ready=False)):
            rows.extend(_rows(value))
    made.commit(rows)
    return made


def readiness(number: int, *, ready: bool) -> list[graph.Change]:
    """The second pod of Service `number` becomes ready, or is so no longer."""
    return _rows(_slice(number, ready=ready))


def _rows(value: core.Service | pods.Pod | discovery.EndpointSlice) -> list[graph.Change]:
    ref = findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)
    return list(tables.changes(ref, value))


def _service(number: int) -> core.Service:
    spec = core.ServiceSpec(cluster_ip=virtual_address(number), ports=(core.ServicePort(port=_PORT),))
    return core.Service(metadata=meta.Metadata(name=name(number), namespace=NAMESPACE), spec=spec)


def _pod(number: int, replica: int) -> pods.Pod:
    metadata = meta.Metadata(
        name=f"{name(number)}-{replica}", namespace=NAMESPACE, uid=f"uid-{number}-{replica}"
    )
    spec = pods.PodSpec(containers=(), node_name="node-1", service_account_name=name(number))
    return pods.Pod(metadata=metadata, spec=spec, status=pods.PodStatus(pod_ip=_address(number, replica)))


def _address(number: int, replica: int) -> str:
    place = number * 2 + replica
    return f"10.244.{place // 250}.{place % 250 + 1}"


def _slice(number: int, *, ready: bool) -> discovery.EndpointSlice:
    endpoints = tuple(
        discovery.Endpoint((_address(number, r),), discovery.EndpointConditions(ready=r == 0 or ready))
        for r in (0, 1)
    )
    metadata = meta.Metadata(
        name=f"{name(number)}-x", namespace=NAMESPACE, labels={tables.SERVICE_LABEL: name(number)}
    )
    return discovery.EndpointSlice(
        metadata=metadata, address_type="IPv4", endpoints=endpoints,
        ports=(discovery.EndpointPort(name="", port=_TARGET),),
    )  # fmt: skip


