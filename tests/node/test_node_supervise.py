"""The container's first process: who dies is started again, who is told to end is waited for."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import msgspec
import pytest
from node_rig import alive, end

from retic.testing import wait


@pytest.fixture
def started(tmp_path):
    """Start the supervisor with a program of the test's in the agent's place; its log."""
    made = []

    def start(program):
        (tmp_path / "agent.py").write_text(program)
        code = (
            "import sys; from retic.node import supervise; s = supervise.Supervisor;"
            f"sys.exit(s([sys.executable, {str(tmp_path / 'agent.py')!r}]).run())"
        )
        log = (tmp_path / "log").open("wb")
        made.append(subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, cwd=tmp_path))
        log.close()
        return made[0]

    yield start
    for one in made:
        if one.poll() is None:
            one.send_signal(signal.SIGTERM)  # not killed: it would leave its agent behind
            one.wait(10)
    for line in log(tmp_path).splitlines():
        if line.startswith("child "):
            end(int(line.split()[1]))


def log(tmp_path):
    return (tmp_path / "log").read_text()


def pids(tmp_path):
    return [int(line.split()[1]) for line in log(tmp_path).splitlines() if line.startswith("agent ")]


WAITING = """
import os, signal, sys
for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(n, lambda n, _: (print("got", n, flush=True), n == signal.SIGTERM and sys.exit(7)))
print("agent", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def test_an_agent_that_is_killed_is_started_again(started, tmp_path):
    supervisor = started(WAITING)
    for count in (1, 2, 3):
        wait.until(lambda n=count: len(pids(tmp_path)) == n, f"agent {count}")
        if count < 3:
            os.kill(pids(tmp_path)[-1], signal.SIGKILL)
    assert '"status": 137' in log(tmp_path)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        supervisor.send_signal(number)
        wait.until(lambda n=number: f"got {int(n)}" in log(tmp_path), "the signal passed on")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 7, "the agent's own status"
    assert not alive(pids(tmp_path)[-1])


def test_told_to_end_between_two_agents(started, tmp_path):
    supervisor = started("import os; print('agent', os.getpid(), flush=True); os._exit(3)")
    wait.until(lambda: len(pids(tmp_path)) >= 4, "some attempts")
    supervisor.send_signal(signal.SIGTERM)
    # Between two, or as one ends; on a slow machine perhaps as the next one starts, which the signal then ends.
    assert supervisor.wait(20) in (0, 3, 128 + signal.SIGTERM)


def test_an_unusable_configuration_is_not_tried_again(started, tmp_path):
    supervisor = started("import os; print('agent', os.getpid(), flush=True); os._exit(2)")
    assert supervisor.wait(10) == 2
    assert len(pids(tmp_path)) == 1


def test_what_the_agent_leaves_behind_lives_on_and_is_reaped(started, tmp_path):
    started(
        "import os, subprocess, signal; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "print('agent', os.getpid(), flush=True); print('child', child.pid, flush=True); signal.pause()"
    )
    wait.until(lambda: "child" in log(tmp_path), "a child")
    child = int(log(tmp_path).split("child ")[1].split()[0])
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    wait.until(lambda: len(pids(tmp_path)) == 2, "the next agent")
    try:
        assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
    wait.until(lambda: not pathlib.Path(f"/proc/{child}").exists(), "the child reaped")


async def test_the_supervised_agent_finds_its_envoy_again(control, settings, tmp_path):
    file = tmp_path / "agent.json"
    file.write_bytes(msgspec.json.encode(settings, enc_hook=str))
    command = [sys.executable, "-m", "retic.node", "--config", str(file), "supervise"]
    with (tmp_path / "log").open("wb") as out:
        supervisor = subprocess.Popen(command, stdout=out, stderr=out)
    envoy_pid = settings.folder / "envoy.pid"
    try:
        await wait.until_async(lambda: "agent started" in log(tmp_path), "an agent", 30)
        envoy = json.loads(envoy_pid.read_text())["pid"]
        children = pathlib.Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
        assert len(children) == 1
        assert "retic.node.supervise" in pathlib.Path(f"/proc/{supervisor.pid}/cmdline").read_text()
        os.kill(int(children[0]), signal.SIGKILL)
        await wait.until_async(lambda: "Envoy adopted" in log(tmp_path), "the Envoy adopted", 30)
        assert json.loads(envoy_pid.read_text())["pid"] == envoy
        assert alive(envoy)
        supervisor.send_signal(signal.SIGTERM)
        await wait.until_async(lambda: supervisor.poll() is not None, "the end", 30)
        assert supervisor.returncode == 0
        assert not alive(envoy)
    finally:
        if supervisor.poll() is None:
            supervisor.kill()
            end(envoy)


def test_a_signal_that_finds_no_agent_ends_it_all_the_same(tmp_path):
    """It came when the agent had just ended, or just before the next one was to start."""
    code = """
import os, signal, subprocess, sys
from retic.node import supervise
gone = subprocess.Popen(["true"])
gone.wait()
made = supervise.Supervisor([sys.executable, "-c", f"open({sys.argv[1]!r}, 'w')"])
made._pid = gone.pid
made._pass_on(signal.SIGTERM, None)
sys.exit(made.run())
"""
    begun = tmp_path / "begun"
    done = subprocess.run([sys.executable, "-c", code, str(begun)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not begun.exists()
