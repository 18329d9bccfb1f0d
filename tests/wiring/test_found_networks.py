"""A cluster's networks, found in its objects: wide enough that nothing changes when a node or a Service comes."""

import pytest

from retic import findings, graph
from retic.mesh import network, tables
from retic.objects import core, meta, pods
from retic.wiring import networks

GIVEN = network.Settings(pod_networks=(), service_networks=())


def node(name, *cidrs):
    return core.Node(metadata=meta.Metadata(name=name), spec=core.NodeSpec(pod_cidrs=cidrs))


def pod(name, address):
    return pods.Pod(
        metadata=meta.Metadata(name=name, namespace="shop"),
        spec=pods.PodSpec(containers=()),
        status=pods.PodStatus(pod_ip=address),
    )


def service(name, address):
    spec = core.ServiceSpec(cluster_ip=address)
    return core.Service(metadata=meta.Metadata(name=name, namespace="shop"), spec=spec)


def put(found, value):
    """What the object changes of the settings: None when nothing."""
    ref = findings.Ref(type(value).__name__, value.metadata.namespace, value.metadata.name)
    changes = [c for c in found.rows(ref, value) if isinstance(c, graph.Set) and c.table is tables.SETTINGS]
    return changes[0].value if changes else None


def test_nodes_name_them_and_one_more_node_changes_nothing():
    found = networks.Networks(GIVEN)
    assert put(found, node("a", "10.42.0.0/24")).pod_networks == ("10.42.0.0/16",)
    assert put(found, node("b", "10.42.7.0/24")) is None
    assert put(found, node("c", "10.50.7.0/24", "fd00::/64")).pod_networks == ("10.42.0.0/16", "10.50.0.0/16")


def test_where_no_node_names_any_pods_do_and_a_pod_that_goes_takes_nothing_along():
    found = networks.Networks(GIVEN)
    assert put(found, pod("a", "172.20.3.4")).pod_networks == ("172.20.0.0/16",)
    assert found.rows(findings.Ref("Pod", "shop", "a"), None)[1:] == []
    assert put(found, node("a", "10.42.0.0/24")).pod_networks == ("10.42.0.0/16",)


def test_services_by_what_the_cluster_names_and_by_what_lies_outside():
    found = networks.Networks(GIVEN, ranges=("10.96.0.0/12",))
    assert found.settings.service_networks == ("10.96.0.0/12",)
    assert put(found, service("inside", "10.107.3.4")) is None
    assert put(found, service("headless", "None")) is None
    assert put(found, service("outside", "10.43.0.1")).service_networks == ("10.96.0.0/12", "10.43.0.0/16")


@pytest.mark.parametrize("value", [node("a", "10.42.0.0/24"), service("a", "10.43.0.1"), pod("a", "10.42.0.7")])
def test_what_is_set_wins(value):
    given = network.Settings(pod_networks=("10.1.0.0/16",), service_networks=("10.2.0.0/16",))
    assert put(networks.Networks(given), value) is None


def test_other_settings_are_taken_over_and_the_networks_stay():
    found = networks.Networks(GIVEN)
    put(found, node("a", "10.42.0.0/24"))
    (change,) = found.change(network.Settings(pod_networks=(), service_networks=(), mode="PERMISSIVE"))
    assert (change.value.mode, change.value.pod_networks) == ("PERMISSIVE", ("10.42.0.0/16",))
    assert found.change(network.Settings(pod_networks=(), service_networks=(), mode="PERMISSIVE")) == []
