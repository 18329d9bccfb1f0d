"""A mesh of any number of services for tests of the budget."""

import msgspec

from retic import findings, graph, wiring
from retic.mesh import network, tables
from retic.objects import core, discovery, meta, pods


def service(i: int) -> core.Service:
    """Service number i, with one port."""
    spec = core.ServiceSpec(cluster_ip=f"10.96.{i // 250}.{i % 250 + 1}", ports=(core.ServicePort(port=80),))
    return core.Service(metadata=meta.Metadata(name=f"s{i}", namespace="shop"), spec=spec)


def pod(i: int, replica: int) -> pods.Pod:
    """A pod of service i."""
    metadata = meta.Metadata(name=f"s{i}-{replica}", namespace="shop", uid=f"uid-{i}-{replica}")
    spec = pods.PodSpec(containers=(), node_name="node-1", service_account_name=f"s{i}")
    return pods.Pod(metadata=metadata, spec=spec, status=pods.PodStatus(pod_ip=address(i, replica)))


def address(i: int, replica: int) -> str:
    """The pod's address."""
    return f"10.244.{(i * 2 + replica) // 250}.{(i * 2 + replica) % 250 + 1}"


def slice_of(i: int, ready: bool) -> discovery.EndpointSlice:
    """The endpoints of service i: the first is ready, the second as told."""
    endpoints = tuple(
        discovery.Endpoint((address(i, r),), discovery.EndpointConditions(ready=r == 0 or ready))
        for r in (0, 1)
    )
    metadata = meta.Metadata(name=f"s{i}-x", namespace="shop", labels={tables.SERVICE_LABEL: f"s{i}"})
    return discovery.EndpointSlice(
        metadata=metadata, address_type="IPv4", endpoints=endpoints,
        ports=(discovery.EndpointPort(name="", port=8080),),
    )


def changes(value: msgspec.Struct) -> list[graph.Change]:
    """The rows of an object."""
    ref = findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)
    return tables.changes(ref, value)


SETTINGS = network.Settings(pod_networks=("10.244.0.0/14",))
LABELLED = msgspec.structs.replace(SETTINGS, enrolment="labelled", mode="PERMISSIVE")


def mesh(services: int, settings: network.Settings = SETTINGS) -> graph.Graph:
    """A mesh with so many services of two pods each, one ready; their namespace is enrolled."""
    made = wiring.mesh(settings)
    labels = {tables.MESH_LABEL: "enabled"}
    rows = changes(core.Namespace(metadata=meta.Metadata(name="shop", labels=labels)))
    for i in range(services):
        for value in (service(i), pod(i, 0), pod(i, 1), slice_of(i, ready=False)):
            rows.extend(changes(value))
    made.commit(rows)
    return made
