"""Envoys are replaced, and agents follow each other, under load: not a request and not a connection is lost."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
import rough_load as load

from retic.envoy import limits
from retic.identity import authority
from retic.local import state
from retic.testing import wait

RATE = 100
NODES = ("node-1", "node-2")
FREE = {kind: load.KINDS[kind] for kind in ("HTTP/1", "HTTP/1, a connection each", "HTTP/2")}  # end when asked to


@pytest.fixture
def under_load(rough):
    """Start a load; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(seconds=load.LONG, **options):
            made = load.Load(rough, seconds, rate=RATE, **options)
            stack.callback(made.close)
            return made

        yield start


def folder(mesh, node):
    return state.folder(mesh.name) / "agents" / node


def say(mesh, node, seconds=60, **request):
    """Ask a node's agent on its own socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(str(folder(mesh, node) / "agent.sock"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(sock.makefile("rb").readline())


def slots(mesh, node):
    """The slots that have an Envoy, and the one that is in use."""
    found = {file.parent.name for file in folder(mesh, node).glob("[ab]/envoy.pid")}
    return found, os.readlink(folder(mesh, node) / "envoy")


def drained(mesh, node, seconds=limits.IDLE_SECONDS + 30):
    """Another node's Envoy keeps a connection that is idle for so long, and one that drains waits for it."""
    wait.until(lambda: len(slots(mesh, node)[0]) == 1, f"one Envoy is left on {node}", seconds, every=0.1)


def lost(results):
    return {kind: r["failures"] for kind, r in results.items() if r["failed"]}


def figures(results):
    return "; ".join(
        f"{kind}: {r['answered']} answered, {r['failed']} lost, p99 {r['percentiles_ms']['p99']:.0f} ms,"
        f" at most {r['max_ms']:.0f}" for kind, r in results.items()
    )


def seconds_taken(mesh):
    """How long each replacement took, by the agents' logs."""
    logs = [file.read_text().splitlines() for file in (state.folder(mesh.name) / "logs").glob("agent*.log")]
    lines = [json.loads(line) for log in logs for line in log if '"Envoy replaced"' in line]
    return f"{sorted(line['seconds'] for line in lines)} s each"


def test_connections_that_last_stay_with_the_envoy_that_has_them(rough, under_load):
    load.settled(rough)
    running = under_load()
    pids = [load.processes(rough)["agent", node] for node in NODES]
    was = [slots(rough, node)[1] for node in NODES]
    for pid in pids:
        os.kill(pid, signal.SIGHUP)
    for node, before in zip(NODES, was, strict=True):
        wait.until(lambda: slots(rough, node)[1] != before, f"{node} has another Envoy", 20, every=0.1)  # noqa: B023
    assert "has connections still" in say(rough, "node-1", replace=True)["error"]
    assert ("draining", "node-1") in load.processes(rough)
    load.kill(pids[0])  # the next one knows both Envoys again
    load.new_pid(rough, "agent", "node-1", pids[0])
    assert running.running()
    results = running.end()
    print(f"\nwith lasting connections: {figures(results)}")
    assert lost(results) == {}
    drained(rough, "node-1")
    again = under_load(seconds=1)
    assert lost(again.results()) == {}


def test_envoys_are_replaced_again_and_again_without_a_request_lost(rough, under_load):
    load.settled(rough)
    running = under_load(kinds=FREE)
    times = dict.fromkeys(NODES, 0)

    def step():
        for node in NODES:
            was = slots(rough, node)[1]
            answer = say(rough, node, replace=True)
            assert answer == {"ok": True} or "has connections still" in answer["error"], answer
            assert (slots(rough, node)[1] != was) == (answer == {"ok": True})
            times[node] += answer == {"ok": True}
        return times["node-1"] >= 2 and sum(times.values()) >= 3

    wait.until(step, "both were replaced, one of them again", 100, every=0.5)
    assert running.running()
    results = running.end()
    print(f"\n{times} replacements: {figures(results)}; {seconds_taken(rough)}")
    assert lost(results) == {}


def test_an_agent_killed_in_the_midst_of_a_replacement(rough, under_load):
    load.settled(rough)
    drained(rough, "node-1")
    running = under_load()
    before = load.processes(rough)["agent", "node-1"]
    was = slots(rough, "node-1")[1]
    os.kill(before, signal.SIGHUP)
    wait.until(lambda: len(slots(rough, "node-1")[0]) == 2, "the next Envoy is there", 20)
    load.kill(before)
    load.new_pid(rough, "agent", "node-1", before)
    assert running.running()
    results = running.end()
    print(f"\nagent killed meanwhile: {figures(results)}")
    assert lost(results) == {}
    drained(rough, "node-1")
    assert slots(rough, "node-1")[1] == was, "the pods stayed with the one before, or came back to it"


def test_the_next_agent_takes_the_node_over_and_gives_it_back(rough, under_load):
    load.settled(rough)
    drained(rough, "node-1")
    running = under_load(kinds=FREE)
    ours = load.processes(rough)["agent", "node-1"]
    was = slots(rough, "node-1")[1]
    successor = start(rough, "node-1", ours)
    try:
        wait.until(lambda: slots(rough, "node-1")[1] != was, "the successor has the node", 20, every=0.1)
        drained(rough, "node-1")
        load.kill(ours, signal.SIGTERM)  # which is started again by the mesh, and follows in turn
        wait.until(lambda: slots(rough, "node-1")[1] == was, "the node is given back", 20, every=0.1)
        assert running.running()
        results = running.end()
    finally:
        end(successor)
    print(f"\nover and back: {figures(results)}")
    assert lost(results) == {}
    drained(rough, "node-1")
    assert load.processes(rough)["agent", "node-1"] != ours


def start(mesh, node, beside):
    """Another agent of a node, with all namespaces of the one there is."""
    settings = json.loads((folder(mesh, node) / "agent.json").read_text())
    file = folder(mesh, node) / "next.json"
    authority.write_private(file, json.dumps({**settings, "handover_seconds": 20}).encode())
    inside = pathlib.Path(f"/proc/{beside}/environ").read_bytes().split(b"\0")
    environment = dict(one.decode().split("=", 1) for one in inside if b"=" in one)
    line = ["nsenter", "--target", str(beside), "--all", "--wd=/"]
    written = state.folder(mesh.name) / "logs" / "agent-next.log"
    authority.write_private(written, b"")
    with written.open("ab") as log:
        return subprocess.Popen(
            [*line, sys.executable, "-P", "-m", "retic.node", "--config", str(file)],
            stdout=log, stderr=log, env=environment, start_new_session=True,
        )


def end(process):
    """As often as it takes: the first SIGTERM asks, the second one does not."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
