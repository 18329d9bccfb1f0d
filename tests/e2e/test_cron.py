"""CronJobs in a running mesh: their Jobs run as processes, end, and go with them."""

import live

from retic.testing import wait


def cron(name, text, schedule="@every 1s", **more):
    container = {"name": "c", "command": ["sh", "-c", text]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": live.meta(name),
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": {"spec": pod}}}, **more},
    }  # fmt: skip


def test_jobs_are_started_when_due_and_end_and_go_with_their_cron_job(mesh):
    given = [
        cron("quick", "echo ran in $HOSTNAME"),
        cron("held", "echo never", suspend=True),
        cron("far", "echo never", "0 0 29 2 *", timeZone="Europe/Berlin"),
        cron("long", "exec sleep infinity", concurrencyPolicy="Forbid"),
    ]
    with live.file(mesh, "cron.yaml", *given):
        (ran, *_) = wait.until(lambda: live.pods(mesh, "quick-"), "a run", seconds=10, every=0.2)
        said = wait.until(lambda: mesh.command("logs", ran["name"]).stdout, "it said so", every=0.2)
        assert said.split()[-1] == ran["name"]
        (job, *_) = wait.until(lambda: live.objects(mesh, "Job", "quick-"), "its Job", every=0.2)
        assert ran["name"].startswith(job.metadata.name)
        assert job.metadata.owner_references[0].name == "quick"
        wait.until(lambda: live.objects(mesh, "Job", "quick-")[0].status.succeeded == 1, "it succeeded", every=0.2)
        wait.until(lambda: live.pods(mesh, "long-"), "the long one runs", every=0.2)
        assert len(live.objects(mesh, "Job", "long-")) == 1
        assert not live.objects(mesh, "Job", "held-")
        assert not live.objects(mesh, "Job", "far-")
        live.write(mesh, "cron.yaml", given[1] | {"spec": {**given[1]["spec"], "suspend": False}}, given[3])
        wait.until(lambda: live.pods(mesh, "held-"), "no longer suspended", every=0.2)
        assert not live.objects(mesh, "Job", "quick-"), "gone with its CronJob"
    wait.until(
        lambda: not any(live.pods(mesh, name) for name in ("quick-", "held-", "long-")), "all go", every=0.2
    )
    assert not live.objects(mesh, "Job", "long-")
