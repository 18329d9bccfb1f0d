"""The socket of the CNI plugin against those who should not ask, and who ask what they should not."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile

import cluster_rig as rig
import pytest
from node_rig import running

from retic.node import attachments, membership
from retic.testing import wait

PATIENCE = 30.0  # seconds for a question and for the control plane's list to arrive: a slow machine makes them too


@pytest.fixture
def settings(control, tmp_path):
    made = rig.cluster_settings(control, tmp_path)
    yield made
    rig.unmount(made.netns_folder)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    monkeypatch.setattr(attachments, "SECONDS", PATIENCE)
    monkeypatch.setattr(membership, "KNOWN_SECONDS", PATIENCE)


@pytest.fixture
async def agent(control, settings):
    rig.tell(control, 1)
    async with running(settings) as made:
        await wait.until_async(settings.ready_file.exists, "an agent in charge")
        yield made


def add(**fields):
    named = {"uid": "u1", "namespace": "shop", "name": "cart-1", "sandbox": "s", "ip": "10.244.1.5", **fields}
    return json.dumps({"add": named}).encode() + b"\n"


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def test_the_socket_is_roots_alone(agent, settings):
    found = settings.cni_socket.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)


async def test_another_user_is_refused_even_where_the_mode_lets_him_in(agent, settings):
    above = [path for path in settings.cni_socket.parents if path.is_relative_to(tempfile.gettempdir())][:-1]
    modes = {path: path.stat().st_mode for path in (settings.cni_socket, *above)}
    for path in modes:
        path.chmod(0o777)
    code = (
        "import socket, os; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        f"s.connect({str(settings.cni_socket)!r}); print(s.recv(500).decode())"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    for path, mode in modes.items():
        path.chmod(stat.S_IMODE(mode))
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == {"error": "user 65534 may not ask"}
    assert json.loads(await rig.question(settings.cni_socket, b'{"status": true}\n')) == {"ok": True}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\n", "truncated"), (b"null\n", "Expected `object`"), (b"{}\n", 'write {"add": ...}'),
        (b'{"add": 1}\n', "Expected `object | null`"), (b'{"add": {"uid": "u1"}}\n', "missing required field"),
        (b'{"remove": {}}\n', "unknown field"),
        (b'{"del": {"uid": "../x", "namespace": "a", "name": "b"}}\n', "no uid"),
        (add(), "one descriptor"), (add(uid="../../etc/passwd"), "is no uid"), (add(uid="x" * 4000), "is no uid"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
async def test_what_cannot_be_understood_is_refused_with_words(agent, settings, line, words):
    assert words in json.loads(await rig.question(settings.cni_socket, line))["error"]
    assert agent.pods.all() == []


async def test_lines_without_end_and_clients_that_say_nothing(agent, settings, monkeypatch):
    long = json.loads(await rig.question(settings.cni_socket, b" " * (attachments.LONGEST + 1)))
    assert "at most 65536 bytes" in long["error"]
    monkeypatch.setattr(attachments, "SECONDS", 0.3)
    assert "no whole line" in json.loads(await rig.question(settings.cni_socket, b'{"status"'))["error"]
    before = descriptors()
    idle = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    for one in idle:
        await asyncio.to_thread(one.connect, str(settings.cni_socket))
    monkeypatch.setattr(attachments, "SECONDS", PATIENCE)  # for the next one, who does say something
    assert json.loads(await rig.question(settings.cni_socket, b'{"status": true}\n')) == {"ok": True}
    for one in idle:
        one.close()
    await wait.until_async(lambda: descriptors() <= before, "no descriptor left")


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/ns/net", "/proc/self/ns/mnt", "/"])
async def test_only_a_pods_network_namespace_is_taken(agent, control, settings, path):
    entry = {"uid": "u1", "namespace": "shop", "name": "cart-1", "service_account": "cart", "mesh": True}
    rig.tell(control, 2, entry)
    before = descriptors()
    descriptor = os.open(path, os.O_RDONLY)
    answer = json.loads(await rig.question(settings.cni_socket, add(), descriptor))
    assert "namespace" in answer["error"]
    os.close(descriptor)
    assert list(settings.netns_folder.iterdir()) == []
    await wait.until_async(lambda: descriptors() <= before + 2, "what was handed over is closed")  # the rig's channel


async def test_many_descriptors_are_refused_and_closed(agent, settings):
    before = descriptors()
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
    answer = json.loads(await rig.question(settings.cni_socket, add(), *many))
    assert "one descriptor" in answer["error"]
    for one in many:
        os.close(one)
    await wait.until_async(lambda: descriptors() <= before, "all are closed")


async def test_the_next_agents_socket_stays_when_this_one_ends(control, settings):
    first = attachments.Attachments(settings.cni_socket, None)
    second = attachments.Attachments(settings.cni_socket, None)
    await first.start()
    await second.start()
    await first.close()
    assert json.loads(await rig.question(settings.cni_socket, b'{"status": true}\n')) == {"ok": True}
    await second.close()
    assert not settings.cni_socket.exists()
