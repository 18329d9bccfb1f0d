"""The statuses of Jobs and CronJobs, as their controllers write them."""

from collections.abc import Iterable

from retic.local.workloads import jobs, pods, rollouts, times, world
from retic.objects import meta, workloads
from retic.objects import pods as structs

_WORDS = {
    "CompletionsReached": "Reached expected number of succeeded pods",
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
}
# What is decided is written first; that it is done, when the last pod has ended.
_DECIDED = {jobs.COMPLETE: "SuccessCriteriaMet", jobs.FAILED: "FailureTarget"}


def job(bench: world.Bench, owner: workloads.Job, old: workloads.JobStatus) -> workloads.JobStatus:
    """A Job's status."""
    note = bench.notes.get(pods.ref(owner), world.Note())
    found: list[structs.Pod] = bench.owned("Pod", owner)
    leaving = sum(pods.ending(pod) and not pods.terminal(pod) for pod in found)
    active = sum(pods.active(pod) for pod in found)
    succeeded = [pod for pod in found if pod.status.phase == "Succeeded"]
    over = bool(note.done) and not leaving and not active
    indexes = owner.spec.completion_mode == "Indexed"
    return workloads.JobStatus(
        active=active or None,
        ready=sum(pods.active(pod) and pods.ready(pod) for pod in found),
        succeeded=len(succeeded) or None,
        failed=sum(pod.status.phase == "Failed" for pod in found) or None,
        terminating=leaving,
        start_time=times.stamp(note.since) if note.since else None,
        completion_time=times.stamp(note.until) if over and note.done == jobs.COMPLETE else None,
        completed_indexes=(_intervals(_index(pod) for pod in succeeded) or None) if indexes else None,
        conditions=_conditions(bench, owner, note, old, over=over),
    )


def _conditions(
    bench: world.Bench, owner: workloads.Job, note: world.Note, old: workloads.JobStatus, *, over: bool
) -> tuple[meta.Condition, ...]:
    before = {item.type: item for item in old.conditions}
    found = []
    if not note.done and owner.spec.suspend:
        found.append(_condition("Suspended", "True", "JobSuspended", "Job suspended"))
    elif "Suspended" in before:
        found.append(_condition("Suspended", "False", "JobResumed", "Job resumed"))
    if note.done:
        text = _WORDS.get(note.reason, "")
        found.append(_condition(_DECIDED[note.done], "True", note.reason, text))
        if over:
            found.append(_condition(note.done, "True", note.reason, text))
    return tuple(rollouts.changed(before.get(item.type), item, bench.now, updates=False) for item in found)


def _condition(kind: str, status: str, reason: str, message: str) -> meta.Condition:
    return meta.Condition(type=kind, status=status, reason=reason, message=message)


def _index(pod: structs.Pod) -> int:
    return int(pod.metadata.annotations.get(jobs.INDEX, "0"))


def _intervals(numbers: Iterable[int]) -> str:
    """Sorted numbers as Jobs write them: 0,1 and 3-5."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 2 else ",".join(map(str, part)) for part in parts)


def _reference(value: workloads.Job) -> workloads.JobReference:
    of = value.metadata
    return workloads.JobReference("batch/v1", "Job", of.namespace, of.name, of.uid or "")


def cron_job(bench: world.Bench, owner: workloads.CronJob, old: workloads.CronJobStatus) -> workloads.CronJobStatus:
    """A CronJob's status."""
    note = bench.notes.get(pods.ref(owner), world.Note())
    made: list[workloads.Job] = bench.owned("Job", owner)
    running = [value for value in made if not jobs.finished(bench, pods.ref(value))]
    return workloads.CronJobStatus(
        active=tuple(map(_reference, running)),
        last_schedule_time=times.stamp(note.until) if note.until else None,
        last_successful_time=note.done or None,
    )
