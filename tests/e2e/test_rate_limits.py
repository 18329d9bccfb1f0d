"""Rate limits through real Envoys: exact counts, apart by who calls, edited while connections last; and global ones
that are counted in memory."""

import collections
import os
import pathlib
import shutil
import signal
import subprocess

import live
import pod_session
import pytest
import rough_load as load
from limited import first, statuses

from retic.testing import outsider, running, wait

STEADY = ("total_filter_chains_draining", "total_listeners_draining", "listener_removed", "listener_modified")
HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits") / "manifests"
    shutil.copytree(pathlib.Path(__file__).parent / "limits", folder)
    with running.mesh(folder, nodes=2) as started:
        yield started


@pytest.fixture(scope="module")
def a(mesh):
    """A pod of account a on node-1."""
    with pod_session.Pod(mesh, "a") as pod:
        yield pod


@pytest.fixture(scope="module")
def b(mesh):
    """A pod of account b on node-2."""
    with pod_session.Pod(mesh, "b") as pod:
        yield pod


def limit(name, *limits, **where):
    return {
        "apiVersion": "retic.dev/v1alpha1", "kind": "RateLimit", "metadata": {"name": name},
        "spec": {**(where or {"targetRefs": [{"kind": "Service", "name": "near"}]}), "limits": list(limits)},
    }  # fmt: skip


def test_each_identity_has_its_own(a, b):
    assert statuses(a, "http://near/each", 7) == first(5, 7)
    assert statuses(b, "http://near/each/of/them", 7) == first(5, 7)
    # Another way to write it is no way around it.
    assert statuses(b, "http://near//each", 2) == statuses(b, "http://near/%65ach", 2) == first(0, 2)
    assert statuses(b, "http://near/eachother", 2) == first(2, 2)


def test_each_value_of_a_header_has_its_own(a, b):
    assert statuses(a, "http://near/user/x", 3, headers={"x-user": "1"}) == first(3, 3)
    # Several matches are one bucket, and several callers too.
    assert statuses(b, "http://near/also", 3, headers={"x-user": "1"}) == first(1, 3)
    assert statuses(b, "http://near/also/not", 2, headers={"x-user": "1"}) == first(2, 2)
    assert statuses(b, "http://near/user", 5, headers={"x-user": "2"}) == first(4, 5)
    # Without one, and with values too long to be kept, there is one for all.
    assert statuses(a, "http://near/user", 5) == first(4, 5)
    assert statuses(a, "http://near/user", 2, headers={"x-user": ""}) == first(0, 2)
    long = [a.http("http://near/user", headers={"x-user": f"{number}" * 300})["status"] for number in range(5)]
    assert long == first(4, 5)


def test_both_together_are_each_combination(a, b):
    for pod in (a, b):
        for user in ("1", "2"):
            assert statuses(pod, "http://near/both", 3, headers={"x-user": user}) == first(2, 3)


def test_nobody_escapes_by_another_address(a, b):
    forged = [a.http("http://near/address", "POST", {"x-forwarded-for": f"10.9.9.{n}"})["status"] for n in range(5)]
    assert forged == first(3, 5)
    assert statuses(b, "http://near/address", 4, method="POST") == first(3, 4)
    assert statuses(b, "http://near/address", 4) == first(4, 4)


def test_a_refused_client_is_told_when_and_not_why(a):
    answers = [a.http("http://near/burst") for _ in range(12)]
    good = [each for each in answers if each["status"] == 200]
    assert 3 <= len(good) < 12
    assert [good[0]["headers"][name] for name in HEADERS[:2]] == ["3", "2"]
    refused = next(each for each in answers if each["status"] == 429)
    assert {name: refused["headers"][name] for name in HEADERS} == {
        "x-ratelimit-limit": "3", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1", "retry-after": "1",
    }  # fmt: skip
    assert "near" not in refused["text"] + str(refused["headers"])


def test_grpc_clients_are_told_in_their_own_words(a):
    codes = [a.grpc("calls:9000", "Unary", {"say": "x"})["code"] for _ in range(5)]
    assert codes == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"] * 2


def test_a_dry_run_counts_and_refuses_nothing(mesh, a):
    answers = [a.http("http://near/dry") for _ in range(5)]
    assert [each["status"] for each in answers] == first(5, 5)
    assert not any(name in each["headers"] for each in answers for name in HEADERS)
    (counted,) = [
        value
        for name, value in mesh.stats("node-1").items()
        if name.startswith("retic.limit.") and ".default/near/3." in name and name.endswith(".rate_limited")
    ]
    assert counted == 3


def test_who_is_refused_by_a_policy_counts_for_no_limit(a, mesh):
    told = limit("policy", {"requests": 2, "per": "hour", "matches": [{"path": {"value": "/denied"}}]})
    with live.file(mesh, "policy.yaml", told):
        wait.until(lambda: "x-ratelimit-limit" in a.http("http://near/denied")["headers"], "the limit is there")
        assert statuses(a, "http://near/denied", 5, method="DELETE") == [403] * 5
        assert statuses(a, "http://near/denied", 2) == first(1, 2)


def test_a_rule_of_a_route_is_limited_at_the_callers_proxy(a, b):
    assert statuses(a, "http://routed/narrow", 4) == first(4, 4)
    assert statuses(a, "http://routed/also/x", 4) == first(2, 4)
    assert statuses(b, "http://routed/narrow", 7) == first(6, 7)
    assert statuses(a, "http://routed/other", 8) == first(8, 8)


def _curl(path, times):
    url = f"http://127.0.0.1:18350{path}"
    line = ["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url]
    return [int(subprocess.run(line, capture_output=True, text=True, check=True).stdout) for _ in range(times)]


def test_a_gateway_and_a_rule_at_it(mesh):
    assert _curl("/shop", 6) == first(4, 6)
    # The whole gateway counted those too.
    assert _curl("/", 16) == first(14, 16)


def test_plaintext_counts_and_probes_do_not(mesh, a):
    (pod,) = live.objects(mesh, "Pod", "open")
    fabric = outsider.place(mesh.ps(), "cluster", "cluster")
    url = f"http://{pod.status.pod_ip}:8080/"
    line = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url]
    assert [int(fabric.run(*line)) for _ in range(6)] == first(4, 6)
    # Who has an identity has a bucket of his own beside those who have none.
    assert statuses(a, "http://open/", 5) == first(4, 5)
    probed = [int(fabric.run(*line[:-1], f"{url}ready")) for _ in range(2)]
    assert probed == first(0, 2)
    # The kubelet asked once a second all the while.
    (pod,) = live.objects(mesh, "Pod", "open")
    assert {each.type: each.status for each in pod.status.conditions}["Ready"] == "True"


def test_edits_are_live_and_drain_nothing(mesh, a):
    nodes = ("node-1", "node-2")
    before = {(node, key): mesh.stats(node)[f"listener_manager.{key}"] for node in nodes for key in STEADY}
    a.begin("held", "near", keep=True, path="/held")

    def counted(number, **more):
        return limit("edit", {"requests": number, "per": "hour", "matches": [{"path": {"value": "/edit"}}], **more})

    def allowed(number):
        found = a.http("http://near/edit")["headers"].get("x-ratelimit-limit")
        return found == (str(number) if number else None)

    live.write(mesh, "edit.yaml", counted(3))
    wait.until(lambda: allowed(3), "the limit holds")
    assert statuses(a, "http://near/edit", 4) == first(2, 4)
    live.write(mesh, "edit.yaml", counted(5))
    wait.until(lambda: allowed(5), "a wider limit holds")
    assert statuses(a, "http://near/edit", 6) == first(4, 6)
    live.write(mesh, "edit.yaml", counted(0))
    assert statuses(a, "http://near/edit", 1) == first(0, 1)
    live.remove(mesh, "edit.yaml")
    wait.until(lambda: allowed(0), "the limit is gone")
    assert statuses(a, "http://near/edit", 9) == first(9, 9)
    assert list(a.end("held")) == [""]
    after = {(node, key): mesh.stats(node)[f"listener_manager.{key}"] for node, key in before}
    assert after == before


def test_global_in_memory_and_a_control_plane_that_ends(mesh, a, b):
    def counted(path, requests):
        said = {"requests": requests, "per": "hour", "scope": "Global", "failClosed": True}
        return {**said, "matches": [{"path": {"value": path}}]}

    told = limit(
        "whole", counted("/whole", 8), counted("/ready", 1_000_000), targetRefs=[{"kind": "Service", "name": "web"}]
    )

    def on_both():
        """Requests go to servers on either node, by turns."""
        return all("x-ratelimit-limit" in a.http("http://web/ready").get("headers", {}) for _ in range(6))

    with live.file(mesh, "whole.yaml", told):
        wait.until(on_both, "the limit is there")
        found = collections.Counter(statuses(a, "http://web/whole", 12) + statuses(b, "http://web/whole", 12))
        assert 0 < found[200] <= 8
        assert found[503] <= 4, "a few may have no answer in time"
        assert found[200] + found[429] + found[503] == 24
        wait.until(lambda: statuses(b, "http://web/whole", 3) == first(0, 3), "it is used up, whichever node is asked")
        assert statuses(b, "http://open/", 1) == first(1, 1)
        control = load.processes(mesh)["control", "control"]
        os.kill(control, signal.SIGSTOP)
        try:
            # What cannot be counted is refused, as the limit says; others' requests pass.
            assert statuses(a, "http://web/whole", 2) == [503] * 2
            assert statuses(b, "http://open/", 2) == first(2, 2)
        finally:
            os.kill(control, signal.SIGCONT)
        wait.until(lambda: statuses(a, "http://web/whole", 1) == [429], "it answers again")
        load.kill(control)
        # Another one begins at nothing.
        wait.until(lambda: statuses(a, "http://web/whole", 1) == [200], "the next one counts anew", 20)
