"""`retic up` for real, namespaces and all, with a first process that only answers at its sockets."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from retic.local import state
from retic.testing import wait

_UP = """
import os, msgspec
from retic.cli import __main__
from retic.local import outer
start = outer.start
def quiet(config, **more):
    given = {"RETIC_TEST_ANSWERS": os.environ.get("RETIC_TEST_ANSWERS", "{}")}
    entry = "retic.testing.commands"
    return start(msgspec.structs.replace(config, entry=entry, environment=given), **more)
outer.start = quiet
__main__.main()
"""

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: main, image: none, command: [sleep, "1"]}]}
"""


@pytest.fixture
def name():
    mesh = f"up{os.getpid()}"
    yield mesh
    subprocess.run([sys.executable, "-m", "retic.cli", "down", "--name", mesh], check=True, timeout=60)


@pytest.fixture
def up(tmp_path, name):
    (tmp_path / "m.yaml").write_text(MANIFEST)

    def command(*arguments, manifests=tmp_path, **answers):
        env = {**os.environ, "RETIC_TEST_ANSWERS": json.dumps(answers)}
        argv = [sys.executable, "-c", _UP, "up", "-f", str(manifests), "--name", name, *arguments]
        return argv, {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    return command


def run(command):
    argv, more = command
    return subprocess.run(argv, timeout=60, check=False, **more)


def test_detached_it_returns_when_all_is_ready_and_a_second_one_is_refused(up, name):
    done = run(up("--detach"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"mesh {name} is ready: see retic ps --name {name}, end it with retic down --name {name}\n"
    )
    again = run(up("--detach"))
    assert again.returncode == 1
    assert again.stderr == (
        f"retic: a mesh named {name} runs already: see it with retic ps --name {name}, "
        f"stop it with retic down --name {name}, or choose another --name\n"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "retic.cli", "ps", "--name", name], capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stdout) == (0, "no pods and no services\n")


def test_detached_it_gives_the_reasons_when_it_does_not_become_ready(up):
    settled = {"ready": False, "reasons": ["Pod shop/web: the readiness probe fails"]}
    done = run(up("--detach", "--timeout", "1", settled=settled))
    assert (done.returncode, done.stdout) == (1, "")
    assert "  Pod shop/web: the readiness probe fails\n" in done.stderr
    assert "retic logs" in done.stderr


def test_an_interrupted_wait_says_that_the_mesh_goes_on(up, name):
    argv, more = up("--detach", settled_after=1000)
    with subprocess.Popen(argv, **more) as process:
        folder = state.folder(name)
        wait.until((folder / "asked").exists, "it waits", 30)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    flag = f" --name {name}"
    assert (process.returncode, out) == (130, "")
    assert errors == (
        f"retic: interrupted; mesh {name} goes on: see it with retic ps{flag} and retic logs{flag}, "
        f"end it with retic down{flag}\n"
    )
    assert folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_ends_with_its_signal_and_leaves_nothing(up, name, number):
    argv, more = up()
    with subprocess.Popen(argv, **more) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " 0 pods ready after " in line
        folder = state.folder(name)
        assert folder.exists()
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (0, "\nending ...\n", "")
    assert not folder.exists()


def test_when_it_is_killed_the_mesh_ends_too(up, name):
    argv, more = up()
    with subprocess.Popen(argv, **more) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)
    wait.until(lambda: not pathlib.Path(state.folder(name)).exists(), "the state folder is gone", 30)


def test_ended_from_elsewhere_it_says_so(up, name):
    argv, more = up()
    with subprocess.Popen(argv, **more) as process:
        assert process.stdout is not None
        process.stdout.readline()
        down = [sys.executable, "-m", "retic.cli", "down", "--name", name]
        done = subprocess.run(down, capture_output=True, text=True, timeout=60, check=False)
        rest, errors = process.communicate(timeout=60)
    assert done.stdout == f"mesh {name} is down\n"
    assert (process.returncode, rest, errors) == (0, "the mesh was ended from elsewhere\n", "")
