"""Faults of a PeerAuthentication: what it says to nobody, and what another one says instead of it."""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import declared, peers, tables, workloads
from retic.objects import pods, security

Fault = findings.Fault

_FIRST = "it is older, or of the same age and first by name"


def of(db: graph.Db, ref: findings.Ref) -> tuple[Fault, ...]:
    """The faults of the object as it stands among others; none when there is no such object."""
    key = tables.Key(ref.namespace, ref.name)
    found = db.get(tables.PEER_AUTHENTICATIONS, key)
    if found is None:
        return ()
    if security.is_scope_unread(found):
        return ()
    spec = found.spec
    wide = spec.selector is None or not spec.selector.match_labels
    if not wide and ref.namespace == db.ask(workloads.settings, tables.ONE).system_namespace:
        return (_selector_of_mesh(ref),)
    answer = [*_ports(ref, spec, wide)]
    if wide:
        return (*answer, *_older_of_scope(db, ref))
    around = _selected(db, ref.namespace, spec)
    if around is None:
        return tuple(answer)
    if not around:
        answer.append(_nobody(ref))
    return (*answer, *_older_of_pods(db, ref, around), *_undeclared(db, ref, spec, around))


def _selector_of_mesh(ref: findings.Ref) -> Fault:
    return Fault(
        "RT0424", ref, "spec.selector",
        f"{ref.namespace} is the mesh's own namespace, where a PeerAuthentication with a selector is for nobody",
        "remove the selector to mean the whole mesh, or put the policy into the namespace of the pods",
    )


def _ports(ref: findings.Ref, spec: security.PeerAuthenticationSpec, wide: bool) -> Iterator[Fault]:
    if wide and spec.port_level_mtls:
        yield Fault(
            "RT0421", ref, "spec.portLevelMtls",
            "portLevelMtls counts only together with a selector: it does nothing here",
            "write spec.selector.matchLabels with labels of the pods that have these ports",
        )
    follows = "it does nothing" if wide else "the pods take the mesh's TLS only (STRICT) at every port"
    for text in spec.port_level_mtls:
        if peers.port(text) is None:
            yield Fault(
                "RT0422", ref, f"spec.portLevelMtls[{text}]", f"{text!r} is no port's number: {follows}",
                "write the number of the pod's own port (its containerPort), 1 to 65535",
            )


def _older_of_scope(db: graph.Db, ref: findings.Ref) -> Iterator[Fault]:
    """Another one without a selector in the same namespace."""
    oldest = next((rule.origin for rule in db.ask(peers.story, ref.namespace).now if not rule.labels), ref)
    if oldest != ref:
        yield Fault(
            "RT0426", ref, "spec", f"{oldest} is for all pods of {ref.namespace} too and counts instead: {_FIRST}",
            "keep one of them, or add a selector to this one",
        )


def _selected(
    db: graph.Db, namespace: str, spec: security.PeerAuthenticationSpec
) -> list[tables.Key] | None:
    """The pods that the selector takes in; None where the namespace has no pods at all that are known."""
    wanted = spec.selector.match_labels if spec.selector else {}
    there = sorted(db.find(tables.PODS_BY_NAMESPACE, namespace))
    known = ((key, _labels(db, key)) for key in there)
    found = [key for key, labels in known if all(labels.get(k) == v for k, v in wanted.items())]
    return found if there else None


def _labels(db: graph.Db, key: tables.Key) -> dict[str, str]:
    found = db.ask(workloads.pod_labels, key)
    return {} if found is None else found


def _nobody(ref: findings.Ref) -> Fault:
    return Fault(
        "RT0425", ref, "spec.selector.matchLabels", f"no pod of {ref.namespace} has these labels",
        "write labels of the pods that are meant, or remove the selector to mean all of the namespace",
    )


def _older_of_pods(db: graph.Db, ref: findings.Ref, around: list[tables.Key]) -> Iterator[Fault]:
    """Another one with a selector that takes in some of the same pods."""
    older = [rule for rule in db.ask(peers.story, ref.namespace).now if rule.labels]
    older = older[: next((i for i, rule in enumerate(older) if rule.origin == ref), len(older))]
    for rule in older:
        taken = [pod.name for pod in around if rule.selects(_labels(db, pod))]
        if taken:
            more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
            yield Fault(
                "RT0426", ref, "spec.selector",
                f"{rule.origin} selects pod {taken[0]}{more} too and counts there instead: {_FIRST}",
                "let each pod be selected by one PeerAuthentication only",
            )


def _undeclared(
    db: graph.Db, ref: findings.Ref, spec: security.PeerAuthenticationSpec, around: list[tables.Key]
) -> Iterator[Fault]:
    """Ports that no container of the pods has, and no Service leads to, where anything is said of ports at all."""
    numbers = {text: number for text in spec.port_level_mtls if (number := peers.port(text)) is not None}
    known = {port for key in around for port in _known(db, key)} if numbers else set()
    for text, number in numbers.items():
        if known and number not in known:
            have = ", ".join(map(str, sorted(known)))
            yield Fault(
                "RT0423", ref, f"spec.portLevelMtls[{text}]",
                f"no container of the selected pods declares port {number}",
                f"write the pod's own port, not the Service's; the pods have {have}",
            )


def _known(db: graph.Db, key: tables.Key) -> set[int]:
    pod = db.get(tables.PODS, key)
    if pod is None:
        return set()
    services = sorted(db.find(tables.SERVICES_BY_NAMESPACE, key.namespace))
    led = {port for name in services for port in db.ask(declared.behind, declared.Backing(key, name))}
    return led | set(_containers(pod.spec))


def _containers(spec: pods.PodSpec) -> Iterator[int]:
    for container in (*spec.init_containers, *spec.containers):
        for port in container.ports:
            if (port.protocol or "TCP") == "TCP":
                yield port.container_port
