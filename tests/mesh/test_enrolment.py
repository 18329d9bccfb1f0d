"""Which pods are meant for the mesh, which are captured, what a change of either moves, and what a node may see."""

import msgspec
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from mesh_budget import address, changes, service, slice_of
from mesh_budget import pod as made_pod

from retic import graph, wiring, xds
from retic.envoy import clusters, names, resources
from retic.mesh import network, tables, workloads
from retic.mesh import service as values
from retic.objects import core, meta

NODE = xds.Client("node/node-1")
LABELLED = network.Settings(enrolment="labelled", mode="PERMISSIVE")
replace = msgspec.structs.replace


def namespace(name="shop", label="enabled"):
    labels = {tables.MESH_LABEL: label} if label else {}
    return core.Namespace(metadata=meta.Metadata(name=name, labels=labels))


def pod(i=0, replica=0, *, captured=None, namespace="shop", labels=None, node="node-1", **spec):
    found = made_pod(i, replica)
    told = (meta.Condition(tables.CAPTURED, "True" if captured else "False"),) if captured is not None else ()
    ready = meta.Condition("Ready", "True")
    return replace(
        found,
        metadata=replace(found.metadata, namespace=namespace, labels=labels or {}),
        spec=replace(found.spec, node_name=node, **spec),
        status=replace(found.status, conditions=(ready, *told)),
    )


def mesh(*given, settings=LABELLED):
    return wiring.offline(given, settings)


def commit(db, *given):
    db.commit([row for value in given for row in changes(value)])


def ask(db, name, client=NODE):
    type_url = names.parse(name).type_url
    return db.ask(resources.resource, resources.scope(type_url, name, client))


def watched(db, *wanted, client=NODE):
    """Watches of these names, and the names that were news since."""
    news = []
    keys = [resources.scope(names.parse(name).type_url, name, client) for name in wanted]
    watches = [
        db.watch(resources.resource, key, ready=lambda _, name=key.name: news.append(name)) for key in keys
    ]
    for watch in watches:
        assert watch.latest is not None
    news.clear()
    return watches, news


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ((namespace(), pod()), values.Role.WORKLOAD),
        ((pod(),), values.Role.OUTSIDE),
        ((namespace(label=""), pod()), values.Role.OUTSIDE),
        ((namespace(label="disabled"), pod()), values.Role.OUTSIDE),
        ((namespace(label="true"), pod()), values.Role.OUTSIDE),
        ((namespace(), pod(labels={tables.MESH_LABEL: "disabled"})), values.Role.OUTSIDE),
        ((namespace(label=""), pod(labels={tables.MESH_LABEL: "enabled"})), values.Role.OUTSIDE),
        ((namespace(), pod(host_network=True)), values.Role.STRANGER),
        ((namespace("kube-system"), pod(namespace="kube-system")), values.Role.OUTSIDE),
        ((namespace("retic-system"), pod(namespace="retic-system")), values.Role.OUTSIDE),
    ],
)
def test_who_is_meant_for_the_mesh(given, role):
    db = mesh(*given)
    found = db.ask(workloads.workload, tables.Key(given[-1].metadata.namespace, "s0-0"))
    assert (found.role, found.captured) == (role, False)
    assert (found in db.ask(workloads.on_node, "node-1")) is (role is values.Role.WORKLOAD)


def test_a_finished_pod_is_nobody():
    over = pod(captured=True)
    db = mesh(namespace(), replace(over, status=replace(over.status, phase="Succeeded")))
    assert db.ask(workloads.on_node, "node-1") == ()
    assert db.ask(workloads.accounts_on_node, "node-1") == frozenset()


def test_where_all_are_enrolled_labels_and_conditions_say_nothing():
    db = mesh(pod(labels={tables.MESH_LABEL: "disabled"}), settings=network.Settings())
    found = db.ask(workloads.workload, tables.Key("shop", "s0-0"))
    assert (found.role, found.secured) == (values.Role.WORKLOAD, True)


def test_a_pod_that_is_captured_changes_its_endpoint_and_no_cluster():
    db = mesh(namespace(), service(0), pod(0, 0), pod(0, 1), slice_of(0, ready=True))
    cluster, endpoints = names.virtual("shop", "10.96.0.1:80"), names.endpoints("shop", "s0", 80)
    listeners = [names.inbound("uid-0-0"), names.outbound("uid-0-0"), names.PODS]
    before = db.ask(resources.wanted, resources.Names(names.LISTENER, "node/node-1"))
    watches, news = watched(db, cluster, endpoints, names.routes("shop"), *listeners)
    for captured in (True, False, True):
        commit(db, pod(0, 0, captured=captured))
        assert news == [endpoints]
        news.clear()
    # Nor does the label of the namespace: what is captured is reached as before, until its agent lets go of it.
    commit(db, namespace(label=""))
    assert news == [names.PODS]
    commit(db, pod(0, 0, captured=False))
    assert sorted(news) == sorted([names.PODS, endpoints, *listeners[:2]])
    assert db.ask(resources.wanted, resources.Names(names.LISTENER, "node/node-1")) != before
    for watch in watches:
        watch.close()


def test_a_pod_keeps_its_listeners_until_its_agent_has_let_go():
    db = mesh(namespace(), pod(captured=True))
    account = values.Account("shop", "s0")
    listed = resources.Names(names.LISTENER, "node/node-1")
    commit(db, namespace(label=""))
    assert names.inbound("uid-0-0") in db.ask(resources.wanted, listed)
    assert db.ask(workloads.accounts_on_node, "node-1") == {account}
    by_address = names.address("shop", address(0, 0))
    assert ask(db, by_address) == ask(mesh(namespace(), pod(captured=True)), by_address), "by mTLS as before"
    open_to_all = ask(mesh(namespace(), pod(captured=True)), names.filter_slot("plaintext", "uid-0-0"))
    db.commit([graph.Set(tables.SETTINGS, tables.ONE, replace(LABELLED, mode="STRICT"))])
    assert ask(db, names.filter_slot("plaintext", "uid-0-0")) == open_to_all, "whatever the mode"
    commit(db, pod(captured=False))
    assert ask(db, by_address) == ask(mesh(namespace(label=""), pod()), by_address), "now in plaintext"
    assert db.ask(resources.wanted, listed) == {names.MIRRORS}
    assert ask(db, names.inbound("uid-0-0")) is None
    assert db.ask(workloads.accounts_on_node, "node-1") == frozenset()


def test_a_pod_turning_ready_changes_nothing_that_agents_are_told():
    ready = pod(captured=True)
    db = mesh(namespace(), ready)
    watches, news = watched(db, names.PODS)
    before = db.counters
    conditions = tuple(replace(c, status="False") if c.type == "Ready" else c for c in ready.status.conditions)
    commit(db, replace(ready, status=replace(ready.status, conditions=conditions, phase="Running")))
    assert ((db.counters - before).run, news) == (0, [])
    for watch in watches:
        watch.close()


VIEWS = [names.routes("shop"), names.virtual("shop", "10.96.0.1:80"), names.address("shop", address(0, 0)),
         names.service("shop", "shop", "s0", 80), names.grpc("shop", "shop", "s0", 80)]  # fmt: skip


def nothing(name):
    """What a client is told of a name that means nothing to it."""
    if names.parse(name).type_url != names.CLUSTER:
        return None
    return xds.encode(names.CLUSTER, name, clusters.nowhere(name).SerializeToString(deterministic=True))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    "client", ["node/node-2", "node/", "gateway/other/g", "gateway/shop-2/g", "gateway/", "gateway//", "else/x"]
)
def test_nobody_sees_what_only_another_nodes_namespace_sees(name, client):
    db = mesh(namespace(), service(0), pod(0, 0), pod(0, 1), slice_of(0, ready=True), settings=network.Settings())
    seen = ask(db, name)
    assert seen != nothing(name)
    assert ask(db, name, xds.Client(client)) == nothing(name)
    assert ask(db, name, xds.Client("gateway/shop/g")) is not None
    type_url = names.parse(name).type_url
    assert db.ask(resources.companions, resources.scope(type_url, name, xds.Client(client))) == ()


def test_a_gateway_without_capabilities_can_connect():
    """It marks no socket, which a process without CAP_NET_ADMIN may not; a node's proxy marks every one."""
    db = mesh(namespace(), service(0), pod(0, 0), pod(0, 1), slice_of(0, ready=True), settings=network.Settings())
    found = 0
    for name in VIEWS:
        if names.parse(name).type_url != names.CLUSTER:
            continue
        marks = {}
        for client in (NODE, xds.Client("gateway/shop/g")):
            sent = discovery_pb2.Resource.FromString(ask(db, name, client).resource)
            cluster = cluster_pb2.Cluster.FromString(sent.resource.value)
            marks[client.id] = len(cluster.upstream_bind_config.socket_options)
        assert marks == {NODE.id: marks[NODE.id], "gateway/shop/g": 0}
        found += marks[NODE.id]
    assert found


@pytest.mark.parametrize("name", VIEWS)
def test_a_name_asked_for_before_the_pod_comes_is_answered_anew(name):
    db = mesh(service(0), pod(0, 0), pod(0, 1), slice_of(0, ready=True), settings=network.Settings())
    key = resources.scope(names.parse(name).type_url, name, xds.Client("node/node-2"))
    with db.watch(resources.resource, key) as watch:
        assert watch.latest == nothing(name)
        commit(db, pod(7, 0, node="node-2"))
        assert watch.latest == ask(db, name) != nothing(name)
        before = db.counters
        commit(db, pod(7, 1, node="node-1"), pod(8, 0, node="node-2", namespace="other"))
        assert (db.counters - before).run <= 2, "others that come and go elsewhere cost next to nothing"
        commit(db, pod(7, 0, node="node-2", host_network=True))
        assert watch.latest == nothing(name)


def test_networks_that_grow_change_the_tables_of_listeners_only():
    first = network.Settings(pod_networks=network.aggregate(["10.42.0.0/24"]), service_networks=("10.43.0.0/16",))
    grown = replace(first, pod_networks=network.aggregate(["10.42.0.0/24", "10.42.1.0/24", "fd00::/64", "junk"]))
    assert grown.pod_networks == ("10.42.0.0/23",)
    db = mesh(pod(), settings=first)
    for name in (names.outbound("uid-0-0"), names.opaque("uid-0-0"), names.inbound("uid-0-0")):
        db.commit([graph.Set(tables.SETTINGS, tables.ONE, first)])
        before = listener(ask(db, name))
        db.commit([graph.Set(tables.SETTINGS, tables.ONE, replace(grown, mode="PERMISSIVE"))])
        after = listener(ask(db, name))
        assert before != after
        before.ClearField("filter_chain_matcher")
        after.ClearField("filter_chain_matcher")
        assert before == after


def listener(encoded):
    from envoy.config.listener.v3 import listener_pb2
    from envoy.service.discovery.v3 import discovery_pb2

    found = listener_pb2.Listener()
    discovery_pb2.Resource.FromString(encoded.resource).resource.Unpack(found)
    return found
