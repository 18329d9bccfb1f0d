"""Which connections a kubelet makes to a pod, and from which addresses."""

import pytest
from test_enrolment import mesh

from retic.mesh import network, nodes, probes, tables
from retic.objects import core, meta, pods


def of(*containers, init=()):
    spec = pods.PodSpec(containers=containers, init_containers=init, node_name="node-1")
    about = meta.Metadata(name="p", namespace="shop", uid="u")
    return mesh(pods.Pod(metadata=about, spec=spec)).ask(probes.of, tables.Key("shop", "p"))


def container(**fields):
    return pods.Container(name="c", ports=(pods.ContainerPort(8080, name="web"),), **fields)


def get(port, path=None, **more):
    return pods.HTTPGetAction(port=port, path=path, **more)


def test_every_kind_in_every_place():
    found = of(
        container(
            startup_probe=pods.Probe(tcp_socket=pods.TCPSocketAction(port="web")),
            liveness_probe=pods.Probe(grpc=pods.GRPCAction(port=9000)),
            readiness_probe=pods.Probe(http_get=get("web", "/ready")),
            lifecycle=pods.Lifecycle(
                post_start=pods.LifecycleAction(http_get=get(8081, "/started")),
                pre_stop=pods.LifecycleAction(tcp_socket=pods.TCPSocketAction(port=8082)),
            ),
        ),
        init=(container(restart_policy="Always", startup_probe=pods.Probe(http_get=get(8083, scheme="HTTPS"))),),
    )
    assert found.gets == (
        probes.Get(8080, "/ready", False), probes.Get(8081, "/started", False), probes.Get(8083, "/", True),
    )  # fmt: skip
    assert (found.grpc, found.tcp, found.ports) == ((9000,), (8080,), (8080, 8081, 8083, 9000))


@pytest.mark.parametrize("action", [get("other", "/"), get(8080, "/", host="192.0.2.1")])
def test_what_the_kubelet_cannot_or_does_not_ask_of_this_pod(action):
    assert of(container(readiness_probe=pods.Probe(http_get=action))) == probes.Probes()


def test_there_is_no_such_pod():
    assert mesh().ask(probes.of, tables.Key("shop", "p")) == probes.Probes()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"), ("/", "/"), ("healthz", "/healthz"), ("/a?b=c&d=%20", "/a?b=c&d=%20"), ("/a b", "/a%20b"),
        ("/ä", "/%C3%A4"), ("/a#b", "/a"), ("/a?b#c", "/a?b"), ("/%2e", "/%2e"),
        ("/a/../b//c;d=[e]", "/a/../b//c;d=[e]"), ('/"<>', "/%22%3C%3E"), ("//h/x", "/x"), ("/!*'()", "/!*'()"),
        ("/a'b c", "/a%27b%20c"), ("?q=1", "/?q=1"),
    ],
)  # fmt: skip
def test_what_stands_in_the_request_line(path, target):
    """As Go's net/url writes it, which kubelets use."""
    assert probes.target(path) == target


def test_the_addresses_of_a_node():
    node = core.Node(
        metadata=meta.Metadata(name="node-1", annotations={tables.PROBE_SOURCES: " 10.42.0.9,,x"}),
        spec=core.NodeSpec(pod_cidr="10.42.0.0/24", pod_cidrs=("10.42.0.0/24", "fd00::/64", "junk", "10.9.9.9/32")),
        status=core.NodeStatus((core.NodeAddress("InternalIP", "192.168.0.2"), core.NodeAddress("Hostname", "n"))),
    )
    db = mesh(node)
    assert db.ask(nodes.sources, "node-1") == ("10.42.0.1", "10.42.0.9", "192.168.0.2")
    assert db.ask(nodes.sources, "node-2") == ()


def test_networks_are_joined_to_the_fewest():
    assert network.aggregate(["10.42.1.0/24", "10.42.0.0/24", "10.42.0.7/32", "10.50.0.1/16", "fd00::/64", ""]) == (
        "10.42.0.0/23", "10.50.0.0/16",
    )  # fmt: skip
    assert network.aggregate([]) == ()
