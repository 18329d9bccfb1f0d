"""A Deployment's status: how far its rollout is, and whether it has come to a stop.

The rules are those of k8s.io/kubernetes/pkg/controller/deployment: sync.go (calculateStatus), progress.go
(syncRolloutStatus) and util/deployment_util.go.
"""

import msgspec

from retic.local.workloads import names, pods, replicas, times, world
from retic.objects import meta, workloads

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
_COMPLETE, _LATE, _PAUSED = "NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused"
_NO_DEADLINE = 2**31 - 1
_DEADLINE = 600  # seconds
replace = msgspec.structs.replace


def status(
    bench: world.Bench, owner: workloads.Deployment, old: workloads.DeploymentStatus
) -> workloads.DeploymentStatus:
    """The status as the controller writes it, when its ReplicaSets have theirs."""
    sets: list[workloads.ReplicaSet] = bench.owned("ReplicaSet", owner)
    digest = names.template_hash(owner.spec.template)
    new = next((value for value in sets if value.metadata.labels.get(replicas.HASH) == digest), None)
    total = sum(1 if value.spec.replicas is None else value.spec.replicas for value in sets)
    available = sum(value.status.available_replicas or 0 for value in sets)
    made = workloads.DeploymentStatus(
        observed_generation=owner.metadata.generation,
        replicas=sum(value.status.replicas or 0 for value in sets) or None,
        updated_replicas=(new.status.replicas if new else None) or None,
        ready_replicas=sum(value.status.ready_replicas or 0 for value in sets) or None,
        available_replicas=available or None,
        unavailable_replicas=max(0, total - available) or None,
    )
    before = {item.type: item for item in old.conditions}
    wanted = (
        changed(before.get(AVAILABLE), _available(owner, available), bench.now),
        _progressing(bench, owner, new, before.get(PROGRESSING), old, made),
        _failure(before.get(FAILURE), new, sets, bench.now),
    )
    return replace(made, conditions=tuple(item for item in wanted if item is not None))


def changed(
    old: meta.Condition | None, new: meta.Condition, now: float, *, updates: bool = True
) -> meta.Condition:
    """The old condition when status and reason are the same, else the new one with its times.

    `updates`: whether this kind's conditions say when they were last written.
    """
    if old is not None and (old.status, old.reason) == (new.status, new.reason):
        return old
    stamp = times.stamp(now)
    since = old.last_transition_time if old is not None and old.status == new.status else stamp
    return replace(new, last_transition_time=since, last_update_time=stamp if updates else None)


def _available(owner: workloads.Deployment, available: int) -> meta.Condition:
    wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
    recreate = owner.spec.strategy is not None and owner.spec.strategy.type == "Recreate"
    fewer = 0 if recreate or not wanted else min(wanted, replicas.fences(owner)[1])
    if available >= wanted - fewer:
        reason, text = "MinimumReplicasAvailable", "Deployment has minimum availability."
        return meta.Condition(type=AVAILABLE, status="True", reason=reason, message=text)
    reason, text = "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    return meta.Condition(type=AVAILABLE, status="False", reason=reason, message=text)


def _progressing(
    bench: world.Bench,
    owner: workloads.Deployment,
    new: workloads.ReplicaSet | None,
    old: meta.Condition | None,
    before: workloads.DeploymentStatus,
    now: workloads.DeploymentStatus,
) -> meta.Condition | None:
    limit = _DEADLINE if owner.spec.progress_deadline_seconds is None else owner.spec.progress_deadline_seconds
    if limit == _NO_DEADLINE:
        return None
    if owner.spec.paused:
        if old is not None and old.reason == _LATE:
            return old
        return changed(old, _condition("Unknown", _PAUSED, "Deployment is paused"), bench.now)
    if old is not None and old.reason == _PAUSED:
        old = changed(old, _condition("Unknown", "DeploymentResumed", "Deployment is resumed"), bench.now)
    if new is None:
        return old
    if pods.ref(new) not in bench.before:
        text = f'Created new replica set "{new.metadata.name}"'
        old = changed(old, _condition("True", "NewReplicaSetCreated", text), bench.now)
        before = replace(before, updated_replicas=None)  # what was new is old now
    elif old is None:
        text = f'Found new replica set "{new.metadata.name}"'
        old = changed(old, _condition("True", "FoundNewReplicaSet", text), bench.now)
    if old is not None and old.reason == _COMPLETE and now.replicas == now.updated_replicas:
        return old
    return _moved(bench, owner, new.metadata.name, old, before, now, limit)


def _moved(
    bench: world.Bench,
    owner: workloads.Deployment,
    name: str,
    old: meta.Condition | None,
    before: workloads.DeploymentStatus,
    now: workloads.DeploymentStatus,
    limit: int,
) -> meta.Condition | None:
    """The condition of a rollout that was not complete: it is now, it has moved, or it has taken too long."""
    wanted = (1 if owner.spec.replicas is None else owner.spec.replicas) or None
    if now.updated_replicas == now.replicas == now.available_replicas == wanted:
        done = _condition("True", _COMPLETE, f'ReplicaSet "{name}" has successfully progressed.')
        return changed(old, done, bench.now)
    if _progressed(before, now):
        moved = _condition("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
        # Each step counts: the deadline begins anew, though neither status nor reason changes.
        stamp = times.stamp(bench.now)
        since = old.last_transition_time if old is not None and old.status == "True" else stamp
        old = replace(moved, last_transition_time=since, last_update_time=stamp)
    if old is None or old.reason in (_COMPLETE, _LATE):
        return old
    end = (times.seconds(old.last_update_time) or 0.0) + limit
    if bench.now < end:
        bench.wake_at(end)
        return old
    return changed(old, _condition("False", _LATE, f'ReplicaSet "{name}" has timed out progressing.'), bench.now)


def _progressed(before: workloads.DeploymentStatus, now: workloads.DeploymentStatus) -> bool:
    def left(value: workloads.DeploymentStatus) -> int:
        return (value.replicas or 0) - (value.updated_replicas or 0)

    more = ("updated_replicas", "ready_replicas", "available_replicas")
    return left(now) < left(before) or any((getattr(now, f) or 0) > (getattr(before, f) or 0) for f in more)


def _failure(
    old: meta.Condition | None, new: workloads.ReplicaSet | None, sets: list[workloads.ReplicaSet], now: float
) -> meta.Condition | None:
    """The failure of the new ReplicaSet, else of an old one (getReplicaFailures)."""
    for value in (*((new,) if new else ()), *sets):
        for item in value.status.conditions:
            if item.type == FAILURE:
                return changed(old, replace(item, last_transition_time=None), now)
    return None


def _condition(status: str, reason: str, message: str) -> meta.Condition:
    return meta.Condition(type=PROGRESSING, status=status, reason=reason, message=message)
