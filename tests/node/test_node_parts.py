"""The agent's small parts: the disk cache, processes, opaque destinations, roots, the bootstrap."""

import asyncio
import os
import stat
import subprocess
import sys

import pytest
from xds.type.v3 import typed_struct_pb2

from retic.identity import authority
from retic.node import bootstrap, cache, envoy, listening, opaque, proc, trust


def row(name, version="1", *, unasked=False):
    return cache.Row(name, version, name.encode(), unasked)


def test_the_cache_outlives_its_process(tmp_path):
    made = cache.Cache(tmp_path / "c.sqlite")
    made.put("t", [row("a"), row("b", unasked=True)])
    made.put("t", [row("a", "2")], removed=["b"])
    made.set_answered("t")
    made.close()
    again = cache.Cache(tmp_path / "c.sqlite")
    assert [(one.name, one.version) for one in again.get("t", ["a", "b", "c"])] == [("a", "2")]
    assert again.unasked("t") == []
    assert again.answered("t")
    assert not again.answered("u")
    assert stat.S_IMODE((tmp_path / "c.sqlite").stat().st_mode) == 0o600
    again.close()


def test_a_damaged_cache_is_begun_anew(tmp_path):
    (tmp_path / "c.sqlite").write_bytes(b"nonsense" * 1000)
    made = cache.Cache(tmp_path / "c.sqlite")
    made.put("t", [row("a")])
    assert len(made.get("t", ["a"])) == 1
    made.close()


def test_the_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ASKED_LIMIT", 10)
    made = cache.Cache(tmp_path / "c.sqlite")
    made.put("t", [row(f"n{i}") for i in range(30)] + [row("pushed", unasked=True)])
    made.close()
    again = cache.Cache(tmp_path / "c.sqlite")
    assert len(again.get("t", [f"n{i}" for i in range(30)])) == 10
    assert len(again.unasked("t")) == 1
    again.close()


async def test_a_process_is_known_by_its_start_time():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(process.pid)
    started = proc.start_time(pidfd)
    found = proc.open_if(process.pid, started)
    assert found is not None
    assert proc.open_if(process.pid, started + 1) is None
    waiting = asyncio.create_task(proc.ended(found))
    await proc.stop(pidfd, 5)
    await asyncio.wait_for(waiting, 5)
    assert proc.open_if(process.pid, started) is None, "a zombie has ended"
    process.communicate()
    assert proc.open_if(process.pid, started) is None
    with pytest.raises(ProcessLookupError):
        proc.start_time(pidfd)
    os.close(pidfd)
    os.close(found)


def test_a_start_time_is_read_across_pid_namespaces():
    """In a pid namespace whose /proc is its parent's, as in a mesh, pids in /proc are other ones."""
    code = (
        "import os, subprocess; from retic.node import proc;"
        "child = subprocess.Popen(['sleep', '60']); fd = os.pidfd_open(child.pid);"
        "print(os.getpid(), child.pid, proc.start_time(fd)); child.kill()"
    )
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    pid, child, started = map(int, done.stdout.split())
    assert pid == 1
    assert child < 1000
    with open("/proc/uptime") as uptime:
        now = float(uptime.read().split()[0]) * os.sysconf("SC_CLK_TCK")
    assert now - 6000 < started <= now


def struct(**value):
    made = typed_struct_pb2.TypedStruct()
    made.value.update(value)
    return made.SerializeToString()


def test_opaque_destinations():
    wanted = frozenset({("10.96.0.5", 6379), ("10.96.0.6", 25)})
    assert opaque.destinations(struct(destinations=["10.96.0.5:6379", "10.96.0.6:25"])) == wanted
    assert opaque.destinations(struct()) == frozenset()
    assert opaque.destinations(None) == frozenset()


@pytest.mark.parametrize("bad", ["10.96.0.5", "10.96.0.5:x", "10.96.0.5:0", "10.96.0.5:65536", "db:63", 5.0])
def test_opaque_destinations_refused(bad):
    with pytest.raises(opaque.MalformedError):
        opaque.destinations(struct(destinations=[bad]))


def test_roots_learnt_are_kept_beside_the_given_ones(tmp_path):
    given, other = (authority.open_own(tmp_path / name, "td").bundle() for name in ("a", "b"))
    (tmp_path / "root.pem").write_bytes(given)
    changes = []
    made = trust.Trust(tmp_path / "root.pem", tmp_path / "kept.pem", lambda: changes.append(1))
    assert made.bundle == made.roots == given
    version = made.version
    made.learn(given)
    assert changes == []
    made.learn(other)
    assert changes == [1]
    assert made.version != version
    again = trust.Trust(tmp_path / "root.pem", tmp_path / "kept.pem")
    assert again.bundle == other
    assert again.roots == given + other
    with pytest.raises(ValueError, match="PEM"):
        made.learn(b"nonsense")
    assert made.bundle == other


def test_what_another_mesh_left_is_known_as_such(tmp_path):
    """The same folder, another certificate authority: what it signed opens nothing any more."""
    given, other = (authority.open_own(tmp_path / name, "td").bundle() for name in ("a", "b"))
    root, kept = tmp_path / "root.pem", tmp_path / "kept.pem"
    root.write_bytes(given)
    assert not trust.is_elsewhere(root, kept)
    trust.Trust(root, kept)
    assert not trust.is_elsewhere(root, kept)
    root.write_bytes(other + given)
    assert not trust.is_elsewhere(root, kept), "a root is being rotated"
    trust.Trust(root, kept).learn(other)
    root.write_bytes(other)
    assert not trust.is_elsewhere(root, kept), "the rotation is over"
    trust.Trust(root, kept)
    root.write_bytes(given)
    assert trust.is_elsewhere(root, kept)


def test_a_file_that_missed_a_rotation_is_not_another_mesh(tmp_path):
    given, other = (authority.open_own(tmp_path / name, "td").bundle() for name in ("a", "b"))
    root, kept = tmp_path / "root.pem", tmp_path / "kept.pem"
    root.write_bytes(given)
    trust.Trust(root, kept).learn(other)
    assert not trust.is_elsewhere(root, kept)


def test_envoy_accepts_the_bootstrap(settings, tmp_path):
    file = tmp_path / "envoy.json"
    settings.folder.mkdir()
    sockets = {"admin": tmp_path / "admin.sock", "discovery": tmp_path / "xds.sock"}
    file.write_bytes(bootstrap.make(settings, connections=1000, **sockets))
    done = subprocess.run(
        [envoy.binary(), "--mode", "validate", "-c", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


@pytest.mark.parametrize("diag", [True, False])
def test_listening_ports_are_seen_without_connecting(netns, monkeypatch, diag):
    if not diag:  # as on a kernel that has none
        monkeypatch.setattr(listening, "_SOCK_DIAG", 31)
    code = (
        "import socket; a = socket.create_server(('127.0.0.1', 15001)); "
        "b = socket.create_server(('::1', 15006), family=socket.AF_INET6); "
        "c = socket.create_connection(('127.0.0.1', 15001)); print('up', flush=True); input()"
    )
    with listening.opened(netns) as tables:
        assert listening.ports(tables) == frozenset()
        inside = ["ip", "netns", "exec", os.path.basename(netns), sys.executable, "-c", code]
        process = subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"up\n"
        assert listening.ports(tables) == {15001, 15006}
        process.communicate()
        assert listening.ports(tables) == frozenset()
