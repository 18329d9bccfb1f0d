"""The command line itself: help at once, one line for each mistake, exit codes, no traceback."""

import json
import os
import subprocess
import sys
import time

import pytest

from retic.cli import app

COMMANDS = {
    "up": ["-f", "--nodes", "--name", "--detach", "--timeout"],
    "ps": ["-o", "-n", "-A", "--name", "--kubeconfig", "--context"],
    "policies": ["-o", "-n", "-A", "--name", "--kubeconfig", "--context"],
    "exec": ["-i", "-t", "-n", "-c", "--name"],
    "logs": ["-n", "-f", "--tail", "--previous", "-c", "--name"],
    "version": ["--name", "--kubeconfig", "--context"],
    "proxy": ["-o", "--name", "--kubeconfig", "--context"],
    "why": ["-o", "--reads", "--name", "--kubeconfig", "--context"],
    "analyze": ["-f", "-n", "-A", "-o", "--name", "--kubeconfig", "--context"],
    "wait": ["-n", "--timeout", "--name", "--kubeconfig", "--context"],
    "down": ["--name"],
    "install": ["--dry-run", "--set", "-f", "--kubeconfig", "--context", "--wait", "--timeout", "--force-conflicts"],
    "upgrade": ["--dry-run", "--set", "-f", "--reset-values", "--kubeconfig", "--context", "--wait", "--timeout"],
    "uninstall": ["--kubeconfig", "--context", "--timeout", "--force"],
    "check": ["--pre", "-o", "--kubeconfig", "--context"],
}


# No cluster is named, and no mesh of the default name runs, whatever is on this machine.
NOWHERE = {
    **{key: value for key, value in os.environ.items() if key != "KUBECONFIG"},
    "HOME": "/nonexistent", "KUBERNETES_SERVICE_HOST": "",
}


def retic(*arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", "retic.cli", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env=env or NOWHERE,
    )


def test_the_commands_are_these():
    known = {command.name or command.callback.__name__ for command in app.app.registered_commands}
    assert known == set(COMMANDS)


def test_the_authority_of_a_cluster_has_two():
    assert retic("ca", "--help").stdout.count("Replace the root by a new one") == 1
    for command in ("rotate", "status"):
        done = retic("ca", command, "--help")
        assert f"retic ca {command}" in done.stdout.partition("Examples:")[2]


def test_no_cluster_to_rotate_on(tmp_path):
    done = retic("ca", "rotate", "--kubeconfig", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("retic: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_each_has_its_options_and_examples(command):
    done = retic(command, "--help")
    assert done.returncode == 0
    assert f"retic {command}" in done.stdout.partition("Examples:")[2]
    for option in COMMANDS[command]:
        assert f"{option}," in done.stdout or f"{option} " in done.stdout, option


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bogus"], 2, "No such command 'bogus'"),
        (["up"], 2, "Missing option '-f'"),
        (["up", "-f", "/nonexistent.yaml"], 2, "/nonexistent.yaml: no such file or folder"),
        (["up", "-f", "x", "--nodes", "0"], 2, "greater than or equal to 1"),
        (["exec", "pod"], 2, "Missing argument"),
        (["ps", "--name", "no-such-mesh"], 1, "retic up -f PATH --name no-such-mesh"),
        (["ps", "--name", "Bad_Name"], 1, "cannot name a mesh"),
        (["ps", "-o", "yaml"], 2, "'yaml' is not one of 'table', 'json'"),
        (["analyze", "-f", "/nonexistent"], 2, "no such file or folder"),
        (["ps", "--kubeconfig", "/nonexistent"], 1, "/nonexistent: cannot be read"),
        (["ps", "--name", "a", "--context", "b"], 2, "give one or the other"),
        (["wait", "pod/web"], 2, "pod/web: write KIND/NAME, where KIND is one of authorizationpolicy,"),
        (["wait", "gateway/a/b/c"], 2, "gateway/a/b/c: write KIND/NAME"),
        (["up", "-f", "-"], 2, "a mesh follows its files, and standard input is none: write it to a file"),
    ],
)
def test_mistakes_are_one_line_on_standard_error(arguments, code, words):
    done = retic(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.startswith("retic: ")
    assert done.stderr.count("\n") == 1


def test_manifests_without_an_object_are_not_run(tmp_path):
    (tmp_path / "a.yaml").write_text("kind: [\n")
    done = retic("up", "-f", str(tmp_path))
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith(f"{tmp_path}/a.yaml:")
    assert " error RT0001" in first
    assert "no Kubernetes object to run" in last


_SNIPPET = """
import sys, types
from retic.cli import __main__, ps, running, version
running.sys = version.sys = types.SimpleNamespace(platform=sys.argv.pop(1))
def broken(*_, **__):
    raise KeyError("pods")
if sys.argv.pop(1) == "broken":
    ps.run = broken
__main__.main()
"""


def snippet(*arguments):
    return subprocess.run(
        [sys.executable, "-c", _SNIPPET, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env=NOWHERE,
    )


@pytest.mark.parametrize("arguments", [["up", "-f", "."], ["ps"], ["exec", "p", "--", "ls"], ["down"]])
def test_other_systems_are_told_that_local_mode_needs_linux(arguments):
    done = snippet("darwin", "whole", *arguments)
    assert done.returncode == 1
    assert "local mode needs Linux" in done.stderr


def test_version_works_everywhere():
    for platform in ("darwin", "linux"):
        done = snippet(platform, "whole", "version", "--name", "no-such-mesh")
        assert done.returncode == 0
        assert done.stdout.splitlines()[0].startswith("retic 0.")
        assert done.stdout.splitlines()[1].startswith("mesh no-such-mesh: not running")
        assert done.stdout.splitlines()[2] == "envoy 1.40.0"


def test_an_internal_error_is_a_line_and_with_debug_a_traceback():
    plain = snippet("linux", "broken", "ps")
    assert plain.returncode == 70
    assert "internal error: KeyError" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in snippet("linux", "broken", "--debug", "ps").stderr


def test_a_reader_that_leaves_early_hears_no_complaint():
    done = subprocess.run(
        f"{sys.executable} -m retic.cli --help | true", shell=True, capture_output=True, text=True,
        timeout=60, check=False,
    )
    assert done.stderr == ""


def test_help_needs_little_of_the_program():
    """What makes help slow is imports; the time itself is bounded generously, for machines under load."""
    seen = retic("--help", env={**NOWHERE, "PYTHONPROFILEIMPORTTIME": "1"})
    for heavy in ("rich", "grpc", "google.protobuf", "msgspec", "cryptography", "structlog", "yaml"):
        assert f"| {heavy}\n" not in seen.stderr.replace("|   ", "| "), heavy
    best = min(_seconds() for _ in range(5))
    assert best < 1.0


def _seconds():
    begun = time.monotonic()
    assert retic("--help").returncode == 0
    return time.monotonic() - begun


def test_codes_of_answers_and_of_findings_are_explained_without_a_mesh():
    assert retic("explain", "code", "rt1101").stdout.startswith("RT1101  a proxy's own answer: no endpoint is ready")
    assert retic("explain", "code", "RT0201").stdout.startswith("RT0201  a finding (error): ")
    said = json.loads(retic("explain", "code", "RT1403", "-o", "json").stdout)
    assert (said["code"], said["kind"]) == ("RT1403", "answer")
    assert "RT1418" in retic("explain", "code", "RT1418").stdout  # a status that has no words of its own


@pytest.mark.parametrize("code", ["RT1999", "RT14033", "nonsense", "", "RT1\x1b[31m"])
def test_a_code_that_there_is_not(code):
    done = retic("explain", "code", code)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no code" in done.stderr
    assert "RT" in done.stderr.partition("there is no code")[2]
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "words", [[], ["3f0c7a52-91d4-4c36-9d5e-0a6c1f7b8e21", "--last", "3"], ["--last", "-1"], ["x", "-n", "shop"],
              ["--last", "3", "-o", "yaml"]],
)  # fmt: skip
def test_a_response_is_asked_by_its_id_or_in_a_list(words):
    done = retic("explain", "response", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
