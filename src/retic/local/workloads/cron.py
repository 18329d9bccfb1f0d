"""CronJobs: which Jobs are due. Times come from `cronsim`; the clock is the caller's.

The rules are those of k8s.io/kubernetes/pkg/controller/cronjob: of several missed times only the last is
run, and none that is older than `startingDeadlineSeconds`.
"""

import datetime
import zoneinfo

import cronsim
import msgspec

from retic import findings
from retic.local.workloads import jobs, names, pods, times, world
from retic.objects import meta, workloads

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
replace = msgspec.structs.replace


def due(schedule: str, zone: str | None, after: float, now: float) -> tuple[float | None, float | None]:
    """The last time after `after` up to `now` (None: none), and the first one after `now` (None: never).

    Seconds since 1970. Raises ValueError for a schedule or a time zone that is not valid.
    """
    try:
        where = zoneinfo.ZoneInfo(zone or "UTC")
        start = datetime.datetime.fromtimestamp(max(after, now - 400 * 86400), where)
        turns = cronsim.CronSim(_WORDS.get(schedule, schedule), start)
    except (cronsim.CronSimError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise ValueError(str(error) or f"not a schedule: {schedule}") from error
    last: float | None = None
    for turn in turns:
        moment = turn.timestamp()
        if moment > now:
            return last, moment
        last = moment
    return last, None


def cron_job(bench: world.Bench, owner: workloads.CronJob) -> None:
    """Start the Job that is due, and forget old ones."""
    key = pods.ref(owner)
    note = bench.notes.get(key)
    if note is None:
        bench.note(key, since=bench.now)
        note = bench.notes[key]
    made: list[workloads.Job] = bench.owned("Job", owner)
    _history(bench, owner, made)
    try:
        last, following = due(owner.spec.schedule, owner.spec.time_zone, note.since, bench.now)
    except ValueError as error:
        bench.fault("RT0011", key, "spec.schedule", f"the schedule cannot be read: {error}", 'write "*/5 * * * *"')
        return
    if owner.spec.suspend:
        return
    if following is not None:
        bench.wake_at(following)
    if last is None:
        return
    deadline = owner.spec.starting_deadline_seconds
    late = deadline is not None and bench.now - last > deadline
    running = [value for value in made if not jobs.finished(bench, pods.ref(value))]
    policy = owner.spec.concurrency_policy or "Allow"
    if not late and not (policy == "Forbid" and running):
        if policy == "Replace":
            for value in running:
                bench.drop(pods.ref(value))
        _start(bench, owner, last)
    if late or policy != "Forbid" or not running:
        bench.note(key, since=last)


def _start(bench: world.Bench, owner: workloads.CronJob, when: float) -> None:
    key = findings.Ref("Job", owner.metadata.namespace, f"{owner.metadata.name}-{int(when // 60)}")
    if key in bench.made:
        return
    template = owner.spec.job_template
    bench.notes.pop(key, None)
    bench.put(
        workloads.Job(
            metadata=meta.Metadata(
                name=key.name,
                namespace=key.namespace,
                labels=template.metadata.labels,
                annotations={
                    **template.metadata.annotations,
                    "batch.kubernetes.io/cronjob-scheduled-timestamp": times.stamp(when),
                },
                uid=names.uid(key, bench.serial(key)),
                owner_references=(world.reference(owner),),
                creation_timestamp=times.stamp(bench.now),
            ),
            spec=template.spec,
        )
    )


def _history(bench: world.Bench, owner: workloads.CronJob, made: list[workloads.Job]) -> None:
    limits = {
        jobs.COMPLETE: 3 if (kept := owner.spec.successful_jobs_history_limit) is None else kept,
        jobs.FAILED: 1 if (kept := owner.spec.failed_jobs_history_limit) is None else kept,
    }
    for how, limit in limits.items():
        done = [value for value in made if jobs.finished(bench, pods.ref(value)) == how]
        for value in done[: max(0, len(done) - limit)]:
            bench.drop(pods.ref(value))
