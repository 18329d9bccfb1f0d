"""Whoever is killed, requests on paths in use go on; what died comes back by itself, and edits work again."""

import contextlib
import json
import os
import signal

import pytest
import rough_load as load

from retic.testing import wait


@pytest.fixture
def under_load(rough):
    """Start a load; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(seconds=load.LONG):
            made = load.Load(rough, seconds)
            stack.callback(made.close)
            return made

        yield start


def lost(results):
    return {kind: r["failures"] for kind, r in results.items() if r["failed"]}


def figures(results):
    return "; ".join(
        f"{kind}: {r['answered']} answered, {r['failed']} lost, p99 {r['percentiles_ms']['p99']:.0f} ms"
        for kind, r in results.items()
    )


def edit_works(mesh):
    """An edit made now arrives: a new route answers."""
    file = mesh.folder / "late.yaml"
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "late"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "two"}],
            "rules": [{"backendRefs": [{"name": "one", "port": 80}]}],
        },
    }  # fmt: skip

    def version():
        status, body = mesh.curl("caller", "http://two/")
        return json.loads(body)["version"] if status == 200 else status

    assert version() == "two"
    file.write_text(json.dumps(route))
    wait.until(lambda: version() == "one", "the route is taken", 40)
    file.unlink()
    wait.until(lambda: version() == "two", "the route is gone", 40)


def test_kill_9_of_the_control_plane_loses_no_request(rough, under_load):
    load.settled(rough)
    running = under_load()
    before = load.processes(rough)
    load.kill(before["control", "control"])
    load.new_pid(rough, "control", "control", before["control", "control"])
    sent = load.settled(rough)
    assert running.running(), "it was back while the load went on"
    results = running.end()
    print(f"\ncontrol plane killed: {figures(results)}; {sent} resources sent again")
    assert lost(results) == {}
    assert sent <= 2, "versions are hashes: who has them is sent nothing"
    after = load.processes(rough)
    assert {k: v for k, v in after.items() if k[0] != "control"} == {
        k: v for k, v in before.items() if k[0] != "control"
    }
    edit_works(rough)


def test_kill_9_of_every_agent_loses_no_request_and_envoys_are_adopted(rough, under_load):
    load.settled(rough)
    running = under_load()
    before = load.processes(rough)
    agents = [key for key in before if key[0] == "agent"]
    for key in agents:
        load.kill(before[key])
    for key in agents:
        load.new_pid(rough, *key, before[key])
    sent = load.settled(rough)
    assert running.running()
    results = running.end()
    print(f"\nagents killed: {figures(results)}; {sent} resources sent again")
    assert lost(results) == {}
    after = load.processes(rough)
    assert {k: v for k, v in after.items() if k[0] == "envoy"} == {k: v for k, v in before.items() if k[0] == "envoy"}
    edit_works(rough)


def test_an_envoy_and_its_agent_come_back_from_disk_without_the_control_plane(rough, under_load):
    load.settled(rough)
    before = load.processes(rough)
    running = under_load(seconds=12)
    os.kill(before["control", "control"], signal.SIGSTOP)
    try:
        load.kill(before["agent", "node-1"])
        load.kill(before["envoy", "node-1"])
        results = running.results()
    finally:
        os.kill(before["control", "control"], signal.SIGCONT)
    print(f"\nEnvoy and its agent killed, control plane paused: {figures(results)}; {lost(results)}")
    load.settled(rough)
    after = load.processes(rough)
    assert after["envoy", "node-1"] != before["envoy", "node-1"]
    assert after["envoy", "node-2"] == before["envoy", "node-2"]
    for kind, result in results.items():
        # Down for some two seconds, and whole again before the end.
        assert result["failed"] <= 10 * load.RATE, kind
        assert result["answered"] >= load.RATE, kind
    again = under_load(seconds=1)
    assert lost(again.results()) == {}
