"""EndpointSlices as Kubernetes' own controller writes them, for Services with a selector.

The rules are those of k8s.io/endpointslice (reconciler.go, utils.go): one endpoint per pod that has an
address and has not finished; pods whose named target ports differ stand in slices of their own; at most 100
endpoints a slice, and an endpoint stays in the slice it is in. Slices of Services without selector are the
manifests' own. No port is guessed: a named port that a pod lacks is left out of its slice.
"""

import msgspec

from retic import findings
from retic.local.workloads import names, placing, pods, services, world
from retic.objects import core, discovery, meta
from retic.objects import pods as structs

MOST = 100
SERVICE = "kubernetes.io/service-name"
MANAGED = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
_Ports = tuple[discovery.EndpointPort, ...]
replace = msgspec.structs.replace


def slices(bench: world.Bench) -> None:
    """Write the slices of every Service with a selector and drop those that are not wanted any more."""
    by_space: dict[str, list[structs.Pod]] = {}
    for key, pod in bench.made.items():
        if key.kind == "Pod" and pod.status.pod_ip and not pods.terminal(pod):
            by_space.setdefault(key.namespace, []).append(pod)
    for value in by_space.values():
        value.sort(key=lambda pod: pod.metadata.name)
    before: dict[findings.Ref, list[discovery.EndpointSlice]] = {}
    for key, value in bench.made.items():
        if key.kind == "EndpointSlice":
            owner = findings.Ref("Service", key.namespace, value.metadata.labels[SERVICE])
            before.setdefault(owner, []).append(value)
    wanted: set[findings.Ref] = set()
    for service in bench.every("Service"):
        if service.spec.selector and service.spec.type != "ExternalName":
            there = by_space.get(service.metadata.namespace, [])
            wanted |= _write(bench, service, there, before.get(pods.ref(service), []))
    bench.keep_only("EndpointSlice", wanted)


def _write(
    bench: world.Bench, service: core.Service, there: list[structs.Pod], before: list[discovery.EndpointSlice]
) -> set[findings.Ref]:
    groups: dict[_Ports, list[discovery.Endpoint]] = {}
    selector = service.spec.selector.items()
    for pod in there:
        if selector <= pod.metadata.labels.items():
            groups.setdefault(_ports(service, pod), []).append(_endpoint(bench, service, pod))
    if not groups:
        groups[()] = []  # a placeholder, as the real controller keeps one
    written: set[findings.Ref] = set()
    for ports, endpoints in groups.items():
        old = sorted((item for item in before if item.ports == ports), key=lambda item: item.metadata.name)
        for number, part in enumerate(_parts(endpoints, old)):
            made = _slice(service, ports, number, part)
            bench.put(made)
            written.add(pods.ref(made))
    return written


def _parts(
    endpoints: list[discovery.Endpoint], old: list[discovery.EndpointSlice]
) -> list[tuple[discovery.Endpoint, ...]]:
    """The endpoints in parts of at most `MOST`; who had a part keeps it, so that few slices change."""
    where = {_uid(item): number for number, part in enumerate(old) for item in part.endpoints}
    parts: list[list[discovery.Endpoint]] = [[] for _ in range(max(1, len(old), -(-len(endpoints) // MOST)))]
    new: list[discovery.Endpoint] = []
    for endpoint in endpoints:
        number = where.get(_uid(endpoint))
        (new if number is None else parts[number]).append(endpoint)
    for endpoint in new:
        next(part for part in parts if len(part) < MOST).append(endpoint)
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return [tuple(sorted(part, key=lambda item: item.addresses)) for part in parts]


def _uid(endpoint: discovery.Endpoint) -> str | None:
    return endpoint.target_ref.uid if endpoint.target_ref else None


def _ports(service: core.Service, pod: structs.Pod) -> _Ports:
    ports = []
    for port in service.spec.ports:
        number = target(port, pod.spec)
        if number is not None:
            ports.append(
                discovery.EndpointPort(
                    name=port.name or "",
                    port=number,
                    protocol=port.protocol or "TCP",
                    app_protocol=port.app_protocol,
                )
            )
    return tuple(ports)


def target(port: core.ServicePort, spec: structs.PodSpec) -> int | None:
    """The number a Service's port has in a pod; None: the pod has no container port of that name."""
    if not isinstance(port.target_port, str):
        return port.target_port or port.port
    sidecars = (item for item in spec.init_containers if item.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        for found in container.ports:
            if found.name == port.target_port and (found.protocol or "TCP") == (port.protocol or "TCP"):
                return found.container_port
    return None


def _endpoint(bench: world.Bench, service: core.Service, pod: structs.Pod) -> discovery.Endpoint:
    unknown = (found := pods.condition(pod, "Ready")) is not None and found.status == "Unknown"
    serving, going = pods.ready(pod), pods.ending(pod)
    ready = bool(service.spec.publish_not_ready_addresses) or (serving and not going)
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    node = pod.spec.node_name or ""
    return discovery.Endpoint(
        addresses=(pod.status.pod_ip or "",),
        conditions=discovery.EndpointConditions(
            ready=None if unknown else ready,
            serving=None if unknown else serving,
            terminating=going,
        ),
        hostname=pod.spec.hostname if named else None,
        node_name=node or None,
        zone=placing.labels(bench, node).get(ZONE),
        target_ref=discovery.TargetRef(
            kind="Pod",
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
        ),
    )


def _slice(
    service: core.Service, ports: _Ports, number: int, endpoints: tuple[discovery.Endpoint, ...]
) -> discovery.EndpointSlice:
    space, name = service.metadata.namespace, service.metadata.name
    labels = {**service.metadata.labels, SERVICE: name, MANAGED: MANAGER}
    if service.spec.cluster_ip == services.HEADLESS:
        labels["service.kubernetes.io/headless"] = ""
    key = findings.Ref("EndpointSlice", space, names.generated(f"{name}-", space, names.template_hash(ports), number))
    return discovery.EndpointSlice(
        metadata=meta.Metadata(
            name=key.name,
            namespace=space,
            labels=labels,
            uid=names.uid(key),
            owner_references=(world.reference(service),),
        ),
        address_type="IPv4",
        endpoints=endpoints,
        ports=ports,
    )
