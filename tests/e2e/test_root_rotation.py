"""The root is exchanged by one command under load: nothing is lost, nothing is cut, and the old root opens nothing."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
import rough_load
import test_attacks

from retic.control import client, model
from retic.local import state
from retic.testing import outsider, running, wait

HERE = pathlib.Path(__file__).parent
CALLER = "spiffe://cluster.local/ns/default/sa/caller"
SECONDS = 16


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root") / "manifests"
    shutil.copytree(HERE / "trust", folder)
    with running.mesh(folder, nodes=2) as started:
        yield started


@pytest.fixture
def load(mesh):
    made = rough_load.Load(mesh, SECONDS)
    yield made
    made.close()


def status(mesh):
    """None while the control plane is away."""
    with contextlib.suppress(client.Away, client.Refused, TimeoutError):
        return rough_load.ask(mesh, model.AskRoot(), seconds=5)
    return None


def until(mesh, phase, seconds=30):
    def reached():
        now = status(mesh)
        return now if now and now["phase"] == phase and not now["ordered"] else None

    return wait.until(reached, f"the rotation is {phase}", seconds, every=0.05)


def kill(mesh):
    """Of the control plane; the next one is there when this returns."""
    pid = rough_load.processes(mesh)["control", "control"]
    os.kill(pid, signal.SIGKILL)
    rough_load.new_pid(mesh, "control", "control", pid)


@contextlib.contextmanager
def held(mesh):
    """The agent of node-2 does not run: nobody goes on without it."""
    pid = rough_load.processes(mesh)["agent", "node-2"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rotate(mesh):
    done = mesh.command("ca", "rotate", "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")


@contextlib.contextmanager
def conversation(mesh):
    """Connections of every kind that stay open: a function that says something on each."""
    line = [sys.executable, "-m", "retic.cli", "exec", "-i", "--name", mesh.name, "caller", "--"]
    script = str(HERE / "held.py")
    with subprocess.Popen(
        [*line, sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask():
            process.stdin.write("1\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, "a connection was closed"
            return json.loads(answer)

        try:
            yield ask
        finally:
            process.stdin.close()
            process.wait(10)


def knock(mesh, pair, where="node-1"):
    """What a caller with that key and certificate gets from the pod web."""
    ps = mesh.ps()
    address = next(p["ip"] for p in ps["pods"] if p["name"] == "web")
    key, chain = pair
    options = {"host": address, "port": 8080, "tls": "TLSv1_3", "alpn": "retic-http", "key": key, "chain": chain}
    answer = outsider.place(ps, "agent", where).python(test_attacks.KNOCK, json.dumps({"one": options}))["one"]
    return answer.partition("\r\n")[0]


def test_nothing_is_lost_while_the_root_is_exchanged(mesh, load, tmp_path):
    ca = state.folder(mesh.name) / "ca"
    old = outsider.Forger(tmp_path, ca).pair(CALLER)
    assert knock(mesh, old) == "HTTP/1.1 200 OK", "as long as the root is trusted"
    before = status(mesh)
    with conversation(mesh) as say:
        first = say()
        with held(mesh):
            rotate(mesh)
            spreading = until(mesh, "spreading")
            kill(mesh)
            again = until(mesh, "spreading")
            assert again["next"] == spreading["next"], "the one that was begun, and not another"
            assert again["signer"] == before["signer"]
            assert mesh.command("ca", "rotate", "--no-wait").stdout.startswith("spreading"), "twice is once"
        until(mesh, "retiring")
        kill(mesh)
        after = until(mesh, "steady")
        assert after["signer"] == spreading["next"]
        last = say()
        assert last["tcp"] == first["tcp"], "a connection from before goes on"
    new = outsider.Forger(tmp_path, ca).pair(CALLER)
    assert [knock(mesh, pair, node) for pair in (old, new) for node in ("node-1", "node-2")] == [
        "", "", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK",
    ]  # fmt: skip
    results = load.results()
    assert {kind: one["failures"] for kind, one in results.items() if one["failed"]} == {}
    assert all(one["answered"] >= rough_load.RATE * SECONDS * 0.8 for one in results.values()), results
    with urllib.request.urlopen("http://127.0.0.1:18531/", timeout=5) as answer:
        assert answer.status == 200, "the gateway has a certificate of the new root, and trusts it"


def test_the_command_and_the_rotation_outlive_the_control_plane(mesh):
    before = status(mesh)
    line = [sys.executable, "-m", "retic.cli", "ca", "rotate", "--name", mesh.name, "--timeout", "30"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        first = command.stdout.readline()
        kill(mesh)
        rest, errors = command.communicate(timeout=30)
    assert (command.returncode, errors) == (0, "")
    assert first.startswith("ordered")
    assert rest.splitlines()[-1].startswith(("signing with", "steady"))
    assert until(mesh, "steady")["signer"] != before["signer"]
    kept = (state.folder(mesh.name) / "ca" / "root.pem").read_text()
    assert kept.count("BEGIN CERTIFICATE") == 1
    assert mesh.curl("caller", "http://web/")[0] == 200
    assert mesh.command("ca", "status").stdout.startswith("steady: signing with")
    assert json.loads(mesh.command("ca", "status", "--json").stdout)["missing"] == []
