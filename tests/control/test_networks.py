"""A cluster's networks, found in its objects: what follows from which of them, and what changes nothing."""

from retic import findings
from retic.mesh import network, tables
from retic.objects import core, meta, pods
from retic.wiring import networks


def node(name, cidr):
    value = core.Node(metadata=meta.Metadata(name=name), spec=core.NodeSpec(pod_cidr=cidr))
    return findings.Ref("Node", "", name), value


def pod(name, address, *, host=False):
    spec = pods.PodSpec(containers=(), host_network=host)
    value = pods.Pod(metadata=meta.Metadata(name=name), spec=spec, status=pods.PodStatus(pod_ip=address))
    return findings.Ref("Pod", "", name), value


def service(name, address):
    value = core.Service(metadata=meta.Metadata(name=name), spec=core.ServiceSpec(cluster_ip=address))
    return findings.Ref("Service", "", name), value


def found(*objects, given=None):
    made = networks.Networks(given or network.Settings(pod_networks=(), service_networks=()), lambda *_: [])
    settings = [change for ref, value in objects for change in made.rows(ref, value)]
    assert not settings or settings[-1].key == tables.ONE
    assert not settings or settings[-1].value == made.settings
    return made.settings.pod_networks, made.settings.service_networks, len(settings)


def test_what_nodes_say_counts_and_else_what_pods_have():
    assert found(pod("a", "10.42.7.5")) == (("10.42.0.0/16",), (), 1)
    assert found(pod("a", "10.9.7.5"), node("n", "10.42.0.0/24")) == (("10.42.0.0/16",), (), 2)
    assert found(pod("a", "192.168.1.1", host=True)) == ((), (), 0)
    assert found(service("s", "10.43.0.1"), service("t", "None")) == ((), ("10.43.0.0/16",), 1)


def test_settings_are_told_when_they_change_only():
    many = [pod(f"p{number}", f"10.42.{number}.1") for number in range(50)]
    assert found(*many) == (("10.42.0.0/16",), (), 1)
    one, other = node("a", "10.42.0.0/24"), node("b", "10.42.1.0/24")
    assert found(one, other, one, (other[0], None)) == (("10.42.0.0/16",), (), 1)
    assert found(one, (one[0], None)) == ((), (), 2)
    assert found(one, node("a", "10.50.0.0/24")) == (("10.50.0.0/16",), (), 2)


def test_networks_that_are_given_win():
    given = network.Settings(pod_networks=("10.0.0.0/8",), service_networks=("10.43.0.0/16",))
    assert found(pod("a", "10.42.7.5"), service("s", "10.99.0.1"), given=given) == (
        ("10.0.0.0/8",), ("10.43.0.0/16",), 0,
    )


def test_of_most_objects_nothing_is_worked_out(monkeypatch):
    """Each working out looks at all nodes: it would be done for each event of a pod."""
    calls = []
    wider = networks.wider
    monkeypatch.setattr(networks, "wider", lambda cidrs: calls.append(1) or wider(cidrs))
    found(*[pod(f"p{number}", f"10.42.0.{number}") for number in range(100)])
    assert len(calls) == 4
