"""However a mesh ends, `down` leaves nothing of it, and the next `up` works."""

import contextlib
import os
import signal
import subprocess

import machine_mesh
import pytest

from retic.testing import machine, wait

# The first user does everything; the other one only what differs most.
FIRST, *OTHERS = [pytest.param(user, id=f"user{user}") for user in machine.users()]


@pytest.fixture(scope="module")
def host(request):
    with machine.on(request.param) as made:
        yield made


@pytest.fixture
def before(host):
    assert not host.processes()
    return machine_mesh.traces(host)


def pids(mesh):
    return {(p["role"], p["name"]): p["pid"] for p in mesh.ps()["processes"]}


@pytest.mark.parametrize("host", [FIRST, *OTHERS], indirect=True, scope="module")
def test_kill_9_of_every_process_then_down(host, before):
    mesh = machine_mesh.Mesh(host).bring_up()
    found = pids(mesh)
    assert {role for role, _ in found} == {"outer", "cluster", "control", "agent", "envoy"}
    for pid in found.values():
        with contextlib.suppress(ProcessLookupError):  # it ended with one of those before
            os.kill(pid, signal.SIGKILL)
    wait.until(lambda: not host.processes(), "everything else ended with them", 15)
    assert mesh.state.exists()
    assert mesh.command("ps").returncode != 0
    assert mesh.command("down").returncode == 0
    machine_mesh.gone(host, before, mesh)


@pytest.mark.parametrize("host", [FIRST], indirect=True, scope="module")
def test_kill_9_of_pid_1_then_up_then_down(host, before):
    mesh = machine_mesh.Mesh(host).bring_up()
    os.kill(pids(mesh)["cluster", "cluster"], signal.SIGKILL)
    wait.until(lambda: not host.processes(), "everything else ended with it", 15)
    mesh.bring_up().works()
    done = mesh.command("down")
    assert (done.returncode, done.stderr) == (0, "")
    machine_mesh.gone(host, before, mesh)
    again = mesh.command("down")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)


@pytest.mark.parametrize("host", [FIRST], indirect=True, scope="module")
def test_kill_9_of_the_outer_process_and_ctrl_c_of_the_foreground(host, before):
    mesh = machine_mesh.Mesh(host)
    line = mesh.line("up", "-f", str(mesh.folder))
    up = host.popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with up:
        try:
            for line in up.stdout:
                if "edits of the files are live" in line:
                    break
            mesh.works()
            up.send_signal(signal.SIGINT)
            assert up.wait(60) == 0
            up.stdout.read()
        finally:
            up.kill()
    machine_mesh.gone(host, before, mesh)
    mesh.bring_up()
    os.kill(pids(mesh)["outer", "outer"], signal.SIGKILL)
    wait.until(lambda: not host.processes(), "everything else ended with it", 15)
    assert mesh.command("down").returncode == 0
    machine_mesh.gone(host, before, mesh)
