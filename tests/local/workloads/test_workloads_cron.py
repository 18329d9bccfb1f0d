"""CronJobs: when Jobs are made, of what, and when they go."""

import datetime
import zoneinfo

import cronsim
import pytest
import workloads_building as building
from hypothesis import given
from hypothesis import strategies as st

from retic.local.workloads import cron, pods

NOON = 1_893_499_200.0  # 2030-01-01 12:00 UTC
MINUTE = building.NOW // 60 * 60 + 60


def tick(schedule="* * * * *", pod=None, **spec):
    template = {
        "metadata": {"labels": {"of": "tick"}, "annotations": {"note": "n"}},
        "spec": {"template": pod or building.template("tick", restartPolicy="Never"), "backoffLimit": 0},
    }
    return building.thing("CronJob", "tick", spec={"schedule": schedule, "jobTemplate": template, **spec})


def to(cluster, when):
    cluster.wait(when - cluster.now)


def jobs(cluster):
    return [job.metadata.name for job in cluster.every("Job")]


@pytest.mark.parametrize(("policy", "running"), [("Allow", 2), ("Forbid", 1), ("Replace", 1)])
def test_it_starts_on_the_minute_and_minds_what_still_runs(policy, running):
    cluster = building.Cluster(tick(concurrencyPolicy=policy))
    assert cluster.pods() == []
    assert cluster.world.wake == MINUTE
    first = None
    for _ in range(2):
        to(cluster, cluster.world.wake)
        first = first or cluster.pods()[0].metadata.uid
        cluster.ready()
    active = [pod.metadata.uid for pod in cluster.pods() if pods.active(pod)]
    assert len(active) == running
    assert (first in active) == (policy != "Replace")


def test_a_job_is_named_and_described_by_its_time_and_template():
    cluster = building.Cluster(tick(timeZone="Asia/Kolkata"))
    to(cluster, MINUTE + 2)
    (job,) = cluster.every("Job")
    assert job.metadata.name == f"tick-{int(MINUTE) // 60}"
    assert job.metadata.labels == {"of": "tick"}
    scheduled = datetime.datetime.fromtimestamp(MINUTE, zoneinfo.ZoneInfo("Asia/Kolkata")).isoformat()
    assert job.metadata.annotations == {"note": "n", "batch.kubernetes.io/cronjob-scheduled-timestamp": scheduled}
    (pod,) = cluster.pods()
    assert pod.metadata.labels["job-name"] == job.metadata.name
    assert pods.controller(pod).uid == job.metadata.uid


def test_what_a_running_job_held_back_starts_when_it_ends():
    cluster = building.Cluster(tick(concurrencyPolicy="Forbid"))
    to(cluster, MINUTE)
    to(cluster, MINUTE + 180)
    assert jobs(cluster) == [f"tick-{int(MINUTE) // 60}"]
    cluster.finish()
    assert jobs(cluster) == [f"tick-{int(MINUTE) // 60}", f"tick-{int(MINUTE) // 60 + 3}"], "the last missed time only"


@pytest.mark.parametrize(("deadline", "run"), [(None, True), (50, True), (20, False)])
def test_a_time_missed_by_more_than_the_deadline_is_let_go(deadline, run):
    more = {} if deadline is None else {"startingDeadlineSeconds": deadline}
    cluster = building.Cluster(tick(**more))
    to(cluster, MINUTE + 125 + 25)
    assert jobs(cluster) == ([f"tick-{int(MINUTE) // 60 + 2}"] if run else [])
    to(cluster, MINUTE + 180)
    assert f"tick-{int(MINUTE) // 60 + 3}" in jobs(cluster), "the next one comes anyway"


def test_suspended_it_starts_nothing_and_then_what_was_missed_last():
    cluster = building.Cluster(tick())
    to(cluster, MINUTE)
    cluster.ready()
    cluster.apply(tick(suspend=True))
    to(cluster, MINUTE + 600)
    assert len(jobs(cluster)) == 1, "what runs goes on"
    assert pods.active(cluster.pods()[0])
    assert cluster.world.wake is None
    cluster.apply(tick())
    assert jobs(cluster) == [f"tick-{int(MINUTE) // 60 + late}" for late in (0, 10)]


@pytest.mark.parametrize(("good", "limits", "kept"), [
    (True, {}, 3), (False, {}, 1), (True, {"successfulJobsHistoryLimit": 0}, 0),
    (True, {"successfulJobsHistoryLimit": 2}, 2), (False, {"failedJobsHistoryLimit": 2}, 2),
])  # fmt: skip
def test_so_many_ended_jobs_are_kept_with_their_pods(good, limits, kept):
    cluster = building.Cluster(tick(**limits))
    for turn in range(6):
        to(cluster, MINUTE + 60 * turn)
        cluster.finish(good=good)
        cluster.go()
    assert len(cluster.every("Job")) == kept
    assert {pods.controller(pod).name for pod in cluster.pods()} == set(jobs(cluster))


def test_without_the_cron_job_its_jobs_and_pods_go():
    cluster = building.Cluster(tick())
    to(cluster, MINUTE)
    cluster.ready()
    to(cluster, MINUTE + 60)
    assert len(jobs(cluster)) == 2
    cluster.apply()
    assert jobs(cluster) == []
    assert all(pods.ending(pod) for pod in cluster.pods())
    cluster.go()
    assert cluster.pods() == []
    cluster.apply(tick())
    assert jobs(cluster) == [], "one of that name made anew begins anew"


def test_every_counts_from_the_beginning_and_a_minute_has_one_job():
    cluster = building.Cluster(tick("@every 2s"))
    begun = int(building.NOW)
    assert cluster.world.wake == begun + 2
    to(cluster, begun + 2)
    assert len(jobs(cluster)) == 1
    to(cluster, begun + 4)
    assert len(jobs(cluster)) == (begun + 4) // 60 - (begun + 2) // 60 + 1
    assert cluster.codes() == []


@pytest.mark.parametrize(("text", "step"), [("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("1ms", 1), ("2s5ms", 2)])
def test_durations_are_gos(text, step):
    assert cron.due(f"@every {text}", datetime.UTC, 100.9, 100.9) == (None, 100.0 + step)
    assert cron.due(f"@every {text}", datetime.UTC, 100.9, 100 + 2.5 * step)[0] == 100.0 + 2 * step


@pytest.mark.parametrize("text", ["never", "@every", "@every soon", "@every 5", "* * * *"])
def test_what_is_no_schedule_is_told(text):
    with pytest.raises(ValueError, match=r"."):
        cron.due(text, datetime.UTC, 0, NOON)


def test_schedules_are_read_in_their_zone():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    assert cron.due("0 13 * * *", berlin, NOON - 10, NOON)[0] == NOON
    assert cron.due("0 13 * * *", datetime.UTC, NOON - 10, NOON)[0] is None


def test_a_zone_that_does_not_exist_is_found_where_it_stands():
    cluster = building.Cluster(tick(timeZone="Mars/Olympus"))
    to(cluster, MINUTE)
    assert jobs(cluster) == []
    assert [(fault.code, fault.path) for fault in cluster.world.faults] == [("RT0011", "spec.timeZone")]


def test_what_its_pods_lack_is_found_in_its_template():
    pod = building.template("tick", restartPolicy="Never", serviceAccountName="ghost")
    cluster = building.Cluster(tick(pod=pod))
    to(cluster, MINUTE)
    (fault,) = cluster.world.faults
    assert (fault.code, fault.object.kind) == ("RT0103", "CronJob")
    assert fault.path == "spec.jobTemplate.spec.template.spec.serviceAccountName"


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
SCHEDULES = ("* * * * *", "*/5 * * * *", "30 2 * * *", "15 */6 1 * *", "0 0 * * 1", "0 13 29 2 *", "@hourly", "@weekly")


@given(
    st.sampled_from(SCHEDULES), st.sampled_from(ZONES), st.integers(1_890_000_000, 1_930_000_000),
    st.integers(0, 3 * 86400),
)  # fmt: skip
def test_due_is_what_counting_every_time_gives(schedule, zone, now, ago):
    where, after = zoneinfo.ZoneInfo(zone), now - ago
    words = {"@hourly": "0 * * * *", "@weekly": "0 0 * * 0"}
    last = None
    for turn in cronsim.CronSim(words.get(schedule, schedule), datetime.datetime.fromtimestamp(after, where)):
        if turn.timestamp() > now:
            break
        last = turn.timestamp()
    assert cron.due(schedule, where, after, now) == (last, turn.timestamp())
