"""Namespaces found among real processes in real control groups, and held by real mounts."""

import os
import pathlib
import subprocess
import sys

import cluster_rig as rig
import pytest

from retic.node import namespaces, processes
from retic.testing import wait

UID = "7b2f1c3e-0000-4d11-9c7e-0123456789ab"
SYSTEMD = UID.replace("-", "_")


@pytest.fixture
def cgroups(tmp_path):
    made = rig.Cgroups(tmp_path / "cgroups")
    yield made
    made.close()


@pytest.fixture
def spaces(tmp_path):
    made = namespaces.Namespaces(tmp_path / "ns")
    yield made
    rig.unmount(tmp_path / "ns")


@pytest.fixture
def place():
    made = rig.Namespace()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "uid"),
    [
        (f"/kubepods/besteffort/pod{UID}/0123abc", SYSTEMD),
        (f"/kubepods/pod{UID}", SYSTEMD),
        (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD}.slice/cri-containerd-1.scope",
         SYSTEMD),
        (f"/../../kubepods-burstable-pod{SYSTEMD}.slice/crio-1.scope", SYSTEMD),  # seen from another cgroup namespace
        (f"/docker/0a1b/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD}.slice/x", SYSTEMD),  # kind
        ("/kubepods/pod0123456789abcdef0123456789abcdef/c", "0123456789abcdef0123456789abcdef"),  # a static pod
        (f"/kubepods/pod{'a' * 32}/c/kubepods-pod{SYSTEMD}.slice", "a" * 32),  # what a pod itself made
        ("/kubepods.slice/kubepods-besteffort.slice", None),
        (f"/system.slice/podman.service/pod{UID}", SYSTEMD), ("/system.slice/podman.service", None), ("/", None),
    ],
)  # fmt: skip
def test_the_pod_of_a_control_group(path, uid):
    assert processes.pod_of(path) == uid


@pytest.mark.parametrize(
    "path",
    [f"kubepods/besteffort/pod{UID}/c0ffee", f"kubepods.slice/kubepods-pod{SYSTEMD}.slice/cri-containerd-c0ffee.scope"],
)
def test_a_running_pod_is_found_and_held(spaces, place, cgroups, path):
    assert spaces.find([UID]) == {}
    assert not spaces.alive(UID)
    process = place.start("sleep", "60")
    cgroups.put(process.pid, path)
    found = spaces.find([UID, "another"])
    assert list(found) == [UID]
    assert "c0ffee" in found[UID]
    assert os.stat(spaces.path(UID)).st_ino == os.stat(place.path).st_ino
    assert spaces.held() == {UID}
    assert spaces.alive(UID)
    assert spaces.find([UID]) == found, "again is the same"
    place.end_processes()
    assert not spaces.alive(UID)
    assert spaces.find([UID]) == {}
    assert spaces.is_held(UID), "until it is let go"
    spaces.drop(UID)
    spaces.drop(UID)
    assert spaces.held() == frozenset()
    assert not spaces.path(UID).exists()


def test_the_first_process_counts_and_not_one_that_moved(spaces, place, cgroups):
    first = place.start("sleep", "60")
    cgroups.put(first.pid, f"kubepods/pod{UID}/sandbox")
    clock = pathlib.Path("/proc/self/stat").read_text  # a later start time: the clock of /proc has ticks of 10 ms
    wait.until(lambda: clock() and _started(subprocess.Popen(["true"])) > _started(first) + 1, "a later tick")
    second = place.start("unshare", "--net", "sleep", "60")
    cgroups.put(second.pid, f"kubepods/pod{UID}/app")
    wait.until(lambda: os.stat(f"/proc/{second.pid}/ns/net").st_ino != os.stat(place.path).st_ino, "another namespace")
    assert spaces.find([UID]) == {UID: "sandbox"}
    assert os.stat(spaces.path(UID)).st_ino == os.stat(place.path).st_ino


def _started(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    if process.args == ["true"]:
        process.wait()
    return int(fields[19])


def test_the_nodes_own_namespace_is_never_held(spaces, cgroups):
    process = subprocess.Popen(["sleep", "60"])
    try:
        cgroups.put(process.pid, f"kubepods/pod{UID}/hostnetwork")
        assert spaces.find([UID]) == {}
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        with pytest.raises(namespaces.NotANamespaceError, match="the node's own"):
            spaces.hold(UID, own)
        os.close(own)
        assert spaces.held() == frozenset()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/proc/self/ns/pid", "/etc/passwd", "/", "/dev/null"])
def test_what_is_no_network_namespace_is_not_held(spaces, path):
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(namespaces.NotANamespaceError, match="no network namespace"):
        spaces.hold(UID, descriptor)
    os.close(descriptor)
    assert spaces.held() == frozenset()


@pytest.mark.parametrize("uid", ["", ".", "..", "a/b", "../x", "a\0b", "x" * 129])
def test_what_is_no_uid_names_no_file(spaces, uid):
    with pytest.raises(ValueError, match="is no uid"):
        spaces.path(uid)


def test_another_namespace_takes_the_place_of_the_one_before(spaces, place):
    later = rig.Namespace()
    try:
        for one in (place, later, later):
            descriptor = os.open(one.path, os.O_RDONLY)
            spaces.hold(UID, descriptor)
            assert spaces.same(UID, descriptor)
            os.close(descriptor)
            assert os.stat(spaces.path(UID)).st_ino == os.stat(one.path).st_ino
        mounts = pathlib.Path("/proc/self/mountinfo").read_text()
        assert mounts.count(f"{spaces.path(UID)} ") == 1, "not one upon the other"
    finally:
        later.close()


def test_what_is_held_is_known_to_the_next_agent_of_the_container(spaces, place, tmp_path):
    descriptor = os.open(place.path, os.O_RDONLY)
    spaces.hold(UID, descriptor)
    os.close(descriptor)
    (tmp_path / "ns" / "half-done").touch()
    again = namespaces.Namespaces(tmp_path / "ns")
    assert again.held() == {UID}
    assert [one.name for one in (tmp_path / "ns").iterdir()] == [UID]


def test_mounts_do_not_spread(spaces, tmp_path):
    line = next(x for x in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f" {tmp_path / 'ns'} " in x)
    assert "shared:" not in line


def test_settings_can_be_written_where_a_container_sees_them_read_only(place):
    code = (
        "import pathlib, subprocess; from retic.node import inside, namespaces;"
        "subprocess.run(['mount', '--bind', '/proc/sys', '/proc/sys'], check=True);"
        "subprocess.run(['mount', '-o', 'remount,bind,ro', '/proc/sys'], check=True);"
        "setting = pathlib.Path('/proc/sys/net/ipv4/fwmark_reflect')\n"
        "try: setting.write_text('1')\n"
        "except OSError as error: print(error.strerror)\n"
        f"namespaces.allow_sysctls(); inside.network_namespace({place.path!r}, lambda: setting.write_text('1'))"
    )
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "Read-only file system\n"
    assert place.run("cat", "/proc/sys/net/ipv4/fwmark_reflect") == "1\n"
    namespaces.allow_sysctls()  # here nothing is to be done
