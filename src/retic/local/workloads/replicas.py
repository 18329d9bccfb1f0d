"""ReplicaSets and Deployments: so many pods of one template, and the way from one template to the next.

The arithmetic of a rollout is Kubernetes' own (k8s.io/kubernetes/pkg/controller/deployment, rolling.go and
util/deployment_util.go): old pods go only as new ones become available. A paused Deployment only scales.
Left out: scaling in proportion during a rollout.
"""

import math

import msgspec

from retic import findings
from retic.local.workloads import accounts, claims, names, pods, times, world
from retic.objects import meta, workloads
from retic.objects import pods as structs

HASH = "pod-template-hash"
replace = msgspec.structs.replace


def share(value: int | str | None, total: int, *, default: int | str, up: bool) -> int:
    """A number, or a percentage of `total` rounded up or down (intstr.GetScaledValueFromIntOrPercent)."""
    chosen = default if value is None else value
    if isinstance(chosen, int):
        return chosen
    part = int(chosen.rstrip("%")) * total / 100
    return math.ceil(part) if up else math.floor(part)


def available(bench: world.Bench, found: list[structs.Pod], wanted: int | None) -> int:
    """How many of the pods have been ready for `wanted` seconds; asks to be woken for the others."""
    count = 0
    for pod in found:
        when = pods.available_at(pod, wanted or 0) if pods.active(pod) else None
        if when is None:
            continue
        if when <= bench.now:
            count += 1
        else:
            bench.wake_at(when)
    return count


def _rank(pod: structs.Pod) -> tuple[bool, bool, bool, int, str]:
    """Which pod goes first when fewer are wanted (controller.ActivePods): the least useful, then the youngest."""
    serial = sum(status.restart_count for status in pod.status.container_statuses)
    age = pod.metadata.creation_timestamp or ""
    newest = "".join(chr(0x7E - (ord(letter) & 0x3F)) for letter in age)
    return (
        pod.spec.node_name is not None,
        pod.status.phase == "Running",
        pods.ready(pod),
        -serial,
        newest + pod.metadata.name,
    )


def replica_set(bench: world.Bench, owner: workloads.ReplicaSet) -> None:
    """Make or end pods until there are `spec.replicas` active ones."""
    wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
    owned = claims.claim(bench, owner)
    found = [pod for pod in owned if pods.active(pod)]
    for pod in owned:
        if pods.terminal(pod) and not pods.ending(pod):
            bench.end(pod)
    for pod in sorted(found, key=_rank)[: max(0, len(found) - wanted)]:
        bench.end(pod)
    if len(found) >= wanted or not accounts.exists(bench, owner, owner.spec.template.spec):
        return
    key = pods.ref(owner)
    for _ in range(wanted - len(found)):
        name = names.generated(f"{owner.metadata.name}-", owner.metadata.namespace, bench.serial(key))
        bench.create_pod(owner, owner.spec.template, name, owner.metadata.namespace)


def deployment(bench: world.Bench, owner: workloads.Deployment) -> None:
    """Move replicas between the Deployment's ReplicaSets by its strategy; the ReplicaSets make the pods."""
    wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
    digest = names.template_hash(owner.spec.template)
    sets: list[workloads.ReplicaSet] = bench.owned("ReplicaSet", owner)
    old = [value for value in sets if value.metadata.labels.get(HASH) != digest]
    new = next((value for value in sets if value.metadata.labels.get(HASH) == digest), None)
    if owner.spec.paused and new is None:
        if old:
            bench.put(_sized(old[-1], wanted))
        return
    recreate = owner.spec.strategy is not None and owner.spec.strategy.type == "Recreate"
    if recreate:
        _recreate(bench, owner, old, new, wanted, digest)
    else:
        _roll(bench, owner, old, new, wanted, digest)
    _forget(bench, owner, digest)


def _sized(value: workloads.ReplicaSet, replicas: int) -> workloads.ReplicaSet:
    return replace(value, spec=replace(value.spec, replicas=max(0, replicas)))


def _made(bench: world.Bench, owner: workloads.Deployment, digest: str, replicas: int) -> workloads.ReplicaSet:
    template = owner.spec.template
    labels = {**template.metadata.labels, HASH: digest}
    key = findings.Ref("ReplicaSet", owner.metadata.namespace, f"{owner.metadata.name}-{digest}")
    selector = replace(owner.spec.selector, match_labels={**owner.spec.selector.match_labels, HASH: digest})
    made = workloads.ReplicaSet(
        metadata=meta.Metadata(
            name=key.name,
            namespace=key.namespace,
            labels=labels,
            uid=names.uid(key, bench.serial(key)),
            owner_references=(world.reference(owner),),
            creation_timestamp=times.stamp(bench.now),
        ),
        spec=workloads.ReplicaSetSpec(
            selector=selector,
            replicas=replicas,
            min_ready_seconds=owner.spec.min_ready_seconds,
            template=replace(template, metadata=replace(template.metadata, labels=labels)),
        ),
    )
    bench.note(key, since=bench.now, count=bench.serial(pods.ref(owner)))
    bench.put(made)
    return made


def fences(owner: workloads.Deployment) -> tuple[int, int]:
    """How many pods more, and how many fewer, than wanted a rolling update may have (ResolveFenceposts)."""
    wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
    rolling = owner.spec.strategy.rolling_update if owner.spec.strategy else None
    surge = share(rolling.max_surge if rolling else None, wanted, default="25%", up=True)
    fewer = share(rolling.max_unavailable if rolling else None, wanted, default="25%", up=False)
    return (surge, fewer) if surge or fewer else (0, 1)


def _recreate(
    bench: world.Bench,
    owner: workloads.Deployment,
    old: list[workloads.ReplicaSet],
    new: workloads.ReplicaSet | None,
    wanted: int,
    digest: str,
) -> None:
    for value in old:
        bench.put(_sized(value, 0))
    if any(not pods.terminal(pod) for value in old for pod in bench.owned("Pod", value)):
        return
    if new is None:
        _made(bench, owner, digest, wanted)
    else:
        bench.put(_sized(new, wanted))


def _size(value: workloads.ReplicaSet) -> int:
    return 1 if value.spec.replicas is None else value.spec.replicas


def _roll(
    bench: world.Bench,
    owner: workloads.Deployment,
    old: list[workloads.ReplicaSet],
    new: workloads.ReplicaSet | None,
    wanted: int,
    digest: str,
) -> None:
    surge, fewer = fences(owner)
    total_old = sum(_size(value) for value in old)
    if new is None:
        new = _made(bench, owner, digest, max(0, min(wanted, wanted + surge - total_old)))
    size = _size(new)
    if size > wanted:
        size = wanted
    elif total_old + size < wanted + surge:
        size += min(wanted + surge - total_old - size, wanted - size)
    new = _sized(new, size)
    bench.put(new)
    if total_old:
        _shrink(bench, old, new, wanted - fewer)


def _shrink(bench: world.Bench, old: list[workloads.ReplicaSet], new: workloads.ReplicaSet, least: int) -> None:
    """Take replicas from old ReplicaSets, unhealthy ones first, so that `least` stay available."""

    def counted(value: workloads.ReplicaSet) -> int:
        return available(bench, bench.owned("Pod", value), value.spec.min_ready_seconds)

    sizes = {value.metadata.name: _size(value) for value in old}
    there = {value.metadata.name: counted(value) for value in old}
    new_there = counted(new)
    spare = sum(sizes.values()) + _size(new) - least - (_size(new) - new_there)
    order = sorted(old, key=lambda value: bench.notes.get(pods.ref(value), world.Note()).count)
    for value in order:  # cleanupUnhealthyReplicas
        name = value.metadata.name
        fewer = max(0, min(spare, sizes[name] - there[name]))
        sizes[name] -= fewer
        spare -= fewer
    spare = min(spare, sum(there.values()) + new_there - least)
    for value in order:  # scaleDownOldReplicaSetsForRollingUpdate
        name = value.metadata.name
        fewer = max(0, min(spare, sizes[name]))
        sizes[name] -= fewer
        spare -= fewer
    for value in old:
        bench.put(_sized(value, sizes[value.metadata.name]))


def _forget(bench: world.Bench, owner: workloads.Deployment, digest: str) -> None:
    """Drop empty old ReplicaSets past the history limit, the oldest first."""
    limit = 10 if owner.spec.revision_history_limit is None else owner.spec.revision_history_limit
    empty = [
        value
        for value in bench.owned("ReplicaSet", owner)
        if value.metadata.labels.get(HASH) != digest and _size(value) == 0 and not bench.owned("Pod", value)
    ]
    empty.sort(key=lambda value: bench.notes.get(pods.ref(value), world.Note()).count)
    for value in empty[: max(0, len(empty) - limit)]:
        bench.drop(pods.ref(value))
        bench.notes.pop(pods.ref(value), None)
