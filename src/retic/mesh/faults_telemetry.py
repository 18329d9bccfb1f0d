"""Faults of Telemetry and TelemetryProviders that other objects make."""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import observing, observing_rules, peers, scopes, services, tables, workloads
from retic.mesh import service as values

Faults = Iterator[findings.Fault]


def of(db: graph.Db, ref: findings.Ref) -> Faults:
    """Of a Telemetry."""
    key = tables.Key(ref.namespace, ref.name)
    found, meaning = db.get(tables.TELEMETRIES, key), db.ask(observing_rules.of, key)
    if found is None or meaning is None:
        return
    yield from meaning.faults
    yield from _providers(db, ref, found)
    yield from _scope(db, ref, key, found)


def _providers(db: graph.Db, ref: findings.Ref, found: observing_rules.Telemetry) -> Faults:
    for i, entry in enumerate(found.spec.tracing):
        for j, provider in enumerate(entry.providers[:1]):
            if db.ask(observing_rules.collector, provider.name) is None:
                yield findings.Fault(
                    "RT0806", ref, f"spec.tracing[{i}].providers[{j}].name",
                    f"there is no TelemetryProvider {provider.name}: nothing is traced",
                    "create it (retic.dev/v1alpha1) or correct the name",
                )
    around = scopes.around(db, tables.TELEMETRIES_BY_NAMESPACE, ref.namespace)
    known = (db.ask(observing_rules.of, key) for key in around)
    if found.spec.tracing and not any(entry.provider for each in known if each is not None for entry in each.traces):
        yield findings.Fault(
            "RT0813", ref, "spec.tracing", "neither this nor a Telemetry around it names a provider: nothing is traced",
            "name a TelemetryProvider (retic.dev/v1alpha1) in providers",
        )


def _scope(db: graph.Db, ref: findings.Ref, key: tables.Key, found: observing_rules.Telemetry) -> Faults:
    scope = observing.scope_of(key, found)
    around = sorted(db.find(tables.PODS_BY_NAMESPACE, key.namespace))
    labelled: list[tuple[tables.Key, dict[str, str]]] = []
    for pod in around:
        labels = db.ask(workloads.pod_labels, pod)
        labelled.append((pod, labels or {}))
    mine = {pod for pod, labels in labelled if scopes.pod_ports(db, scope, pod, labels) is not None}
    if observing.is_narrow(scope) and not mine:
        gateways = (each for each in db.find(tables.GATEWAYS_BY_NAMESPACE, key.namespace))
        if not any(scopes.takes_gateway(db, scope, each) for each in gateways):
            yield findings.Fault(
                "RT0809", ref, "spec.targetRefs" if scope.targets else "spec.selector",
                f"it is for no pod and no Gateway of {key.namespace}",
                "write labels, or a Service or Gateway, of the pods that are meant",
            )
    for other in observing.ordered(db, key.namespace):
        if other == key:
            return
        value = db.get(tables.TELEMETRIES, other)
        if value is None or observing.is_narrow(observing.scope_of(other, value)) is not observing.is_narrow(scope):
            continue
        its = observing.scope_of(other, value)
        if not observing.is_narrow(scope) or any(
            pod in mine and scopes.pod_ports(db, its, pod, labels) is not None for pod, labels in labelled
        ):
            yield findings.Fault(
                "RT0808", ref, "metadata.name",
                f"Telemetry {other.namespace}/{other.name} is for the same scope and older: it counts there instead",
                "write both into one",
            )
            return


@graph.query
def of_provider(db: graph.Db, name: str) -> tuple[findings.Fault, ...]:
    """Of a TelemetryProvider: whether the agents reach the collector."""
    known, ref = db.ask(observing_rules.collector, name), findings.Ref("TelemetryProvider", "", name)
    if known is not None and known.tls is not None and not known.tls.readable:
        return (
            findings.Fault(
                "RT0814", ref, "spec.opentelemetry.tls.caCertificates",
                "a certificate cannot be read, so no collector is trusted: spans are dropped",
                "write the authority's certificates whole, each from its BEGIN line to its END line",
            ),
        )
    if known is None or known.service is None:
        return ()
    at = known.service
    asked = db.ask(services.resolved, at.service)
    if asked is None:
        return (
            findings.Fault(
                "RT0807", ref, "spec.opentelemetry.service",
                f"there is no Service {at.namespace}/{at.name}: spans are dropped", "create it or correct the name",
            ),
        )
    if all(port.number != at.port for port in asked.ports):
        have = ", ".join(str(port.number) for port in asked.ports) or "none"
        return (
            findings.Fault(
                "RT0807", ref, "spec.opentelemetry.port",
                f"Service {at.namespace}/{at.name} has no port {at.port}: spans are dropped",
                f"use one of its ports: {have}",
            ),
        )
    closed = [each for each in db.ask(services.endpoints, at) if not _open(db, each)]
    if not closed:
        return ()
    return (
        findings.Fault(
            "RT0811", ref, "spec.opentelemetry.service",
            f"the pod at {closed[0].address} takes the mesh's TLS only at its port {closed[0].port}, and agents, which "
            "send spans, are no workload of the mesh: they are dropped",
            f"write a PeerAuthentication for its pods with portLevelMtls: {{{closed[0].port}: {{mode: PERMISSIVE}}}}",
        ),
    )


def _open(db: graph.Db, endpoint: values.Endpoint) -> bool:
    pod = db.ask(workloads.at, endpoint.address)
    if pod is None or not pod.served:
        return True
    return db.ask(peers.taken, tables.Key(pod.namespace, pod.name)).at(endpoint.port).plaintext
