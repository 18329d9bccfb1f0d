"""StatefulSets: pods with ordinals and stable names, made, updated and ended in order.

The order is that of k8s.io/kubernetes/pkg/controller/statefulset/stateful_set_control.go. Claims become
folders that outlive their pod (`retic.local.kubelet`); their retention policy is not read.
"""

import msgspec

from retic.local.workloads import accounts, claims, names, pods, world
from retic.objects import pods as structs
from retic.objects import volume, workloads

REVISION = "controller-revision-hash"
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
replace = msgspec.structs.replace


def stateful_set(bench: world.Bench, owner: workloads.StatefulSet) -> None:
    """One step: make what is missing, then end what is too many, then update one."""
    key = pods.ref(owner)
    update = revision(owner)
    note = bench.notes.get(key)
    if note is None:
        bench.note(key, revision=update, template=owner.spec.template)
        note = bench.notes[key]
    found = {_ordinal(pod): pod for pod in claims.claim(bench, owner, lambda pod: _member(owner, pod))}
    start = (owner.spec.ordinals.start if owner.spec.ordinals else None) or 0
    wanted = range(start, start + (1 if owner.spec.replicas is None else owner.spec.replicas))
    ordered = owner.spec.pod_management_policy != "Parallel"
    if not _fill(bench, owner, found, wanted, update, note, ordered=ordered):
        return
    if not _drain(bench, owner, found, wanted, ordered=ordered):
        return
    _update(bench, owner, found, wanted, update)


def revision(owner: workloads.StatefulSet) -> str:
    """The name of the revision that the manifest asks for; its pods carry it as a label."""
    made_of = (owner.spec.template, owner.spec.service_name, owner.spec.volume_claim_templates)
    return f"{owner.metadata.name}-{names.template_hash(made_of)}"


def _member(owner: workloads.StatefulSet, pod: structs.Pod) -> bool:
    """Whether a pod's name is one that the StatefulSet gives."""
    base, _, number = pod.metadata.name.rpartition("-")
    return base == owner.metadata.name and number.isdecimal()


def _ordinal(pod: structs.Pod) -> int:
    return int(pod.metadata.name.rpartition("-")[2])


def _healthy(bench: world.Bench, owner: workloads.StatefulSet, pod: structs.Pod) -> bool:
    if not pods.active(pod):
        return False
    when = pods.available_at(pod, owner.spec.min_ready_seconds or 0)
    if when is not None and when > bench.now:
        bench.wake_at(when)
    return when is not None and when <= bench.now


def _partition(owner: workloads.StatefulSet) -> int:
    strategy = owner.spec.update_strategy
    rolling = strategy.rolling_update if strategy else None
    return (rolling.partition if rolling else None) or 0


def _fill(
    bench: world.Bench,
    owner: workloads.StatefulSet,
    found: dict[int, structs.Pod],
    wanted: range,
    update: str,
    note: world.Note,
    *,
    ordered: bool,
) -> bool:
    """Make the missing; False: the next pod has to wait for an earlier one."""
    for ordinal in wanted:
        pod = found.get(ordinal)
        if pod is None:
            if not accounts.exists(bench, owner, owner.spec.template.spec):
                return False
            _create(bench, owner, ordinal, update, note)
            if ordered:
                return False
            continue
        if pods.terminal(pod) and not pods.ending(pod):
            bench.end(pod)
        if ordered and not _healthy(bench, owner, pod):
            _unstick(bench, pod, update)
            return False
    return True


def _unstick(bench: world.Bench, pod: structs.Pod, update: str) -> None:
    """End a pod of an old template that never became ready: Kubernetes waits for a person here.

    With files as the source of truth the edit that mends the template must be enough.
    """
    if pods.active(pod) and not pods.ready(pod) and pod.metadata.labels.get(REVISION) != update:
        bench.end(pod)


def _create(bench: world.Bench, owner: workloads.StatefulSet, ordinal: int, update: str, note: world.Note) -> None:
    current = ordinal < _partition(owner) and note.template is not None
    template = note.template if current and note.template is not None else owner.spec.template
    name = f"{owner.metadata.name}-{ordinal}"
    claims = tuple(
        volume.Volume(name=claim.metadata.name, persistent_volume_claim={"claimName": f"{claim.metadata.name}-{name}"})
        for claim in owner.spec.volume_claim_templates
    )
    hidden = {claim.name for claim in claims}
    rest = tuple(value for value in template.spec.volumes if value.name not in hidden)
    spec = replace(
        template.spec,
        hostname=name,
        subdomain=owner.spec.service_name or template.spec.subdomain,
        volumes=(*rest, *claims),
    )
    labels = {
        REVISION: note.revision if current else update,
        POD_NAME: name,
        POD_INDEX: str(ordinal),
    }
    bench.create_pod(owner, replace(template, spec=spec), name, owner.metadata.namespace, labels=labels)


def _drain(
    bench: world.Bench, owner: workloads.StatefulSet, found: dict[int, structs.Pod], wanted: range, *, ordered: bool
) -> bool:
    """End pods past the last ordinal, the highest first; False: one is still on its way out."""
    extra = sorted((ordinal for ordinal in found if ordinal not in wanted), reverse=True)
    for ordinal in extra:
        pod = found[ordinal]
        if not pods.ending(pod):
            bench.end(pod)
        if ordered:
            return False
    return not extra


def _update(
    bench: world.Bench, owner: workloads.StatefulSet, found: dict[int, structs.Pod], wanted: range, update: str
) -> None:
    """End the highest pod of an old template, one at a time; its successor is made by `_fill`."""
    strategy = owner.spec.update_strategy
    if strategy is not None and strategy.type == "OnDelete":
        return
    lowest = max(_partition(owner), wanted.start)
    for ordinal in reversed(wanted):
        if ordinal < lowest:
            break
        pod = found.get(ordinal)
        if pod is None or pods.ending(pod):
            return
        if pod.metadata.labels.get(REVISION) != update:
            bench.end(pod)
            return
        if not _healthy(bench, owner, pod):
            return
    if all(found[ordinal].metadata.labels.get(REVISION) == update for ordinal in wanted if ordinal in found):
        bench.note(pods.ref(owner), revision=update, template=owner.spec.template)
