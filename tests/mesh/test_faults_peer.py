"""PeerAuthentications that say something to nobody are findings; others are none."""

import pytest

from retic import findings, wiring
from retic.mesh import faults
from retic.objects import core, meta, pods, security


def pod(name="web-1", labels=None, ports=(8080,)):
    containers = (pods.Container(name="c", ports=tuple(pods.ContainerPort(container_port=p) for p in ports)),)
    metadata = meta.Metadata(name=name, namespace="shop", uid=name, labels=labels or {"app": "web"})
    return pods.Pod(metadata=metadata, spec=pods.PodSpec(containers=containers, node_name="node-1"))


def policy(name="it", namespace="shop", labels=None, ports=(), created=None):
    return security.PeerAuthentication(
        metadata=meta.Metadata(name=name, namespace=namespace, creation_timestamp=created),
        spec=security.PeerAuthenticationSpec(
            selector=security.WorkloadSelector(match_labels=labels) if labels is not None else None,
            mtls=security.MutualTLS("STRICT"),
            port_level_mtls=dict.fromkeys(ports, security.MutualTLS("DISABLE")),
        ),
    )


def said(value, *others):
    db = wiring.offline([value, *others])
    ref = findings.Ref("PeerAuthentication", value.metadata.namespace, value.metadata.name)
    return [(f.code, f.path) for f in db.ask(faults.of, ref)]


WEB = {"app": "web"}
SERVICE = core.Service(
    metadata=meta.Metadata(name="web", namespace="shop"),
    spec=core.ServiceSpec(selector=WEB, ports=(core.ServicePort(port=80, target_port=9090),)),
)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (policy(), []),
        (policy(labels=WEB, ports=("8080",)), []),
        (policy(labels=WEB, ports=("9090",)), []),
        (policy(namespace="retic-system"), []),
        (policy(namespace="empty", labels={"app": "x"}), []),
        (policy(ports=("8080",)), [("RT0421", "spec.portLevelMtls")]),
        (policy(labels={}, ports=("8080",)), [("RT0421", "spec.portLevelMtls")]),
        (policy(labels=WEB, ports=("http",)), [("RT0422", "spec.portLevelMtls[http]")]),
        (policy(labels=WEB, ports=("0",)), [("RT0422", "spec.portLevelMtls[0]")]),
        (policy(labels=WEB, ports=("08080",)), [("RT0422", "spec.portLevelMtls[08080]")]),
        (policy(labels=WEB, ports=("65536",)), [("RT0422", "spec.portLevelMtls[65536]")]),
        (policy(labels=WEB, ports=("80",)), [("RT0423", "spec.portLevelMtls[80]")]),
        (policy(namespace="retic-system", labels=WEB), [("RT0424", "spec.selector")]),
        (policy(labels={"app": "shop"}), [("RT0425", "spec.selector.matchLabels")]),
    ],
)  # fmt: skip
def test_by_itself(value, wanted):
    assert said(value, pod(), SERVICE) == wanted


def test_the_port_of_pods_that_say_nothing_of_ports_is_believed():
    assert said(policy(labels=WEB, ports=("80",)), pod(ports=())) == []


def test_of_two_for_one_scope_the_younger_is_told():
    old, new = policy("b", created="2026-01-01T00:00:00Z"), policy("a", created="2026-01-02T00:00:00Z")
    assert (said(old, new), said(new, old)) == ([], [("RT0426", "spec")])
    assert said(policy("a"), policy("b")) == []
    assert said(policy("b"), policy("a")) == [("RT0426", "spec")], "without an age, the first by name counts"
    assert said(policy("b"), policy("a", namespace="other")) == []
    assert said(policy("b"), policy("a", labels=WEB), pod()) == []


def test_of_two_that_select_a_pod_the_younger_is_told():
    narrow = policy("b", labels={**WEB, "tier": "x"})
    both = pod("web-2", labels={**WEB, "tier": "x"})
    assert said(narrow, policy("a", labels=WEB), pod(), both) == [("RT0426", "spec.selector")]
    assert said(policy("a", labels=WEB), narrow, pod(), both) == []
    assert said(narrow, policy("a", labels={"app": "else"}), both) == []
