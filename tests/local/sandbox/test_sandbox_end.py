"""Beginnings and ends: what a mesh leaves behind, whoever dies."""

import contextlib
import os
import pathlib
import signal

import pytest

from retic.testing import bare_mesh, host_side, wait


@pytest.fixture
def before(host):
    assert not host.processes()
    return host.traces()


def _populate(mesh):
    mesh.ask("add_pod", uid="a", node="node-1", ip="10.244.1.2")
    mesh.ask("add_pod", uid="b", node="node-2", ip="10.244.2.2")
    mesh.ask("start", argv=["sh", "-c", "setsid sleep 3000 & sleep 3000"], pod="a")
    mesh.ask("start", argv=["sleep", "3000"])
    mesh.ask("egress")
    mesh.ask("publish", ip="10.244.1.2", port=80, wanted=0)
    assert len(mesh.machine.processes()) >= 8


def _nothing_runs(host, before):
    wait.until(lambda: not host.processes(), "no process is left", 20)
    assert host.traces() == before


def test_kill_9_leaves_the_state_folder_only_and_down_removes_it(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    os.kill(mesh.outer, signal.SIGKILL)
    _nothing_runs(host, before)
    assert mesh.folder.exists()
    assert host_side.drive(host, "down", mesh.name).returncode == 0
    assert not mesh.folder.exists()
    assert host_side.drive(host, "down", mesh.name).returncode == 3


def test_kill_9_of_pid_1_then_up_again(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    os.kill(mesh.cluster, signal.SIGKILL)
    _nothing_runs(host, before)
    assert mesh.folder.exists()
    again = host_side.up(host)
    assert again.run("true")["code"] == 0
    assert host_side.drive(host, "down", mesh.name).returncode == 0
    _nothing_runs(host, before)


def test_without_its_spawner_a_mesh_ends(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    names = {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in host.processes()}
    os.kill(next(pid for pid, name in names.items() if name == "retic-spawner"), signal.SIGKILL)
    _nothing_runs(host, before)


def test_kill_9_of_everything_then_down(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    for pid in host.processes():
        with contextlib.suppress(ProcessLookupError):  # the kernel ended it with its pid namespace
            os.kill(pid, signal.SIGKILL)
    _nothing_runs(host, before)
    assert host_side.drive(host, "down", mesh.name).returncode == 0
    assert not mesh.folder.exists()


def test_down_of_a_running_mesh_leaves_nothing(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    closed = "mkdir -p $0/pods/x/y && touch $0/pods/x/y/z && chmod 0 $0/pods/x/y"
    assert mesh.run("sh", "-c", closed, str(mesh.folder))["code"] == 0
    assert host_side.drive(host, "down", mesh.name).returncode == 0
    _nothing_runs(host, before)
    assert not mesh.folder.exists()


def test_down_of_a_mesh_that_does_not_answer(host, before):
    mesh = host_side.up(host)
    _populate(mesh)
    os.kill(mesh.cluster, signal.SIGSTOP)
    assert host_side.drive(host, "down", mesh.name).returncode == 0
    _nothing_runs(host, before)
    assert not mesh.folder.exists()


def test_one_name_runs_once(host, before):
    mesh = host_side.up(host)
    second = host_side.drive(host, "up", mesh.name, "1")
    assert second.returncode == 1
    assert b"InUseError: a mesh named" in second.stderr
    other = host_side.up(host, name=f"{mesh.name}-other", nodes=1)
    for one in (mesh, other):
        assert host_side.drive(host, "down", one.name).returncode == 0
    _nothing_runs(host, before)


def test_of_many_at_once_one_wins(host, before):
    argv = [*host_side.COMMAND, "up", f"race{os.getpid()}", "1"]
    racers = [host.popen(argv, stdout=-1, stderr=-1) for _ in range(3)]
    said = [racer.communicate(timeout=30) for racer in racers]
    assert sorted(racer.returncode for racer in racers) == [0, 1, 1], said
    assert host_side.drive(host, "down", f"race{os.getpid()}").returncode == 0
    _nothing_runs(host, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_attached_mesh_ends_cleanly_with_its_caller(host, before, number):
    name = f"att{os.getpid()}"
    process = host.popen([*host_side.COMMAND, "attached", name, "1"], stdout=-1)
    folder = pathlib.Path(process.stdout.readline().split()[2].decode())
    wait.until(lambda: bare_mesh.listens(folder), "the mesh is up", 20)
    process.send_signal(number)
    process.wait(20)
    process.stdout.close()
    _nothing_runs(host, before)
    wait.until(lambda: not folder.exists(), "the folder is removed", 20)
