"""Which pods are whose agents."""

import asyncio

import pytest

from retic import findings, objects, wiring
from retic.identity import attest, spiffe
from retic.kube import agents, bound, naming
from retic.mesh import network, tables

NODE = spiffe.Node("cluster.local", "n1")
WEB = spiffe.Gateway("cluster.local", "shop", "web")
ACCOUNTS = agents.Accounts()


def pod(uid="u1", namespace="retic-system", account="retic-node", node="n1", **more):
    metadata = {"namespace": namespace, "name": f"pod-{uid}", "uid": uid, "labels": more.get("labels", {})}
    spec = {"serviceAccountName": account, "nodeName": node, "hostNetwork": True, "containers": [{"name": "c"}]}
    return objects.decode({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
                           "status": {"phase": more.get("phase", "Running")}})  # fmt: skip


@pytest.fixture
def db():
    return wiring.mesh(network.Settings(enrolment="labelled"))


def learn(db, value):
    ref = findings.Ref("Pod", value.metadata.namespace, value.metadata.name)
    db.commit(tables.changes(ref, value))


@pytest.mark.parametrize(
    ("value", "client", "words"),
    [
        (pod(), NODE, ""),
        (pod(node="n2"), NODE, "runs on node n2"),
        (pod(account="default"), NODE, "runs as retic-system/default: node/n1 is retic-system/retic-node"),
        (pod(namespace="shop"), NODE, "runs as shop/retic-node"),
        (pod(namespace="shop", account="web-retic", labels={tables.GATEWAY_LABEL: "web"}), WEB, ""),
        (pod(namespace="shop", account="web-retic"), WEB, "is none of gateway/shop/web"),
        (pod(namespace="shop", account="web-retic", labels={tables.GATEWAY_LABEL: "other"}), WEB, "is none of"),
        (pod(namespace="bank", account="web-retic", labels={tables.GATEWAY_LABEL: "web"}), WEB, "runs as bank/"),
        (pod(namespace="shop", account="cart", labels={tables.GATEWAY_LABEL: "web"}), WEB, "runs as shop/cart"),
    ],
)
def test_whose_agent_a_pod_is(db, value, client, words):
    learn(db, value)
    found = db.ask(agents.by_uid, "u1")
    said = agents.mismatch(found, client, ACCOUNTS)
    assert words in said
    assert bool(said) == bool(words)
    fault = bound.Bound(wiring.Holders(db), db, "cluster.local").fault(attest.Bearer(client.client_id, "u1"))
    assert fault == said


def test_a_gateway_with_a_name_that_is_no_label(db):
    """The account's name and the label's value are cut; a hash keeps the gateway apart from others."""
    long = "web." + "x" * 100
    client = spiffe.Gateway("cluster.local", "shop", long)
    learn(db, pod(namespace="shop", account=naming.child(long), labels={tables.GATEWAY_LABEL: naming.label(long)}))
    found = db.ask(agents.by_uid, "u1")
    assert agents.mismatch(found, client, ACCOUNTS) == ""
    other = spiffe.Gateway("cluster.local", "shop", long + "y")
    assert "runs as" in agents.mismatch(found, other, ACCOUNTS)


def test_another_account_by_a_setting(db):
    learn(db, pod(namespace="mesh", account="agent"))
    assert agents.mismatch(db.ask(agents.by_uid, "u1"), NODE, agents.Accounts(node="mesh/agent")) == ""


def test_pods_that_are_none(db):
    learn(db, pod(node=None))
    assert db.ask(agents.by_uid, "u1") is None, "bound to no node"
    for phase in ("Succeeded", "Failed"):
        learn(db, pod(phase=phase))
        assert db.ask(agents.by_uid, "u1") is None, phase
    checked = bound.Bound(wiring.Holders(db), db, "cluster.local")
    assert checked.fault(attest.Bearer("node/n1", "u1")) == "the pod that the certificate is bound to is gone"
    assert checked.fault(attest.Bearer("node/n1", "")) == "the certificate is bound to no pod: enrol again"


async def test_news_are_waited_for(db, monkeypatch):
    waiting = asyncio.create_task(agents.wait(db, "u1"))
    learn(db, pod())
    assert (await waiting).name == "pod-u1"
    monkeypatch.setattr(agents, "NEWS_SECONDS", 0.05)
    assert await agents.wait(db, "u2") is None
