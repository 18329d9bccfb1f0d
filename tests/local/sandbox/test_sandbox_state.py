"""The state folder: where it is, whose it must be, who holds it. And what a refused user is told."""

import errno
import os
import sys

import pytest

from retic.local import state
from retic.local.sandbox import namespaces
from retic.testing import machine

CANNOT = """
import os, pathlib, sys
from retic.local.sandbox import kernel
uid, gid = os.geteuid(), os.getegid()
kernel.unshare(kernel.New.USER)
pathlib.Path("/proc/self/setgroups").write_text("deny")
pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
pathlib.Path("/proc/sys/user/max_user_namespaces").write_text("0")
os.execv(sys.executable, [sys.executable, "-m", "retic.testing.host_side", "up", "cannot", "1"])
"""


def test_where_the_folder_is():
    assert str(state.folder("x", {}, 0)) == "/run/retic/x"
    assert str(state.folder("x", {"XDG_RUNTIME_DIR": "/run/user/7"}, 7)) == "/run/user/7/retic/x"
    assert str(state.folder("x", {"TMPDIR": "/var/tmp"}, 7)) == "/var/tmp/retic-7/x"
    assert str(state.folder("x", {}, 7)) == "/tmp/retic-7/x"


@pytest.mark.parametrize("name", ["", "../x", "A", "-x", "x-", "x" * 33, "a/b", "."])
def test_bad_names_are_refused(name):
    with pytest.raises(state.StateError, match="cannot name a mesh"):
        state.folder(name, {}, 0)


def test_a_path_too_long_for_sockets_is_refused():
    with pytest.raises(state.StateError, match="XDG_RUNTIME_DIR"):
        state.folder("x", {"XDG_RUNTIME_DIR": "/" + "y" * 60}, 7)


def test_claim_makes_it_private_and_empties_what_was_left(tmp_path):
    path = tmp_path / "retic" / "x"
    lock = state.claim(path)
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "old").mkdir()
    (path / "old" / "file").touch()
    (path / "link").symlink_to(tmp_path)
    with pytest.raises(state.InUseError, match="retic down --name x"):
        state.claim(path)
    lock.close()
    again = state.claim(path)
    assert list(path.iterdir()) == []
    assert tmp_path.exists()
    state.remove(again)
    assert not (tmp_path / "retic").exists()


def test_folders_that_others_may_write_to_are_refused(tmp_path):
    path = tmp_path / "retic" / "x"
    path.mkdir(parents=True)
    path.chmod(0o777)
    with pytest.raises(state.StateError, match="chmod 700"):
        state.claim(path)
    path.rmdir()
    path.symlink_to(tmp_path)
    with pytest.raises(state.StateError, match="is not a folder"):
        state.claim(path)


def test_somebody_elses_folder_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "retic" / "x"
    path.mkdir(parents=True, mode=0o700)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(state.StateError, match=f"belongs to user {owner}"):
        state.claim(path)


def test_a_recorded_pid_counts_with_its_start_time_only():
    mine = state.Running(outer_pid=os.getpid(), outer_start=1, cluster_pid=os.getpid(), cluster_start=1)
    assert not mine.outer_alive()
    assert not mine.cluster_alive()


def test_machines_without_user_namespaces_are_told_which_setting(tmp_path):
    error = PermissionError(errno.EPERM, "Operation not permitted")

    def told(name, value):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        text = namespaces.refusal(error, rootless=True, sysctls=tmp_path)
        path.unlink()
        return text

    assert "sysctl -w user.max_user_namespaces=" in told("user/max_user_namespaces", "0\n")
    restricted = "kernel/apparmor_restrict_unprivileged_userns"
    assert "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in told(restricted, "1\n")
    assert "as root" in told(restricted, "0\n")
    assert "CAP_SYS_ADMIN" in namespaces.refusal(error, rootless=False)


def test_a_user_without_namespaces_is_told_so_for_real():
    user = machine.users()[-1]
    with machine.on(user) as made:
        answer = made.run([sys.executable, "-c", CANNOT])
        assert answer.returncode == 1
        assert b"StartError: this machine does not let ordinary users make namespaces" in answer.stderr
        assert b"user.max_user_namespaces is 0" in answer.stderr
        assert not (made.runtime / "retic").exists()
