"""Statuses as Kubernetes' controllers write them, and what they are counted from."""

import pytest
import workloads_building as building

from retic import objects
from retic.local.workloads import times

STAMP = times.stamp(building.NOW)


def status(cluster, kind, name):
    """The status as JSON, as everybody sees it."""
    return objects.encode(cluster.get(kind, name)).get("status", {})


def conditions(cluster, kind, name):
    return {item["type"]: (item["status"], item["reason"]) for item in status(cluster, kind, name)["conditions"]}


def web(replicas=2, version="1", **spec):
    pod = building.template("web")
    pod["metadata"]["annotations"] = {"version": version}
    return building.workload("Deployment", "web", pod=pod, replicas=replicas, **spec)


def test_a_deployments_rollout_is_told_from_its_beginning_to_its_end():
    cluster = building.Cluster(web())
    assert status(cluster, "Deployment", "web") | {"conditions": []} == {
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2, "conditions": [],
    }  # fmt: skip
    assert conditions(cluster, "Deployment", "web") == {
        "Available": ("False", "MinimumReplicasUnavailable"), "Progressing": ("True", "ReplicaSetUpdated"),
    }  # fmt: skip
    cluster.now += 5
    cluster.ready()
    name = cluster.every("ReplicaSet")[0].metadata.name
    later = times.stamp(building.NOW + 5)
    assert status(cluster, "Deployment", "web") == {
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
             "message": "Deployment has minimum availability.", "lastTransitionTime": later, "lastUpdateTime": later},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
             "message": f'ReplicaSet "{name}" has successfully progressed.', "lastTransitionTime": STAMP,
             "lastUpdateTime": later},
        ],
    }  # fmt: skip
    assert status(cluster, "ReplicaSet", name) == {
        "observedGeneration": 1, "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
    }  # fmt: skip


def test_a_new_version_counts_generations_and_what_is_updated():
    cluster = building.Cluster(web(4))
    cluster.ready()
    cluster.apply(web(4, "2"))
    made = cluster.get("Deployment", "web")
    assert (made.metadata.generation, made.status.observed_generation) == (2, 2)
    now = status(cluster, "Deployment", "web")
    # One more than wanted, one fewer available: 25 % of 4. What is told to end no longer counts.
    assert (now["replicas"], now["updatedReplicas"], now["availableReplicas"]) == (5, 2, 3)
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("True", "ReplicaSetUpdated")
    assert conditions(cluster, "Deployment", "web")["Available"][0] == "True"
    for _ in range(5):
        cluster.ready()
        cluster.go()
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("True", "NewReplicaSetAvailable")
    old, new = sorted(cluster.every("ReplicaSet"), key=lambda value: value.status.replicas)
    assert (old.status.replicas, old.metadata.generation > 1, new.status.replicas) == (0, True, 4)
    assert objects.encode(old)["status"]["replicas"] == 0, "a ReplicaSet's 0 is written"
    cluster.apply(web(4, "2"))
    assert cluster.get("Deployment", "web").metadata.generation == 2, "the same spec is no new generation"


def test_a_rollout_that_does_not_move_is_late_and_then_mended():
    cluster = building.Cluster(web(2, progressDeadlineSeconds=60))
    assert cluster.world.wake == building.NOW + 60
    cluster.wait(30)
    cluster.ready(cluster.pods()[0])  # a step: the deadline begins anew
    cluster.wait(31)
    assert conditions(cluster, "Deployment", "web")["Progressing"][0] == "True"
    cluster.wait(30)
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert cluster.world.wake is None
    cluster.ready()
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("True", "NewReplicaSetAvailable")
    cluster.status(cluster.pods()[0], "Running", ready=False)
    cluster.wait(1000)
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_paused_and_resumed():
    cluster = building.Cluster(web())
    cluster.ready()
    cluster.apply(web(paused=True))
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("Unknown", "DeploymentPaused")
    cluster.apply(web())
    assert conditions(cluster, "Deployment", "web")["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_pods_that_are_refused_are_a_replica_failure():
    lonely = building.template("web", serviceAccountName="ghost")
    cluster = building.Cluster(building.workload("Deployment", "web", pod=lonely))
    assert conditions(cluster, "Deployment", "web")["ReplicaFailure"] == ("True", "FailedCreate")
    (made,) = cluster.every("ReplicaSet")
    assert "serviceaccount \"ghost\" not found" in made.status.conditions[0].message
    assert made.status.replicas == 0
    cluster.apply(building.workload("Deployment", "web", pod=lonely), building.thing("ServiceAccount", "ghost"))
    assert "ReplicaFailure" not in conditions(cluster, "Deployment", "web")
    assert cluster.every("ReplicaSet")[0].status.conditions == ()


def test_available_waits_for_min_ready_seconds():
    cluster = building.Cluster(web(2, minReadySeconds=30))
    cluster.ready()
    now = status(cluster, "Deployment", "web")
    assert (now["readyReplicas"], now.get("availableReplicas")) == (2, None)
    cluster.wait(30)
    assert status(cluster, "Deployment", "web")["availableReplicas"] == 2


def db(version="1", **spec):
    pod = building.template("db")
    pod["metadata"]["annotations"] = {"version": version}
    return building.workload("StatefulSet", "db", pod=pod, serviceName="db", replicas=2, **spec)


def test_a_stateful_set_counts_by_revision():
    cluster = building.Cluster(db())
    for _ in range(2):
        cluster.ready()
    now = status(cluster, "StatefulSet", "db")
    current = now["currentRevision"]
    assert current.startswith("db-")
    assert cluster.pods()[0].metadata.labels["controller-revision-hash"] == current
    assert now == {
        "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "currentReplicas": 2,
        "updatedReplicas": 2, "currentRevision": current, "updateRevision": current,
    }  # fmt: skip
    cluster.apply(db("2"))
    now = status(cluster, "StatefulSet", "db")
    assert (now["currentReplicas"], now.get("updatedReplicas"), now["currentRevision"]) == (1, None, current)
    assert now["updateRevision"] != current
    for _ in range(3):
        cluster.go()
        cluster.ready()
    now = status(cluster, "StatefulSet", "db")
    assert now["currentRevision"] == now["updateRevision"] != current
    assert (now["currentReplicas"], now["updatedReplicas"], now["observedGeneration"]) == (2, 2, 2)


def test_a_daemon_set_counts_nodes():
    cluster = building.Cluster(building.workload("DaemonSet", "log"))
    cluster.ready(cluster.pods()[0])
    assert status(cluster, "DaemonSet", "log") == {
        "observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0,
        "updatedNumberScheduled": 2, "numberReady": 1, "numberAvailable": 1, "numberUnavailable": 1,
    }  # fmt: skip
    only = building.template("log", nodeSelector={"kubernetes.io/hostname": "node-1"})
    cluster.apply(building.workload("DaemonSet", "log", pod=only))
    now = status(cluster, "DaemonSet", "log")
    assert (now["desiredNumberScheduled"], now["numberMisscheduled"]) == (1, 1)


def job(**spec):
    return building.workload("Job", "job", pod=building.template("job", restartPolicy="Never"), **spec)


def test_a_job_that_completes():
    cluster = building.Cluster(job(completions=4, parallelism=4, completionMode="Indexed"))
    assert status(cluster, "Job", "job") == {"active": 4, "ready": 0, "terminating": 0, "startTime": STAMP}
    cluster.finish(cluster.pods()[0])
    cluster.finish(cluster.pods()[1])
    cluster.finish(cluster.pods()[3])
    assert status(cluster, "Job", "job")["completedIndexes"] == "0,1,3"
    cluster.now += 9
    cluster.finish()
    end = times.stamp(building.NOW + 9)
    said = {"status": "True", "reason": "CompletionsReached", "lastTransitionTime": end,
            "message": "Reached expected number of succeeded pods"}  # fmt: skip
    assert status(cluster, "Job", "job") == {
        "ready": 0, "succeeded": 4, "terminating": 0, "startTime": STAMP, "completionTime": end,
        "completedIndexes": "0-3",
        "conditions": [{"type": "SuccessCriteriaMet", **said}, {"type": "Complete", **said}],
    }  # fmt: skip


@pytest.mark.parametrize(("spec", "reason"), [
    ({"backoffLimit": 0}, "BackoffLimitExceeded"), ({"activeDeadlineSeconds": 5}, "DeadlineExceeded"),
])  # fmt: skip
def test_a_job_has_failed_when_its_last_pod_has_ended(spec, reason):
    cluster = building.Cluster(job(**spec, parallelism=2, completions=2))
    if reason == "DeadlineExceeded":
        cluster.wait(5)
    else:
        cluster.finish(cluster.pods()[0], good=False)
    assert conditions(cluster, "Job", "job") == {"FailureTarget": ("True", reason)}
    assert status(cluster, "Job", "job")["terminating"] > 0
    cluster.go()
    assert conditions(cluster, "Job", "job") == {"FailureTarget": ("True", reason), "Failed": ("True", reason)}
    assert "completionTime" not in status(cluster, "Job", "job")


def test_a_suspended_job_has_not_started_and_its_deadline_begins_when_it_does():
    cluster = building.Cluster(job(suspend=True, activeDeadlineSeconds=100))
    assert conditions(cluster, "Job", "job") == {"Suspended": ("True", "JobSuspended")}
    assert "startTime" not in status(cluster, "Job", "job")
    cluster.wait(500)
    cluster.apply(job(suspend=False, activeDeadlineSeconds=100))
    assert conditions(cluster, "Job", "job") == {"Suspended": ("False", "JobResumed")}
    assert status(cluster, "Job", "job")["startTime"] == times.stamp(cluster.now)
    assert status(cluster, "Job", "job")["active"] == 1


def test_a_cron_job_tells_what_runs_and_when_it_did():
    pod = building.template("tick", restartPolicy="Never")
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pod}}, "successfulJobsHistoryLimit": 0}
    cluster = building.Cluster(building.thing("CronJob", "tick", spec=spec))
    assert status(cluster, "CronJob", "tick") == {}
    minute = building.NOW // 60 * 60 + 60
    cluster.wait(minute + 3 - cluster.now)
    (made,) = cluster.every("Job")
    active = {"apiVersion": "batch/v1", "kind": "Job", "namespace": "default", "name": made.metadata.name,
              "uid": made.metadata.uid}  # fmt: skip
    assert status(cluster, "CronJob", "tick") == {"active": [active], "lastScheduleTime": times.stamp(minute)}
    cluster.now += 7
    cluster.finish()
    assert status(cluster, "CronJob", "tick") == {
        "lastScheduleTime": times.stamp(minute), "lastSuccessfulTime": times.stamp(minute + 10),
    }  # fmt: skip
    assert cluster.every("Job") == []


def test_an_object_taken_out_of_the_manifests_is_not_kept_for_its_status():
    cluster = building.Cluster(web(), db(), job(), building.workload("ReplicaSet", "set"))
    cluster.apply()
    cluster.go()
    kinds = ("Deployment", "ReplicaSet", "StatefulSet", "Job", "Pod")
    assert [value for kind in kinds for value in cluster.every(kind)] == []


def test_a_status_that_a_manifest_holds_is_not_believed():
    cluster = building.Cluster(building.thing(
        "ReplicaSet", "set", status={"replicas": 7, "readyReplicas": 7},
        spec={"selector": {"matchLabels": {"app": "set"}}, "template": building.template("set")},
    ))  # fmt: skip
    assert status(cluster, "ReplicaSet", "set")["replicas"] == 1
