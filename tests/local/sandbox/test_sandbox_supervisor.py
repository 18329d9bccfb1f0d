"""The mesh's own processes are kept running, and their logs bounded."""

import os
import signal

from retic.local import supervisor
from retic.testing import wait


def test_pauses_double_up_to_the_most_and_start_over_after_a_healthy_life():
    pauses = supervisor.Pauses(first=1, most=5, healthy=60)
    pause, seen = 0.0, []
    for lived in (0, 1, 2, 3, 59, 61, 1):
        pause = pauses.after(pause, lived)
        seen.append(pause)
    assert seen == [1, 2, 4, 5, 5, 1, 2]


def _pid(mesh, name):
    found = [one["pid"] for one in mesh.ask("processes") if one["name"] == name]
    return found[0] if found else None


def test_a_killed_process_is_started_again_and_what_it_started_lives_on(mesh):
    started = "(setsid sleep 4000 &); echo begun; exec sleep 5000"
    node = str(mesh.folder / "netns" / "node-2")
    mesh.ask("supervise", role="agent", name="node-2", argv=["sh", "-c", started], netns=node)
    first = _pid(mesh, "node-2")
    assert os.stat(f"/proc/{first}/ns/net").st_ino == os.stat(f"/proc/{_node(mesh, node)}/ns/net").st_ino
    wait.until(lambda: _count("sleep\0004000\0") == 1, "the child runs", 20)
    os.kill(first, signal.SIGKILL)
    again = wait.until(lambda: (_pid(mesh, "node-2") or first) != first, "it is restarted", 20)
    assert again
    wait.until(lambda: _count("sleep\0004000\0") == 2, "the first child lives on", 20)
    log = mesh.folder / "logs" / "agent-node-2.log"
    wait.until(lambda: log.read_text() == "begun\n" * 2, "both starts are in the log", 20)
    mesh.ask("stop_supervised", role="agent", name="node-2")
    assert _pid(mesh, "node-2") is None


def test_a_process_deaf_to_sigterm_is_killed_after_its_grace(mesh):
    code = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    mesh.ask("supervise", role="deaf", name="deaf", argv=["sh", "-c", code], grace=0.2)
    log = mesh.folder / "logs" / "deaf.log"
    wait.until(lambda: log.read_text() == "deaf\n", "it is deaf", 20)
    pid = _pid(mesh, "deaf")
    mesh.ask("stop_supervised", role="deaf", name="deaf")
    assert not os.path.exists(f"/proc/{pid}")


def test_a_log_is_bounded(mesh):
    code = "i=0; while [ $i -lt 12 ]; do head -c 1000000 /dev/zero; i=$((i+1)); done; echo end; sleep 5000"
    mesh.ask("supervise", role="chatty", name="one", argv=["sh", "-c", code])
    log = mesh.folder / "logs" / "chatty-one.log"
    # Between a rotation's rename and the new file there is none.
    wait.until(lambda: _content(log).endswith(b"end\n"), "all is written", 20)
    older = log.with_name("chatty-one.log.1")
    assert log.stat().st_size + older.stat().st_size <= 4 * 1024 * 1024
    mesh.ask("stop_supervised", role="chatty", name="one")


def _content(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _node(mesh, netns):
    return mesh.ask("start", argv=["sleep", "5000"], netns=netns)


def _count(argv):
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline") as file:
                found += file.read() == argv
        except OSError:
            continue
    return found
