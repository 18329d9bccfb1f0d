"""Reports of node agents over mTLS, and what they make of pods at a real API server."""

import json

import grpc
import grpc.aio
import kube_rig
import pytest

from retic import findings
from retic.identity import spiffe
from retic.kube import captured as decisions
from retic.sources import api

PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: captured}
---
apiVersion: v1
kind: Pod
metadata: {name: here, namespace: captured}
spec: {nodeName: one, containers: [{name: app, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere, namespace: captured}
spec: {nodeName: two, containers: [{name: app, image: none}]}
"""


def node(name):
    return spiffe.client("cluster.local", f"node/{name}")


async def report(rig, identity, *, agent="", **said):
    call = rig.channel(identity, agent).unary_unary("/retic.v1.Node/Report")
    return json.loads(await call(json.dumps(said).encode(), timeout=30))


async def pod(rig, name):
    return await rig.kube.get(f"/api/v1/namespaces/captured/pods/{name}")


async def known(rig):
    async def both():
        return len([ref for ref in rig.store.objects if ref.namespace == "captured" and ref.kind == "Pod"]) == 2

    await kube_rig.until(both)


async def captured(rig, name, wanted):
    async def has():
        found = await pod(rig, name)
        return kube_rig.condition(found["status"].get("conditions"), "retic.dev/Captured") == wanted

    await kube_rig.until(has)


async def test_pods_are_captured_and_released_on_their_own_nodes_word(rig):
    await rig.apply(PODS)
    here, elsewhere = [(await pod(rig, name))["metadata"]["uid"] for name in ("here", "elsewhere")]

    await known(rig)
    assert await report(rig, node("one"), captured=[here, elsewhere], agent="a") == {}
    await captured(rig, "here", ("True", "Captured"))
    assert rig.made.captured.refused == 1
    assert kube_rig.condition((await pod(rig, "elsewhere"))["status"].get("conditions"), "retic.dev/Captured") is None
    # A second agent of the node, which has nothing yet, takes nothing away.
    await report(rig, node("one"), captured=[], agent="b")
    await rig.made.captured.queue.quiet()
    await captured(rig, "here", ("True", "Captured"))
    await report(rig, node("one"), captured=[here], agent="b")
    await report(rig, node("one"), captured=[], agent="b")
    await captured(rig, "here", ("False", "Released"))

    async def listed():
        try:
            found = await rig.kube.get("/api/v1/namespaces/retic-system/configmaps/retic-nodes")
        except kube_rig.api.ApiError:
            return None
        return json.loads(found["data"].get("one", "{}")).get("captured") == 0

    await kube_rig.until(listed)


@pytest.mark.parametrize(("identity", "code"), [
    (spiffe.client("cluster.local", "gateway/a/b"), grpc.StatusCode.PERMISSION_DENIED),
    (spiffe.Workload("cluster.local", "a", "b"), grpc.StatusCode.PERMISSION_DENIED),
    (spiffe.Control("cluster.local"), grpc.StatusCode.PERMISSION_DENIED),
])  # fmt: skip
async def test_only_nodes_report(rig, identity, code):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await report(rig, identity, captured=[])
    assert refused.value.code() is code


async def test_what_is_no_report_is_refused(rig):
    call = rig.channel(node("one")).unary_unary("/retic.v1.Node/Report")
    for payload in (b"", b"[]", b'{"captured": 1}', json.dumps({"captured": ["u"] * 5000}).encode()):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(payload, timeout=30)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_another_replica_has_heard_since_is_not_overruled(rig, monkeypatch):
    """Reports of one agent reach now this replica, now another, which writes what it heard."""
    await rig.apply(PODS)
    here = (await pod(rig, "here"))["metadata"]["uid"]
    await known(rig)
    status = "/api/v1/namespaces/captured/pods/here/status"
    one = {"type": "retic.dev/Captured", "lastTransitionTime": "2026-11-26T00:00:00Z", "message": ""}

    async def elsewhere(value):
        said = {"status": {"conditions": [{**one, "status": value, "reason": "Elsewhere"}]}}
        await rig.kube.patch(status, said, kind="strategic")

        async def seen():
            kept = rig.store.objects[findings.Ref("Pod", "captured", "here")]
            return any(c.type == one["type"] and c.status == value for c in kept.status.conditions)

        await kube_rig.until(seen)
        await rig.made.captured.queue.quiet()
        await captured(rig, "here", (value, "Elsewhere"))

    monkeypatch.setattr(decisions, "SETTLED", 0.0)
    await report(rig, node("one"), captured=[], agent="a")
    await elsewhere("True")
    await report(rig, node("one"), captured=[here], agent="a")
    await elsewhere("False")


async def test_a_report_is_answered_once_pods_say_so(rig):
    await rig.apply(PODS)
    here = (await pod(rig, "here"))["metadata"]["uid"]
    await known(rig)
    await report(rig, node("one"), captured=[here])
    assert kube_rig.condition((await pod(rig, "here"))["status"]["conditions"], "retic.dev/Captured") == (
        "True", "Captured"
    )  # fmt: skip
    # By another agent of the node, as after a restart, and at once.
    await report(rig, node("one"), captured=[], released=[here], agent="b")
    assert kube_rig.condition((await pod(rig, "here"))["status"]["conditions"], "retic.dev/Captured") == (
        "False", "Released"
    )  # fmt: skip


class Behind:
    """Objects as they were: no event comes through."""

    def __init__(self, kept):
        self.objects = dict(kept.objects)


async def test_a_report_counts_before_what_was_written_has_come_back(rig, monkeypatch):
    await rig.apply(PODS)
    here = (await pod(rig, "here"))["metadata"]["uid"]
    await known(rig)
    await report(rig, node("one"), captured=[], released=[here])
    await captured(rig, "here", ("False", "Released"))

    async def heard():
        return rig.store.objects[findings.Ref("Pod", "captured", "here")].status.conditions

    await kube_rig.until(heard)
    monkeypatch.setattr(rig.made.captured, "_kept", Behind(rig.store))
    monkeypatch.setattr(rig.made.captured, "changed", lambda refs: None)
    for said, wanted in (({"captured": [here]}, ("True", "Captured")), ({"captured": []}, ("False", "Released"))) * 2:
        await report(rig, node("one"), **said)
        assert kube_rig.condition((await pod(rig, "here"))["status"]["conditions"], "retic.dev/Captured") == wanted


async def test_a_report_that_cannot_be_written_is_told_again(rig, monkeypatch):
    await rig.apply(PODS)
    here = (await pod(rig, "here"))["metadata"]["uid"]
    await known(rig)

    async def silent(*_, **__):
        raise api.UnreachableError("the API server fell silent")

    monkeypatch.setattr(rig.made.captured._api, "patch", silent)
    with pytest.raises(grpc.aio.AioRpcError, match="fell silent") as refused:
        await report(rig, node("one"), captured=[here])
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
