"""Pods in real namespaces: network, names, volumes, commands."""

import os
import signal
import sys

import pytest

from retic.testing import host_side, wait

SERVE = """
import socket, sys
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    while True:
        s, peer = server.accept()
        s.sendall(peer[0].encode()); s.close()
"""
CALL = """
import socket, sys, time
end = time.monotonic() + 20
while True:
    try:
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20); break
    except ConnectionRefusedError:
        if time.monotonic() > end: raise
print(s.makefile().read())
"""

TERMINAL = """
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while b"on a terminal" not in said:
    said += os.read(fd, 1000)
os.write(fd, b"\\x03")
try:
    while data := os.read(fd, 1000):
        said += data
except OSError:
    pass
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_pods_of_two_nodes_reach_each_other_with_their_own_addresses(mesh):
    mesh.ask("start", argv=[sys.executable, "-c", SERVE, "7000"], pod="b")
    assert mesh.python(CALL, "10.244.2.2", "7000", pod="a") == "10.244.1.2"
    mesh.ask("start", argv=[sys.executable, "-c", SERVE, "7001"], pod="a")
    assert mesh.python(CALL, "10.244.1.2", "7001", pod="b") == "10.244.2.2"


def test_pods_of_one_node_reach_each_other(mesh):
    mesh.ask("add_pod", uid="c", node="node-1", ip="10.244.1.3")
    mesh.ask("start", argv=[sys.executable, "-c", SERVE, "7002"], pod="c")
    assert mesh.python(CALL, "10.244.1.3", "7002", pod="a") == "10.244.1.2"
    mesh.ask("remove_pod", uid="c")


def test_a_reused_address_works_at_once(mesh):
    for uid in ("first", "second", "third"):
        mesh.ask("add_pod", uid=uid, node="node-1", ip="10.244.1.9")
        mesh.ask("start", argv=[sys.executable, "-c", SERVE, "7003"], pod=uid)
        assert mesh.python(CALL, "10.244.1.9", "7003", pod="a") == "10.244.1.2"
        mesh.ask("remove_pod", uid=uid)


def test_the_cluster_dns_address_is_on_every_node(mesh):
    code = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.96.0.10", 53))
while True:
    data, peer = s.recvfrom(100); s.sendto(data + peer[0].encode(), peer)
"""
    ask = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.2)
for _ in range(100):
    s.sendto(b"from ", ("10.96.0.10", 53))
    try:
        print(s.recv(100).decode()); break
    except (TimeoutError, ConnectionRefusedError):
        continue
"""
    for node, pod, ip in (("node-1", "a", "10.244.1.2"), ("node-2", "b", "10.244.2.2")):
        mesh.ask("start", argv=[sys.executable, "-c", code], netns=str(mesh.folder / "netns" / node))
        assert mesh.python(ask, pod=pod) == f"from {ip}"


def test_names_in_a_pod(mesh):
    text = mesh.run("cat", "/etc/resolv.conf", pod="a")["output"]
    assert text == (
        "nameserver 10.96.0.10\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "options ndots:5\n"
    )
    assert "10.244.1.2\ta.set.shop.svc.cluster.local\ta" in mesh.run("cat", "/etc/hosts", pod="a")["output"]
    assert "hosts: files dns" in mesh.run("cat", "/etc/nsswitch.conf", pod="a")["output"]
    assert mesh.python("import socket; print(socket.gethostname())", pod="b") == "b"
    assert mesh.python("import socket; print(socket.gethostbyname('b'))", pod="b") == "10.244.2.2"


def test_a_pod_does_not_see_the_keys_of_the_mesh(mesh):
    assert mesh.run("ls", "-A", str(mesh.folder), pod="a")["output"] == ""
    assert "cluster.json" in mesh.run("ls", "-A", str(mesh.folder))["output"]


@pytest.fixture
def volumes(mesh):
    """Sources in the state folder, as the kubelet makes them."""
    base = mesh.folder / "pods" / "shop_v"
    answer = mesh.run(
        "sh", "-c", f"mkdir -p {base}/one/in {base}/two && echo one > {base}/one/f && echo 2 > {base}/two/g"
    )
    assert answer["code"] == 0, answer["output"]
    uids = iter(f"v{number}" for number in range(100))
    made = []

    def add(*wanted):
        uid = next(uids)
        listed = [{"source": str(base / source), "path": path, **more} for source, path, more in wanted]
        mesh.ask("add_pod", uid=uid, node="node-1", ip="10.244.1.77", volumes=listed)
        made.append(uid)
        return uid

    yield add
    for uid in made:
        mesh.ask("remove_pod", uid=uid)


def test_a_volume_appears_at_a_path_that_does_not_exist(mesh, volumes):
    pod = volumes(("one", "/srv/retic-test/deep/er", {}), ("two", "/retic-test-top", {}))
    assert mesh.run("cat", "/srv/retic-test/deep/er/f", pod=pod)["output"] == "one\n"
    assert mesh.run("cat", "/retic-test-top/g", pod=pod)["output"] == "2\n"
    assert mesh.run("sh", "-c", "echo new > /retic-test-top/h", pod=pod)["code"] == 0
    assert (mesh.folder / "pods/shop_v/two/h").read_text() == "new\n"
    assert not os.path.exists("/srv/retic-test")
    assert not os.path.exists("/retic-test-top")
    # The rest of the machine is still there, and so is the interpreter.
    assert mesh.python("import os; print(os.path.exists('/usr/bin/env'))", pod=pod) == "True"


def test_a_volume_covers_a_folder_that_exists(mesh, volumes):
    pod = volumes(("one", "/srv", {}), ("two", "/srv/in/side", {}))
    assert mesh.run("ls", "/srv", pod=pod)["output"] == "f\nin\n"
    assert mesh.run("cat", "/srv/in/side/g", pod=pod)["output"] == "2\n"


def test_a_read_only_volume(mesh, volumes):
    pod = volumes(("one", "/srv/retic-ro", {"read_only": True}))
    answer = mesh.run("sh", "-c", "cat /srv/retic-ro/f; echo x > /srv/retic-ro/f", pod=pod)
    assert answer["code"] != 0
    assert answer["output"].startswith("one\n")
    assert "Read-only" in answer["output"]


def test_a_single_file_as_a_volume(mesh, volumes):
    pod = volumes(("one/f", "/etc/retic-test/conf.d/f.conf", {}), ("two/g", "/etc/hostname", {}))
    assert mesh.run("cat", "/etc/retic-test/conf.d/f.conf", "/etc/hostname", pod=pod)["output"] == "one\n2\n"
    # What was in /etc is still there, the pod's own files too.
    assert mesh.run("cat", "/etc/passwd", pod=pod)["code"] == 0
    assert "nameserver 10.96.0.10" in mesh.run("cat", "/etc/resolv.conf", pod=pod)["output"]


def test_a_file_over_a_folder_is_refused_and_leaves_nothing(mesh, volumes):
    with pytest.raises(RuntimeError, match="volume at /usr: there is a folder at that path"):
        volumes(("one/f", "/usr", {}))
    assert mesh.run("ls", str(mesh.folder / "netns"))["output"].split() == ["a", "b", "node-1", "node-2"]


def test_exit_codes_and_missing_commands(mesh):
    assert mesh.run("sh", "-c", "exit 7", pod="a")["code"] == 7
    assert mesh.run("sh", "-c", "kill -9 $$", pod="a")["code"] == -9
    with pytest.raises(RuntimeError, match=r"FileNotFoundError.*cannot run nonsense"):
        mesh.run("nonsense", pod="a")
    with pytest.raises(RuntimeError, match="cannot enter the folder /nowhere"):
        mesh.run("true", pod="a", cwd="/nowhere")


def test_an_environment_larger_than_a_packet(mesh):
    values = {f"V{number}": "x" * 60_000 for number in range(10)}
    assert mesh.python("import os; print(len(os.environ['V9']))", pod="a", env=values) == "60000"


def test_what_a_command_leaves_in_its_group_dies_with_it(mesh):
    answer = mesh.run("sh", "-c", "sleep 1000 & echo $!; cat /proc/$!/stat >/dev/null 2>&1", pod="a")
    assert answer["code"] in (0, 1)
    wait.until(lambda: not _commands("sleep\0001000\0"), "the sleeping child is gone", 20)


def test_orphans_are_reaped_in_pods_and_beside_pid_1(mesh):
    for pod in ("a", None):
        mesh.run("sh", "-c", "(setsid sh -c 'sleep 0.05' &) ; exit 0", pod=pod)
    wait.until(lambda: not _zombies(mesh), "no zombie is left", 20)


def test_two_hundred_commands_at_once_keep_their_own_status(mesh):
    code = "for i in $(seq 1 40); do sh -c 'exit 3' & done; wait; exit 9"
    pids = [mesh.ask("start", argv=["sh", "-c", f"exit {n}"], pod="a") for n in range(40)]
    assert mesh.run("sh", "-c", code, pod="b")["code"] == 9
    assert [mesh.ask("wait", host_pid=pid) for pid in pids] == list(range(40))


def test_a_command_that_nobody_waits_for_any_more_is_killed(mesh):
    assert mesh.ask("abandon", argv=["sleep", "7000"], pod="a")
    assert mesh.run("true", pod="a")["code"] == 0  # served after it, by the same spawner
    wait.until(lambda: not _commands("sleep\0007000\0"), "it is killed", 20)


def test_removing_a_pod_ends_all_that_runs_in_it(mesh):
    mesh.ask("add_pod", uid="gone", node="node-2", ip="10.244.2.9")
    fifo = str(mesh.machine.runtime / "fifo")
    code = "mkfifo $0; (setsid sh -c 'echo >$0; exec sleep 2000' $0 >/dev/null 2>&1 &); read _ <$0"
    mesh.run("sh", "-c", code, fifo, pod="gone")
    wait.until(lambda: _commands("sleep\0002000\0"), "the orphan outlived its group", 20)
    mesh.ask("remove_pod", uid="gone")
    assert not _commands("sleep\0002000\0")
    assert not (mesh.folder / "sandboxes" / "gone").exists()


def test_a_killed_holder_is_noticed(mesh):
    made = mesh.ask("add_pod", uid="shot", node="node-2", ip="10.244.2.8")
    running = mesh.ask("start", argv=["sleep", "1000"], pod="shot")
    os.kill(made["host_pid"], signal.SIGKILL)
    assert mesh.ask("wait", host_pid=running) == -9
    with pytest.raises(RuntimeError, match=r"KeyError|the pod is gone"):
        wait.until(lambda: mesh.run("true", pod="shot") and None, "the pod is gone", 20)
    mesh.ask("remove_pod", uid="shot")
    mesh.ask("add_pod", uid="shot", node="node-2", ip="10.244.2.8")
    mesh.ask("remove_pod", uid="shot")


def test_enter_from_the_host(mesh):
    holder = mesh.ask("add_pod", uid="door", node="node-1", ip="10.244.1.20")["host_pid"]

    def enter(*argv):
        return mesh.machine.run([*host_side.COMMAND, "enter", str(holder), *argv])

    code = "import socket; print(socket.gethostname(), open('/etc/resolv.conf').readline().strip())"
    assert enter(sys.executable, "-c", code).stdout == b"door nameserver 10.96.0.10\n"
    assert enter("sh", "-c", "exit 42").returncode == 42
    assert enter("sh", "-c", "kill -TERM $$").returncode == 143
    assert enter("nonsense").returncode == 127
    # A signal to the command line reaches the command.
    argv = [
        *host_side.COMMAND,
        "enter",
        str(holder),
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo on; sleep 9 & wait",
    ]
    process = mesh.machine.popen(argv, stdout=-1)
    assert process.stdout.readline() == b"on\n"
    process.terminate()
    assert process.wait(20) == 5
    process.stdout.close()
    mesh.ask("remove_pod", uid="door")


def test_enter_on_a_terminal(mesh):
    """Ctrl-C goes to the command, which decides; the command line reports what came of it."""
    holder = mesh.ask("add_pod", uid="tty", node="node-1", ip="10.244.1.21")["host_pid"]
    code = "trap 'echo caught; exit 6' INT; test -t 0 && echo on a terminal; while :; do sleep 0.1; done"
    argv = [*host_side.COMMAND, "enter", str(holder), "sh", "-c", code]
    answer = mesh.machine.python(TERMINAL, *argv)
    assert b"caught" in answer.stdout, answer
    assert answer.returncode == 6
    mesh.ask("remove_pod", uid="tty")


def _commands(argv):
    return [pid for pid in _pids() if _read(f"/proc/{pid}/cmdline") == argv]


def _zombies(mesh):
    spawners = set(mesh.machine.processes())
    fields = [_read(f"/proc/{pid}/stat").rpartition(")")[2].split() for pid in _pids()]
    return [one for one in fields if one and one[0] == "Z" and int(one[1]) in spawners]


def _pids():
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
