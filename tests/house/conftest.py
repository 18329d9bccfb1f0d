"""What the tests of the house share."""

import subprocess
import sys

import pytest


@pytest.fixture
def start():
    """Start one of the echo servers by its module's name; gives its port. All are ended after the test."""
    running = []

    def run(module: str, *arguments: str) -> int:
        command = [sys.executable, "-m", f"retic.testing.apps.{module}", "--host", "127.0.0.1", "--port", "0"]
        child = subprocess.Popen(
            [*command, "--name", "one", "--version", "v1", *arguments], stdout=subprocess.PIPE, text=True
        )
        running.append(child)
        line = child.stdout.readline()
        assert line.startswith("listening 127.0.0.1:"), line
        return int(line.rpartition(":")[2])

    yield run
    for child in running:
        child.terminate()
        assert child.wait(timeout=10) == 0
        child.stdout.close()
