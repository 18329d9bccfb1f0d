"""A policy with a part that cannot be read is refused where it is written, if its namespace is the mesh's."""

import pytest

from retic import wiring
from retic.kube import judge
from retic.mesh import network
from retic.objects import core, meta

OURS = core.Namespace(metadata=meta.Metadata(name="shop", labels={"retic.dev/mesh": "enabled"}))
THEIRS = core.Namespace(metadata=meta.Metadata(name="office"))
GOOD = {"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}
TYPO = {"rules": [{"from": [{"source": {"namspaces": ["shop"]}}]}]}


def policy(spec, namespace="shop", kind="AuthorizationPolicy", **labels):
    about = {"name": "p", "namespace": namespace, "labels": labels}
    return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": about, "spec": spec}


def refused(new, old=None):
    mesh = wiring.offline([OURS, THEIRS], network.Settings(enrolment="labelled"))
    return [one.code for one in judge.judge(mesh, new, old).refusals]


@pytest.mark.parametrize(("value", "codes"), [
    (policy(GOOD), []), (policy(TYPO), ["RT0433"]), (policy({"action": "DNEY"}), ["RT0011"]),
    (policy({"rules": {}}), ["RT0004"]), (policy({"targetRefs": [{"kind": "Servce", "name": "x"}]}), ["RT0405"]),
    (policy({"mtls": {"mod": "STRICT"}}, kind="PeerAuthentication"), ["RT0433"]),
    (policy({"jwtRules": [{"jwks": "x"}]}, kind="RequestAuthentication"), ["RT0007"]),
    (policy(TYPO, "office"), []), (policy({"rules": {}}, "office"), []), (policy(TYPO, "retic-system"), ["RT0433"]),
])  # fmt: skip
def test_refused_is_what_only_its_author_can_mend(value, codes):
    assert refused(value) == codes


def test_one_that_was_admitted_before_can_be_labelled_and_mended():
    assert refused(policy(TYPO, more="yes"), policy(TYPO)) == []
    assert refused(policy(GOOD), policy(TYPO)) == []
    assert refused(policy(TYPO), policy(GOOD)) == ["RT0433"]
