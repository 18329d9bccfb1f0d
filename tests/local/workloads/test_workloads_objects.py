"""Jobs, CronJobs, bare pods, scheduling, Services, EndpointSlices, gateways and readings without processes."""

import msgspec
import workloads_building as building

from retic.local import workloads
from retic.local.workloads import addresses, pods


def job(**spec):
    pod = building.template("job", restartPolicy="Never")
    return building.workload("Job", "job", pod=pod, **spec)


def test_job_runs_its_completions_so_many_at_a_time_and_then_no_more():
    cluster = building.Cluster(job(completions=3, parallelism=2))
    assert len(cluster.pods()) == 2
    for _ in range(3):
        cluster.finish(next(pod for pod in cluster.pods() if pods.active(pod)))
    assert [pod.status.phase for pod in cluster.pods()] == ["Succeeded"] * 3


def test_job_retries_after_a_pause_and_fails_past_its_limit():
    cluster = building.Cluster(job(backoffLimit=1))
    cluster.finish(cluster.pods()[0], good=False)
    assert len(cluster.pods()) == 1
    assert cluster.world.wake == cluster.now + 10
    cluster.wait(10)
    cluster.finish(next(pod for pod in cluster.pods() if pods.active(pod)), good=False)
    cluster.wait(1000)
    assert len(cluster.pods()) == 2


def test_job_deadline_and_time_to_live():
    cluster = building.Cluster(job(activeDeadlineSeconds=5, ttlSecondsAfterFinished=60))
    cluster.ready()
    cluster.wait(5)
    assert all(pods.ending(pod) for pod in cluster.pods())
    cluster.go()
    cluster.wait(61)
    assert cluster.pods() == []


def test_indexed_job_tells_each_pod_its_index():
    cluster = building.Cluster(job(completions=2, parallelism=2, completionMode="Indexed"))
    found = [
        (pod.spec.hostname, {item.name: item.value for item in pod.spec.containers[0].env}) for pod in cluster.pods()
    ]
    assert found == [(f"job-{i}", {"JOB_COMPLETION_INDEX": str(i)}) for i in range(2)]


def test_bare_pod_is_made_anew_when_its_spec_changes_but_not_for_a_label():
    spec = building.template("x")["spec"]
    cluster = building.Cluster(building.thing("Pod", "one", spec=spec))
    uid = cluster.pods()[0].metadata.uid
    cluster.apply(building.thing("Pod", "one", spec=spec, metadata={"labels": {"a": "b"}}))
    assert (cluster.pods()[0].metadata.uid, cluster.pods()[0].metadata.labels) == (uid, {"a": "b"})
    cluster.apply(building.thing("Pod", "one", spec=building.template("x", hostname="other")["spec"]))
    assert pods.ending(cluster.pods()[0])
    cluster.go()
    assert cluster.pods()[0].metadata.uid != uid


def test_a_pod_that_no_node_takes_stays_pending_with_a_finding():
    spec = building.template("x", nodeSelector={"disk": "tape"})["spec"]
    cluster = building.Cluster(building.thing("Pod", "one", spec=spec))
    (pod,) = cluster.pods()
    assert (pod.status.phase, pod.spec.node_name) == ("Pending", None)
    assert cluster.codes() == ["RT0506"]


def test_a_missing_service_account_makes_no_pod():
    lonely = building.template("web", serviceAccountName="ghost")
    cluster = building.Cluster(building.workload("Deployment", "web", pod=lonely))
    assert cluster.pods() == []
    assert "RT0103" in cluster.codes()
    account = building.thing("ServiceAccount", "ghost")
    cluster.apply(building.workload("Deployment", "web", pod=lonely), account)
    assert len(cluster.pods()) == 1


def test_pods_are_spread_and_addresses_not_used_again_at_once():
    cluster = building.Cluster(building.workload("Deployment", "web", replicas=4))
    assert sorted(pod.spec.node_name for pod in cluster.pods()) == ["node-1"] * 2 + ["node-2"] * 2
    used = {pod.status.pod_ip for pod in cluster.pods()}
    cluster.ready()
    cluster.apply()
    cluster.go()
    cluster.apply(building.workload("Deployment", "web", replicas=4))
    assert used.isdisjoint(pod.status.pod_ip for pod in cluster.pods())
    taken = {f"10.244.1.{number}" for number in range(2, 255)}
    assert addresses.pod(1, taken, 7) is None


def service(name="web", **spec):
    ports = [{"port": 80, "targetPort": "http"}]
    return building.thing("Service", name, spec={"selector": {"app": "web"}, "ports": ports, **spec})


def test_service_addresses_are_stable_and_those_asked_for_are_honoured():
    cluster = building.Cluster(
        service(), service("fixed", clusterIP="10.96.0.77"), service("bad", clusterIP="10.96.0.10")
    )
    own = cluster.get("Service", "web").spec.cluster_ip
    assert cluster.get("Service", "fixed").spec.cluster_ip == "10.96.0.77"
    assert cluster.get("Service", "bad").spec.cluster_ip not in ("10.96.0.10", "10.96.0.77", own)
    assert "RT0011" in cluster.codes()
    cluster.apply(service(), service("headless", clusterIP="None"))
    assert cluster.get("Service", "web").spec.cluster_ip == own
    assert cluster.get("Service", "headless").spec.cluster_ips == ("None",)


def test_slices_follow_readiness_and_ending():
    cluster = building.Cluster(service(), building.workload("Deployment", "web", replicas=2))
    (made,) = cluster.slices("web")
    assert [item.conditions.ready for item in made.endpoints] == [False, False]
    assert [(port.name, port.port) for port in made.ports] == [("", 8080)]
    first = cluster.pods()[0]
    cluster.ready(first)
    (made,) = cluster.slices("web")
    chosen = next(item for item in made.endpoints if item.target_ref.name == first.metadata.name)
    assert (chosen.conditions.ready, chosen.conditions.serving, chosen.conditions.terminating) == (True, True, False)
    cluster.apply(service(), building.workload("Deployment", "web", replicas=0))
    (made,) = cluster.slices("web")
    chosen = next(item for item in made.endpoints if item.target_ref.name == first.metadata.name)
    assert (chosen.conditions.ready, chosen.conditions.serving, chosen.conditions.terminating) == (False, True, True)


def test_slices_of_250_pods_hold_at_most_100_and_one_change_touches_one():
    nodes = ("node-1", "node-2")
    cluster = building.Cluster(service(), building.workload("Deployment", "web", replicas=250), nodes=nodes)
    before = cluster.slices("web")
    assert sorted(len(item.endpoints) for item in before) == [50, 100, 100]
    cluster.ready(cluster.pods()[0])
    assert sum(a != b for a, b in zip(before, cluster.slices("web"), strict=True)) == 1


def test_pods_whose_named_port_differs_stand_in_slices_of_their_own():
    other = building.template("web")
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    values = (
        building.workload("Deployment", "web"),
        building.thing("Pod", "p", metadata={"labels": {"app": "web"}}, spec=other["spec"]),
    )
    cluster = building.Cluster(service(), *values)
    assert sorted(item.ports[0].port for item in cluster.slices("web")) == [8080, 9090]


def test_not_ready_addresses_are_published_when_asked_for():
    cluster = building.Cluster(service(publishNotReadyAddresses=True), building.workload("Deployment", "web"))
    assert cluster.slices("web")[0].endpoints[0].conditions.ready is True


def test_headless_endpoints_have_stateful_names_and_zones():
    node = building.thing("Node", "node-1", metadata={"labels": {"topology.kubernetes.io/zone": "a"}})
    headless = building.thing(
        "Service", "db", spec={"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}
    )
    values = (node, headless, building.workload("StatefulSet", "db", serviceName="db"))
    cluster = building.Cluster(*values, nodes=("node-1",))
    (made,) = cluster.slices("db")
    assert (made.endpoints[0].hostname, made.endpoints[0].zone) == ("db-0", "a")
    assert made.metadata.labels["service.kubernetes.io/headless"] == ""


def test_services_and_selectors_that_match_nothing_are_findings():
    wrong = building.workload("Deployment", "web", selector={"matchLabels": {"app": "other"}})
    raw = msgspec.structs.replace(
        wrong, spec=msgspec.structs.replace(wrong.spec, selector=type(wrong.spec.selector)(match_labels={"app": "x"}))
    )
    cluster = building.Cluster(service(selector={"app": "nobody"}), raw)
    assert {"RT0101", "RT0106"} <= set(cluster.codes())
    named = building.Cluster(
        service(ports=[{"port": 80, "targetPort": "grpc"}]), building.workload("Deployment", "web")
    )
    assert "RT0102" in named.codes()


def gateway(name="edge", cls="retic"):
    listener = {"name": "http", "port": 8080, "protocol": "HTTP"}
    return building.thing("Gateway", name, spec={"gatewayClassName": cls, "listeners": [listener]})


def test_a_gateway_of_our_class_has_one_pod_with_an_account_of_its_own():
    cluster = building.Cluster(gateway(), gateway("foreign", "nginx"))
    (pod,) = cluster.pods()
    assert pod.metadata.labels["gateway.networking.k8s.io/gateway-name"] == "edge"
    assert pod.spec.service_account_name == "edge"
    assert cluster.get("ServiceAccount", "edge") is not None
    cluster.apply()
    assert all(pods.ending(pod) for pod in cluster.pods())


def test_without_processes_everything_that_can_run_is_there_with_unknown_readiness():
    values = (
        service(),
        building.workload("Deployment", "web", replicas=2),
        building.workload("StatefulSet", "db", replicas=3),
    )
    given = workloads.identified(values)
    world = workloads.offline(given, nodes=("node-1",), now=building.NOW)
    assert world == workloads.offline(given, nodes=("node-1",), now=building.NOW)
    assert len(world.pods) == 5
    assert {pods.condition(pod, "Ready").status for pod in world.pods.values()} == {"Unknown"}
    made = next(value for key, value in world.objects.items() if key.kind == "EndpointSlice")
    assert {item.conditions.ready for item in made.endpoints} == {None}


def test_without_processes_and_without_pods_controllers_have_worked_too():
    world = workloads.offline(workloads.identified([service()]))
    assert next(value for key, value in world.objects.items() if key.kind == "Service").spec.cluster_ip
    assert {fault.code for fault in world.faults} == {"RT0101"}


def test_a_field_is_said_once_however_many_pods_and_containers_have_it():
    pod = building.template("web")
    first = pod["spec"]["containers"][0] | {"tty": True}
    pod["spec"]["containers"] = [first, first | {"name": "second", "ports": []}]
    cluster = building.Cluster(building.workload("Deployment", "web", replicas=3, pod=pod))
    cluster.ready()
    (fault,) = cluster.world.faults
    assert (fault.code, fault.path) == ("RT0507", "spec.template.spec.containers[0].tty")
    assert str(fault.object) == "Deployment default/web"
    assert fault.message.startswith("app, second ")


def test_missing_references_and_volumes_that_cannot_be_made_are_findings():
    pod = building.template("web", volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}])
    ref = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    pod["spec"]["containers"][0] |= {"env": [ref], "envFrom": [{"configMapRef": {"name": "m", "optional": True}}]}
    web = building.workload("Deployment", "web", pod=pod)
    cluster = building.Cluster(web)
    assert cluster.codes() == ["RT0104", "RT0503"]
    keys = building.thing("Secret", "keys", data={"b": "eA=="})
    cluster.apply(web, keys)
    (fault,) = [fault for fault in cluster.world.faults if fault.code == "RT0104"]
    assert fault.path == "spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef"
    assert "has no key a" in fault.message
    cluster.apply(web, building.thing("Secret", "keys", data={"a": "eA=="}))
    assert cluster.codes() == ["RT0503"]
