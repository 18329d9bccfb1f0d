"""Adoption: pods of manifests whose labels a controller selects."""

import hypothesis
import workloads_building as building
from hypothesis import strategies as st

from retic.local.workloads import pods


def lone(name="lone", app="web", **more):
    raw = building.template(app, **more)
    return building.thing("Pod", name, metadata=raw["metadata"], spec=raw["spec"])


def web(replicas, kind="ReplicaSet", **spec):
    return building.workload(kind, "web", replicas=replicas, **spec)


def owner(cluster, name="lone"):
    found = cluster.get("Pod", name)
    return found and pods.controller(found) and pods.controller(found).name


def test_a_replica_set_takes_the_pod_and_makes_one_fewer():
    cluster = building.Cluster(lone(), web(2))
    assert owner(cluster) == "web"
    assert len(cluster.pods()) == 2
    assert cluster.get("ReplicaSet", "web").status.replicas == 2
    assert cluster.codes() == []


def test_one_too_many_is_ended_and_not_made_again():
    cluster = building.Cluster(web(2))
    cluster.ready()
    mine = set(cluster.names())
    cluster.apply(web(2), lone())
    assert set(cluster.names()) == mine, "the one that is not ready goes"
    assert cluster.codes() == ["RT0111"]
    cluster.wait(100)
    assert set(cluster.names()) == mine
    cluster.apply(web(2), lone(hostname="other"))
    assert set(cluster.names()) == mine, "an edited one is another, with the same end"
    cluster.apply(web(2), lone(app="else", hostname="other"))
    assert set(cluster.names()) == {*mine, "lone"}, "with labels that nobody selects it is its own"
    assert cluster.codes() == []


def test_without_the_controller_the_manifests_pod_is_its_own_again():
    cluster = building.Cluster(web(1))
    cluster.ready()
    cluster.apply(web(1), lone())
    assert "lone" not in cluster.names()
    cluster.apply(lone())
    assert owner(cluster) is None
    assert pods.active(cluster.get("Pod", "lone"))
    assert cluster.codes() == []


def test_taken_pods_go_with_their_controller_and_come_again():
    cluster = building.Cluster(lone(), web(1))
    first = cluster.get("Pod", "lone").metadata.uid
    cluster.ready()
    cluster.apply(lone())
    assert pods.ending(cluster.get("Pod", "lone"))
    cluster.go()
    assert cluster.get("Pod", "lone").metadata.uid != first


def test_a_pod_whose_labels_no_longer_match_is_let_go():
    cluster = building.Cluster(lone(), web(1))
    assert cluster.names() == ["lone"]
    uid = cluster.get("Pod", "lone").metadata.uid
    cluster.ready()
    cluster.apply(lone(app="else"), web(1))
    assert owner(cluster) is None
    assert cluster.get("Pod", "lone").metadata.uid == uid, "and goes on"
    assert len(cluster.pods("web")) == 1, "another takes its place"
    cluster.apply(lone(), web(1))
    assert len([pod for pod in cluster.pods() if pods.active(pod)]) == 1


def test_another_selector_lets_go_what_it_does_not_select():
    def selecting(app):
        return building.thing("ReplicaSet", "web", spec={
            "selector": {"matchLabels": {"app": app}}, "template": building.template(app), "replicas": 1,
        })  # fmt: skip

    cluster = building.Cluster(selecting("one"))
    cluster.ready()
    cluster.apply(selecting("two"))
    assert [pods.ending(pod) for pod in cluster.pods("one")] == [True]
    assert len(cluster.pods("two")) == 1


def test_who_has_a_controller_is_not_taken_by_another():
    cluster = building.Cluster(lone(), web(1), building.thing("ReplicaSet", "zeal", spec={
        "selector": {"matchLabels": {"app": "web"}}, "template": building.template("web"), "replicas": 1,
    }))  # fmt: skip
    assert owner(cluster) == "web"
    assert len(cluster.pods()) == 2


def test_what_has_ended_or_ends_is_not_taken():
    cluster = building.Cluster(lone(restartPolicy="Never"))
    cluster.finish()
    cluster.apply(lone(restartPolicy="Never"), web(1))
    assert owner(cluster) is None
    assert len(cluster.pods()) == 2


def test_a_deployment_takes_what_carries_its_hash():
    cluster = building.Cluster(web(1, "Deployment"))
    (made,) = cluster.every("ReplicaSet")
    cluster.ready()
    raw = building.template("web")
    raw["metadata"]["labels"] = made.metadata.labels
    more = building.thing("Pod", "lone", metadata=raw["metadata"], spec=raw["spec"])
    plain = lone("plain")
    cluster.apply(web(2, "Deployment"), more, plain)
    assert owner(cluster) == made.metadata.name
    assert owner(cluster, "plain") is None
    assert cluster.get("Deployment", "web").status.replicas == 2


def test_a_stateful_set_takes_its_own_names_only_and_updates_them():
    def db(**more):
        return building.workload("StatefulSet", "db", serviceName="db", **more)

    cluster = building.Cluster(lone("db-0", "db"), lone("db-x", "db"), db(replicas=1))
    first = cluster.get("Pod", "db-0").metadata.uid
    assert (owner(cluster, "db-0"), owner(cluster, "db-x")) == ("db", None)
    cluster.ready()
    assert pods.ending(cluster.get("Pod", "db-0")), "of no revision"
    cluster.go()
    assert cluster.get("Pod", "db-0").metadata.uid != first
    assert owner(cluster, "db-0") == "db"


def test_a_selector_that_does_not_match_its_own_template_takes_and_leaves_nothing():
    wrong = building.thing("ReplicaSet", "web", spec={
        "selector": {"matchLabels": {"app": "lone"}}, "template": building.template("web"), "replicas": 1,
    })  # fmt: skip
    cluster = building.Cluster(wrong, lone(app="lone"))
    assert owner(cluster) is None
    assert len(cluster.pods("web")) == 1
    assert cluster.codes() == ["RT0106"]


def test_a_taken_pods_own_mistakes_are_found_in_its_own_manifest():
    cluster = building.Cluster(lone(nodeName="node-9"), web(1))
    (fault,) = cluster.world.faults
    assert (fault.object.kind, fault.path) == ("Pod", "spec.nodeName")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["apply", "ready", "go", "finish"]), st.integers(0, 3),
        st.sets(st.sampled_from(["one", "two", "db-0", "db-1"])), st.sampled_from(["web", "db", "else"]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=15,
)  # fmt: skip


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(STEPS)
def test_controllers_and_manifests_come_to_rest_whatever_both_want(steps):
    cluster = building.Cluster()
    for step, replicas, names, app, host in steps:
        if step == "apply":
            more = {"hostname": host, "restartPolicy": "Always"}
            db = building.workload("StatefulSet", "db", serviceName="db", replicas=replicas)
            cluster.apply(*(lone(name, app, **more) for name in sorted(names)), web(replicas), db)
        else:
            getattr(cluster, step)()
        again = cluster.world
        cluster.turn()
        assert cluster.world == again, "a second look at the same state must change nothing"
        made = cluster.get("ReplicaSet", "web")
        if made is not None:
            mine = [pod for pod in cluster.pods() if owner(cluster, pod.metadata.name) == "web" and pods.active(pod)]
            assert len(mine) == made.status.replicas == made.spec.replicas
        addresses = [pod.status.pod_ip for pod in cluster.pods()]
        assert len(addresses) == len(set(addresses))
