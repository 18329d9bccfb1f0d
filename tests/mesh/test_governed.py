"""Which policies concern the mesh, on a cluster where pods are enrolled by their namespace's label."""

import pytest
import yaml

from retic import findings, objects, wiring
from retic.mesh import governed, network

LABELLED = network.Settings(enrolment="labelled")
MINE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {retic.dev/mesh: enabled}}"
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: CLASS, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def concerned(text, kind, namespace="shop"):
    given = [objects.decode(each) for each in yaml.safe_load_all(text) if each]
    return wiring.offline(given, LABELLED).ask(governed.is_concerned, findings.Ref(kind, namespace, "one"))


@pytest.mark.parametrize("kind", governed.POLICIES)
def test_a_policy_concerns_the_mesh_where_its_namespace_does(kind):
    assert not concerned("", kind)
    assert concerned(MINE, kind)
    assert not concerned(MINE, kind, "office")
    assert concerned("", kind, LABELLED.system_namespace), "it is for the whole mesh"


def test_a_gateway_of_ours_brings_its_namespace_in():
    assert concerned(GATEWAY.replace("CLASS", "retic"), "AuthorizationPolicy")
    assert not concerned(GATEWAY.replace("CLASS", "theirs"), "AuthorizationPolicy")


def test_every_kind_is_read():
    assert set(governed.WITH_STATUS) <= objects.KINDS.keys()
