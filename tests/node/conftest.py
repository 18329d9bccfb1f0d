"""A fake control plane, an agent's settings, and a network namespace of its own."""

import contextlib
import json
import subprocess
import uuid

import pytest
from node_rig import end, make_settings

from retic.testing import upstream


@pytest.fixture
async def control(tmp_path):
    made = upstream.Control(tmp_path / "ca")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def settings(control, tmp_path):
    made = make_settings(control, tmp_path)
    yield made
    with contextlib.suppress(FileNotFoundError):  # what a failed test left
        end(json.loads((made.folder / "envoy.pid").read_text())["pid"])


@pytest.fixture
def netns():
    """The path of a new network namespace with its loopback up."""
    name = f"retic-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)
