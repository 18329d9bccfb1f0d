"""CronJobs: which Jobs are due. Times come from `cronsim`; the clock is the caller's.

The rules are those of k8s.io/kubernetes/pkg/controller/cronjob: of several missed times only the last is
run, and none that is older than `startingDeadlineSeconds`.
"""

import datetime
import re
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
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_EVERY = "@every "
_PART = re.compile(r"([0-9]*\.?[0-9]+)(h|ms|us|µs|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
replace = msgspec.structs.replace


def due(schedule: str, zone: datetime.tzinfo, after: float, now: float) -> tuple[float | None, float | None]:
    """The last time after `after` up to `now` (None: none), and the first one after `now` (None: never).

    Seconds since 1970. `@every 90s` counts from `after`, in whole seconds, as robfig/cron does. Raises
    ValueError for what is no schedule. Takes the same time however long ago `after` is.
    """
    if schedule.startswith(_EVERY):
        step = _step(schedule.removeprefix(_EVERY).strip())
        turns = max(0, int(now) - int(after)) // step
        return (int(after) + turns * step if turns else None), float(int(after) + (turns + 1) * step)
    text = _WORDS.get(schedule, schedule)
    present = datetime.datetime.fromtimestamp(now, zone)
    try:
        following = next(cronsim.CronSim(text, present), None)
        # Backwards from the next time, not from now: `now` itself may be one.
        last = next(cronsim.CronSim(text, following or present, reverse=True), None)
    except cronsim.CronSimError as error:
        raise ValueError(str(error) or f"not a schedule: {schedule}") from error
    before = None if last is None or last.timestamp() <= after else last.timestamp()
    return before, None if following is None else following.timestamp()


def _step(text: str) -> int:
    """A Go duration as whole seconds, at least 1 (robfig/cron's ConstantDelaySchedule)."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {text}")
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))


def _zone(bench: world.Bench, owner: workloads.CronJob) -> datetime.tzinfo | None:
    """The CronJob's time zone, UTC without one; None, with a finding, when there is none of that name."""
    name = owner.spec.time_zone or "UTC"
    try:
        return datetime.UTC if name == "UTC" else zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        bench.fault(
            "RT0011",
            pods.ref(owner),
            "spec.timeZone",
            f"there is no time zone {name} on this machine, so nothing is started",
            'write a name of the IANA time zone database, such as "Europe/Berlin"',
        )
        return None


def cron_job(bench: world.Bench, owner: workloads.CronJob) -> None:
    """Start the Job that is due, and forget old ones."""
    key = pods.ref(owner)
    note = bench.notes.get(key)
    if note is None:
        bench.note(key, since=bench.now)
        note = bench.notes[key]
    made: list[workloads.Job] = bench.owned("Job", owner)
    good = [job for job in map(pods.ref, made) if jobs.finished(bench, job) == jobs.COMPLETE]
    bench.note(key, done=max([note.done, *(times.stamp(bench.notes[job].until) for job in good)]))
    _history(bench, owner, made)
    zone = _zone(bench, owner)
    if zone is None:
        return
    try:
        last, following = due(owner.spec.schedule, zone, note.since, bench.now)
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
    if late or _name(owner, last) in bench.made:  # too late, or its time has been seen to already
        bench.note(key, since=last)
        return
    running = [value for value in made if not jobs.finished(bench, pods.ref(value))]
    if owner.spec.concurrency_policy == "Forbid" and running:
        return  # it stays due: the end of what runs starts it
    if owner.spec.concurrency_policy == "Replace":
        for value in running:
            bench.drop(pods.ref(value))
    _start(bench, owner, last, zone)
    bench.note(key, since=last, until=last)


def _name(owner: workloads.CronJob, when: float) -> findings.Ref:
    """The Job of that time; two times within a minute share it, in Kubernetes too."""
    return findings.Ref("Job", owner.metadata.namespace, f"{owner.metadata.name}-{int(when // 60)}")


def _start(bench: world.Bench, owner: workloads.CronJob, when: float, zone: datetime.tzinfo) -> None:
    key = _name(owner, when)
    template = owner.spec.job_template
    bench.notes.pop(key, None)
    bench.put(
        workloads.Job(
            metadata=meta.Metadata(
                name=key.name,
                namespace=key.namespace,
                labels=template.metadata.labels,
                annotations={**template.metadata.annotations, SCHEDULED: times.stamp(when, zone)},
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
