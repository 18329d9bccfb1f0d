"""Deployments, StatefulSets and DaemonSets: what is made, in which order, and what must never happen."""

import hypothesis
import workloads_building as building
from hypothesis import strategies as st

from retic.local.workloads import pods


def web(replicas, version="1", **spec):
    pod = building.template("web")
    pod["metadata"]["annotations"] = {"version": version}
    return building.workload("Deployment", "web", pod=pod, replicas=replicas, **spec)


def test_deployment_makes_a_replica_set_and_pods_named_after_it():
    cluster = building.Cluster(web(2))
    (made,) = [value for key, value in cluster.world.objects.items() if key.kind == "ReplicaSet"]
    digest = made.metadata.labels["pod-template-hash"]
    assert made.metadata.name == f"web-{digest}"
    for pod in cluster.pods("web"):
        assert pod.metadata.name.startswith(f"web-{digest}-")
        assert pod.metadata.labels["pod-template-hash"] == digest
        assert pod.metadata.owner_references[0].uid == made.metadata.uid


def test_rolling_update_replaces_pods_only_as_new_ones_become_ready():
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster = building.Cluster(web(3, strategy=rolling))
    cluster.ready()
    old = {pod.metadata.uid for pod in cluster.pods()}
    cluster.apply(web(3, "2", strategy=rolling))
    for _ in range(3):
        assert len(cluster.pods()) == 4
        assert not any(pods.ending(pod) for pod in cluster.pods())
        cluster.ready()
        assert sum(pods.ending(pod) for pod in cluster.pods()) == 1
        cluster.go()
    assert len(cluster.pods()) == 3
    assert old.isdisjoint(pod.metadata.uid for pod in cluster.pods())


def test_a_broken_version_leaves_the_old_one_serving():
    cluster = building.Cluster(web(4))
    cluster.ready()
    cluster.apply(web(4, "broken"))
    cluster.go()
    assert sum(pods.ready(pod) for pod in cluster.pods()) == 3  # 25 % of 4 may be unavailable
    cluster.apply(web(4))
    cluster.go()
    cluster.ready()
    assert len(cluster.pods()) == 4


def test_recreate_ends_all_before_it_makes_any():
    cluster = building.Cluster(web(2, strategy={"type": "Recreate"}))
    cluster.ready()
    cluster.apply(web(2, "2", strategy={"type": "Recreate"}))
    assert len(cluster.pods()) == 2
    assert all(pods.ending(pod) for pod in cluster.pods())
    cluster.go()
    assert len(cluster.pods()) == 2
    assert not any(pods.ending(pod) for pod in cluster.pods())


def test_an_edit_of_one_deployment_touches_no_other():
    other = building.workload("Deployment", "other", replicas=3)
    cluster = building.Cluster(web(1), other)
    cluster.ready()
    before = cluster.pods("other")
    cluster.apply(web(5, "2"), other)
    assert cluster.pods("other") == before


def test_min_ready_seconds_hold_a_rollout():
    spec = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, "minReadySeconds": 30}
    cluster = building.Cluster(web(1, **spec))
    cluster.ready()
    cluster.apply(web(1, "2", **spec))
    cluster.ready()
    assert not any(pods.ending(pod) for pod in cluster.pods())
    assert cluster.world.wake == cluster.now + 30
    cluster.wait(30)
    assert sum(pods.ending(pod) for pod in cluster.pods()) == 1


def db(replicas=3, version="1", **spec):
    pod = building.template("db")
    pod["metadata"]["annotations"] = {"version": version}
    return building.workload("StatefulSet", "db", pod=pod, serviceName="db", replicas=replicas, **spec)


def test_stateful_set_makes_pods_in_order_and_ends_them_in_reverse():
    cluster = building.Cluster(db())
    for count in (1, 2, 3):
        assert cluster.names() == [f"db-{i}" for i in range(count)]
        cluster.ready()
    assert [(pod.spec.hostname, pod.spec.subdomain) for pod in cluster.pods()][1] == ("db-1", "db")
    cluster.apply(db(1))
    for last in ("db-2", "db-1"):
        assert [pod.metadata.name for pod in cluster.pods() if pods.ending(pod)] == [last]
        cluster.go()
    assert cluster.names() == ["db-0"]


def test_parallel_stateful_set_waits_for_nobody():
    assert building.Cluster(db(podManagementPolicy="Parallel")).names() == ["db-0", "db-1", "db-2"]


def test_stateful_set_updates_from_the_highest_ordinal_down_to_the_partition():
    cluster = building.Cluster(db())
    for _ in range(3):
        cluster.ready()
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    cluster.apply(db(version="2", updateStrategy=update))
    for name in ("db-2", "db-1"):
        assert [pod.metadata.name for pod in cluster.pods() if pods.ending(pod)] == [name]
        cluster.go()
        cluster.ready()
    versions = [pod.metadata.annotations["version"] for pod in cluster.pods()]
    assert versions == ["1", "2", "2"]
    assert not any(pods.ending(pod) for pod in cluster.pods())


def test_daemon_set_has_one_pod_on_each_node_that_fits():
    node = building.thing("Node", "node-2", metadata={"labels": {"disk": "ssd"}})
    everywhere = building.workload("DaemonSet", "log")
    some = building.workload("DaemonSet", "ssd", pod=building.template("ssd", nodeSelector={"disk": "ssd"}))
    cluster = building.Cluster(node, everywhere, some)
    assert [pod.spec.node_name for pod in cluster.pods("ssd")] == ["node-2"]
    assert sorted(pod.spec.node_name for pod in cluster.pods("log")) == ["node-1", "node-2"]


STEPS = st.lists(st.sampled_from(["ready", "go", "edit", "grow", "shrink", "lose"]), max_size=25)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(STEPS, st.integers(0, 2), st.integers(0, 2))
def test_rollouts_keep_enough_available_and_names_and_addresses_unique(steps, surge, unavailable):
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": max(unavailable, int(surge == 0))}}
    unavailable = max(unavailable, int(surge == 0))
    replicas, version = 3, 1
    cluster = building.Cluster(web(replicas, strategy=strategy))
    cluster.ready()
    for step in steps:
        if step == "edit":
            version += 1
        replicas += {"grow": 1, "shrink": -1}.get(step, 0) if 1 < replicas < 6 else 0
        before = [p.metadata.uid for p in cluster.pods() if pods.ready(p) and not pods.ending(p)]
        if step == "ready":
            cluster.ready()
        elif step == "go":
            cluster.go()
        elif step == "lose" and cluster.pods():
            cluster.status(cluster.pods()[0], "Running", ready=False)
            before = []
        else:
            cluster.apply(web(replicas, str(version), strategy=strategy))
        now = [p for p in cluster.pods() if pods.ready(p) and not pods.ending(p)]
        # Controllers alone never take availability below its floor.
        if before:
            assert len(now) >= min(len(before), replicas - unavailable)
        addresses = [pod.status.pod_ip for pod in cluster.pods()]
        assert len(addresses) == len(set(addresses))
        active = [p for p in cluster.pods() if pods.active(p)]
        assert len(active) <= max(6, replicas) + surge
        again = cluster.world
        cluster.turn()
        assert cluster.world == again, "a second look at the same state must change nothing"
