"""Jobs: pods that run to their end, until enough have succeeded or too many have failed.

The rules are those of k8s.io/kubernetes/pkg/controller/job: a failed pod is replaced after 10 s, doubling
to 6 minutes; finished pods stay for their logs. An edited Job runs anew: Kubernetes would refuse the edit,
but here the file is the source of truth. Left out: pod failure policies, success policies.
"""

import itertools

import msgspec

from retic import findings
from retic.local.workloads import accounts, names, pods, times, world
from retic.objects import pods as structs
from retic.objects import workloads

INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_WAIT, _MOST_WAIT = 10.0, 360.0
COMPLETE, FAILED = "Complete", "Failed"
replace = msgspec.structs.replace


def job(bench: world.Bench, owner: workloads.Job) -> None:
    """One step of a Job: count its pods, finish it, or make the next pods."""
    key = pods.ref(owner)
    digest = names.template_hash(owner.spec)
    note = bench.notes.get(key)
    if note is None or note.revision != digest:
        if note is not None:
            for pod in bench.owned("Pod", owner):
                bench.end(pod)
            if bench.owned("Pod", owner):
                return
        bench.notes[key] = note = world.Note(revision=digest)
    found: list[structs.Pod] = bench.owned("Pod", owner)
    if note.done:
        _expire(bench, owner, note, found)
    elif owner.spec.suspend:
        for pod in found:
            if pods.active(pod):
                bench.end(pod)
        bench.note(key, since=0.0)
    else:
        if not note.since:
            bench.note(key, since=bench.now)
        _run(bench, owner, bench.notes[key], found)


def failures(found: list[structs.Pod]) -> int:
    """How often a Job's pods failed: failed pods, and restarts where containers are restarted in place."""
    count = 0
    for pod in found:
        if pod.status.phase == "Failed":
            count += 1
        elif pod.spec.restart_policy == "OnFailure":
            count += sum(status.restart_count for status in pod.status.container_statuses)
    return count


def _run(bench: world.Bench, owner: workloads.Job, note: world.Note, found: list[structs.Pod]) -> None:
    succeeded = [pod for pod in found if pod.status.phase == "Succeeded"]
    indexed = owner.spec.completion_mode == "Indexed"
    if indexed:
        count = len({pod.metadata.annotations.get(INDEX) for pod in succeeded})
    else:
        count = len(succeeded)
    limit = 6 if owner.spec.backoff_limit is None else owner.spec.backoff_limit
    failed = failures(found)
    active = [pod for pod in found if pods.active(pod)]
    if failed > limit:
        _finish(bench, owner, found, FAILED, "BackoffLimitExceeded")
        return
    if owner.spec.active_deadline_seconds is not None:
        end = note.since + owner.spec.active_deadline_seconds
        if bench.now >= end:
            _finish(bench, owner, found, FAILED, "DeadlineExceeded")
            return
        bench.wake_at(end)
    parallel = 1 if owner.spec.parallelism is None else owner.spec.parallelism
    wanted = owner.spec.completions if owner.spec.completions is not None or not indexed else 1
    # Without completions one success is the end, once the others have ended (a work queue).
    if (wanted is not None and count >= wanted) or (wanted is None and succeeded and not active):
        _finish(bench, owner, found, COMPLETE, "CompletionsReached")
        return
    if wanted is None:
        wanted_active = 0 if succeeded else parallel
    else:
        wanted_active = min(parallel, wanted - count)
    if _waits(bench, found, failed):
        return
    for pod in active[wanted_active:]:
        bench.end(pod)
    _make(bench, owner, found, wanted_active - len(active), wanted or 0)


def _waits(bench: world.Bench, found: list[structs.Pod], failed: int) -> bool:
    """Whether the next pod waits for the back-off of the last failed one."""
    ends = [
        times.seconds(status.state.terminated.finished_at) or 0.0
        for pod in found
        if pod.status.phase == "Failed"
        for status in pod.status.container_statuses
        if status.state.terminated is not None
    ]
    if not ends:
        return False
    until = max(ends) + min(_FIRST_WAIT * 2 ** max(0, failed - 1), _MOST_WAIT)
    if bench.now >= until:
        return False
    bench.wake_at(until)
    return True


def _make(bench: world.Bench, owner: workloads.Job, found: list[structs.Pod], count: int, completions: int) -> None:
    if count <= 0 or not accounts.exists(bench, owner, owner.spec.template.spec):
        return
    template = _template(owner)
    name, space = owner.metadata.name, owner.metadata.namespace
    if owner.spec.completion_mode != "Indexed":
        for _ in range(count):
            bench.create_pod(owner, template, names.generated(f"{name}-", space, bench.serial(pods.ref(owner))), space)
        return
    taken = {pod.metadata.annotations.get(INDEX) for pod in found if pod.status.phase != "Failed"}
    free = (index for index in range(completions) if str(index) not in taken)
    for index in itertools.islice(free, count):
        unique = names.generated(f"{name}-{index}-", space, bench.serial(pods.ref(owner)))
        bench.create_pod(
            owner,
            _indexed(template, name, index),
            unique,
            space,
            labels={INDEX: str(index)},
            annotations={INDEX: str(index)},
        )


def _template(owner: workloads.Job) -> structs.PodTemplateSpec:
    labels = {
        **owner.spec.template.metadata.labels,
        "batch.kubernetes.io/job-name": owner.metadata.name,
        "job-name": owner.metadata.name,
        "batch.kubernetes.io/controller-uid": owner.metadata.uid or "",
        "controller-uid": owner.metadata.uid or "",
    }
    return replace(owner.spec.template, metadata=replace(owner.spec.template.metadata, labels=labels))


def _indexed(template: structs.PodTemplateSpec, name: str, index: int) -> structs.PodTemplateSpec:
    variable = structs.EnvVar(name="JOB_COMPLETION_INDEX", value=str(index))

    def with_index(container: structs.Container) -> structs.Container:
        return replace(container, env=(*container.env, variable))

    spec = replace(
        template.spec,
        hostname=f"{name}-{index}",
        containers=tuple(with_index(item) for item in template.spec.containers),
        init_containers=tuple(with_index(item) for item in template.spec.init_containers),
    )
    return replace(template, spec=spec)


def _finish(bench: world.Bench, owner: workloads.Job, found: list[structs.Pod], how: str, why: str) -> None:
    for pod in found:
        if pods.active(pod):
            bench.end(pod)
    bench.note(pods.ref(owner), done=how, until=bench.now, reason=why)
    bench.changed = True


def _expire(bench: world.Bench, owner: workloads.Job, note: world.Note, found: list[structs.Pod]) -> None:
    """Remove a finished Job's pods after `ttlSecondsAfterFinished`; the manifest does not start it again."""
    if owner.spec.ttl_seconds_after_finished is None:
        return
    end = note.until + owner.spec.ttl_seconds_after_finished
    if bench.now < end:
        bench.wake_at(end)
        return
    for pod in found:
        bench.end(pod)
    key = pods.ref(owner)
    if key in bench.made and not found:
        bench.drop(key)


def finished(bench: world.Bench, ref: findings.Ref) -> str:
    """`Complete`, `Failed` or ""."""
    return bench.notes.get(ref, world.Note()).done
