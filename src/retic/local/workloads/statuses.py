"""What controllers write of their objects: status and generation of all kinds that make pods.

Counts, conditions, reasons and messages are those of Kubernetes' own controllers (calculateStatus,
syncRolloutStatus, updateStatefulSet, updateDaemonSetStatus). A count of 0 is left out where their API leaves it
out. A condition that stays keeps the time of its last change.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from retic import findings
from retic.local.workloads import batch, names, placing, pods, replicas, rollouts, stateful, world
from retic.objects import meta, workloads
from retic.objects import pods as structs

replace = msgspec.structs.replace


def statuses(bench: world.Bench) -> None:
    """Write the status of every object, those first that others are counted from."""
    for kind, status in _KINDS:
        for value in bench.every(kind):
            old = bench.before.get(pods.ref(value))
            if old is not None and old.metadata.uid != value.metadata.uid:
                old = None
            metadata = replace(value.metadata, generation=_generation(value, old))
            value = replace(value, metadata=metadata)
            before = type(value.status)() if old is None else old.status
            bench.report(replace(value, status=status(bench, value, before)))


def forget(bench: world.Bench) -> None:
    """Take the statuses of made objects away: nothing is known of them."""
    for kind, _ in _KINDS:
        for value in bench.owned_kind(kind):
            bench.put(replace(value, status=type(value.status)()))


def _generation(value: Any, old: Any | None) -> int:
    """How many specs the object has had."""
    if old is None:
        return 1
    before = old.metadata.generation or 1
    return before if old.spec == value.spec else before + 1


def _replica_set(
    bench: world.Bench, owner: workloads.ReplicaSet, old: workloads.ReplicaSetStatus
) -> workloads.ReplicaSetStatus:
    found = [pod for pod in bench.owned("Pod", owner) if pods.active(pod)]
    labels = owner.spec.template.metadata.labels.items()
    failure = _failure(bench, owner, len(found))
    before = next((item for item in old.conditions if item.type == "ReplicaFailure"), None)
    return workloads.ReplicaSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(found),
        fully_labeled_replicas=sum(labels <= pod.metadata.labels.items() for pod in found) or None,
        ready_replicas=sum(map(pods.ready, found)) or None,
        available_replicas=replicas.available(bench, found, owner.spec.min_ready_seconds) or None,
        conditions=() if failure is None else (rollouts.changed(before, failure, bench.now, updates=False),),
    )


def _failure(bench: world.Bench, owner: workloads.ReplicaSet, there: int) -> meta.Condition | None:
    """The condition of a ReplicaSet whose pods are refused, for want of their service account."""
    account = owner.spec.template.spec.service_account_name or "default"
    space, name = owner.metadata.namespace, owner.metadata.name
    wanted = 1 if owner.spec.replicas is None else owner.spec.replicas
    if there >= wanted or bench.get(findings.Ref("ServiceAccount", space, account)) is not None:
        return None
    text = (
        f'pods "{name}-" is forbidden: error looking up service account {space}/{account}: '
        f'serviceaccount "{account}" not found'
    )
    return meta.Condition(type="ReplicaFailure", status="True", reason="FailedCreate", message=text)


def _stateful_set(
    bench: world.Bench, owner: workloads.StatefulSet, old: workloads.StatefulSetStatus
) -> workloads.StatefulSetStatus:
    found: list[structs.Pod] = bench.owned("Pod", owner)
    current, update = bench.notes[pods.ref(owner)].revision, stateful.revision(owner)
    ready = [pod for pod in found if pod.status.phase == "Running" and pods.ready(pod)]

    def of(revision: str) -> int | None:
        those = (pod for pod in found if pod.metadata.labels.get(stateful.REVISION) == revision)
        return sum(not pods.ending(pod) for pod in those) or None

    return workloads.StatefulSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(found),
        ready_replicas=len(ready) or None,
        available_replicas=replicas.available(bench, ready, owner.spec.min_ready_seconds),
        current_replicas=of(current),
        updated_replicas=of(update),
        current_revision=current,
        update_revision=update,
    )


def _daemon_set(
    bench: world.Bench, owner: workloads.DaemonSet, old: workloads.DaemonSetStatus
) -> workloads.DaemonSetStatus:
    digest = names.template_hash(owner.spec.template)
    oldest: dict[str, structs.Pod] = {}
    for pod in bench.owned("Pod", owner):
        oldest.setdefault(pod.spec.node_name or "", pod)
    wanted = {node for node in bench.nodes if placing.fits(bench, owner.spec.template.spec, node)}
    there = [pod for node, pod in oldest.items() if node in wanted]
    available = replicas.available(bench, there, owner.spec.min_ready_seconds)
    return workloads.DaemonSetStatus(
        observed_generation=owner.metadata.generation,
        desired_number_scheduled=len(wanted),
        current_number_scheduled=len(there),
        updated_number_scheduled=sum(pod.metadata.labels.get(stateful.REVISION) == digest for pod in there) or None,
        number_misscheduled=sum(node not in wanted for node in oldest),
        number_ready=sum(map(pods.ready, there)),
        number_available=available or None,
        number_unavailable=len(wanted) - available or None,
    )


_KINDS: tuple[tuple[str, Callable[[world.Bench, Any, Any], Any]], ...] = (
    ("ReplicaSet", _replica_set),
    ("Deployment", rollouts.status),
    ("StatefulSet", _stateful_set),
    ("DaemonSet", _daemon_set),
    ("Job", batch.job),
    ("CronJob", batch.cron_job),
)
