"""Two agents of one node, each a process of its own, real rules between them: who has the pods, whoever fails."""

import asyncio
import contextlib
import json
import signal

import pytest
from node_rig import alive, ask, call_out, echoes, end, make_settings, pod, publish, start_process

from retic.node import inside, listening, ports, redirect
from retic.testing import wait


@pytest.fixture
async def agents(control, tmp_path):
    """Start an agent; all of them, and their Envoys, end with the test. All share one folder, as on a node."""
    started = []

    async def start(**fields):
        settings = make_settings(control, tmp_path, handover_seconds=20.0, **fields)
        made = Agent(await start_process(settings, tmp_path), settings.folder)
        started.append(made)
        return made

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        await one.process.wait()
    for file in (tmp_path / "agent").glob("[ab]/envoy.pid"):
        end(json.loads(file.read_text())["pid"])


class Agent:
    def __init__(self, process, folder):
        self.process = process
        self.folder = folder

    async def in_charge(self):
        """Wait until it is the one who answers."""
        await wait.until_async(lambda: served_by(self.folder / "agent.sock") == self.process.pid, "it is in charge", 20)

    async def ended(self, seconds=20):
        return await asyncio.wait_for(self.process.wait(), seconds)


def served_by(path):
    """The pid of who serves at the path, by the socket's own word."""
    import socket
    import struct

    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(str(path))
        except OSError:
            return 0
        return struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def envoy(folder, slot="."):
    try:
        return json.loads((folder / slot / "envoy.pid").read_text())["pid"]
    except FileNotFoundError:
        return 0


def listened(netns):
    with listening.opened(netns) as tables:
        return listening.ports(tables) & ports.EVERY


async def redirected(netns):
    """A new connection works."""
    def works():
        try:
            with call_out(netns) as fresh:
                return echoes(fresh)
        except OSError:
            return False

    await wait.until_async(works, "a new connection works", 20)


async def test_the_next_agent_takes_over_and_the_one_before_drains(control, agents, netns):
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    before = envoy(first.folder)
    held = call_out(netns)
    assert echoes(held)
    reader, writer = await asyncio.open_unix_connection(first.folder / "cni.sock")
    second = await agents()
    await second.in_charge()
    await redirected(netns)
    assert envoy(first.folder) != before
    assert echoes(held), "what was there lives on"
    assert [one["uid"] for one in (await ask(first.folder / "cni.sock", list=True))["pods"]] == ["u1"]
    writer.write(b'{"list": true}\n')
    assert [one["uid"] for one in json.loads(await reader.readline())["pods"]] == ["u1"], "passed on"
    writer.close()
    held.close()
    await wait.until_async(lambda: not alive(before), "the Envoy before has ended", 20)
    assert first.process.returncode is None, "it waits to be told, or its container would be started again"
    assert listened(netns) == ports.SECOND.all
    first.process.terminate()
    assert await first.ended() == 0
    assert await ask(second.folder / "cni.sock", **{"del": {"uid": "u1"}}) == {"ok": True}


async def test_an_agent_that_is_told_to_end_goes_on_until_another_has_taken_over(control, agents, netns):
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    before = envoy(first.folder)
    first.process.terminate()
    await wait.until_async(lambda: "waiting for a successor" in log(first), "it waits")
    with call_out(netns) as held:
        assert echoes(held)
        second = await agents()
        await second.in_charge()
        assert echoes(held)
        assert first.process.returncode is None
    assert await first.ended() == 0
    assert not alive(before)
    await redirected(netns)
    second.process.terminate()
    await wait.until_async(lambda: log(first).count("waiting for a successor") == 2, "it waits, too")
    assert second.process.returncode is None
    second.process.terminate()
    assert await second.ended() == 0, "told twice"
    assert not alive(envoy(first.folder))


async def test_a_next_agent_killed_before_it_is_ready_changes_nothing(control, agents, netns):
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    before = envoy(first.folder)
    broken = first.folder / "slow-envoy"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'version: abc/1.40.0/x' || exec sleep 60\n")
    broken.chmod(0o755)
    second = await agents(envoy=str(broken))
    await wait.until_async(lambda: envoy(first.folder, "b"), "its Envoy", 20)
    second.process.kill()
    await second.ended()
    await redirected(netns)
    assert served_by(first.folder / "agent.sock") == first.process.pid
    assert envoy(first.folder) == before
    end(envoy(first.folder, "b"))
    assert await ask(first.folder / "agent.sock", replace=True) == {"ok": True}, "the ports are free again"


async def test_a_next_agent_that_fails_while_it_takes_over_has_everything_taken_back(control, agents, netns):
    """By the protocol's own words: asked to give, and then never told that it was superseded."""
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    reader, writer = await asyncio.open_unix_connection(first.folder / "agent.sock")
    writer.write(b'{"give": true}\n')
    assert [one["uid"] for one in json.loads(await reader.readline())["pods"]] == ["u1"]
    listing = asyncio.create_task(ask(first.folder / "cni.sock", list=True))
    refused = await ask(first.folder / "agent.sock", give=True)
    assert "handed over to another" in refused["error"]
    assert not listing.done(), "whoever comes meanwhile waits"
    inside.network_namespace(netns, lambda: redirect.load("flush chain inet retic output"))
    with pytest.raises(ConnectionRefusedError):
        call_out(netns)
    writer.close()
    assert [one["uid"] for one in (await listing)["pods"]] == ["u1"]
    await redirected(netns)
    assert await ask(first.folder / "agent.sock", replace=True) == {"ok": True}


async def test_an_agent_and_its_envoy_killed_while_another_one_starts(control, agents, netns):
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    before = envoy(first.folder)
    second = await agents()
    await wait.until_async(lambda: envoy(first.folder, "b"), "the next Envoy", 20)
    first.process.kill()
    end(before)
    await first.ended()
    await second.in_charge()
    await redirected(netns)
    assert [one["uid"] for one in (await ask(first.folder / "cni.sock", list=True))["pods"]] == ["u1"]


async def test_a_successor_that_dies_is_followed_by_the_one_that_it_superseded(control, agents, netns):
    publish(control, netns)
    first = await agents()
    await first.in_charge()
    assert await ask(first.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    second = await agents()
    await second.in_charge()
    await wait.until_async(lambda: "an Envoy has drained" in log(first), "the first one is idle", 20)
    second.process.send_signal(signal.SIGTERM)  # no third one comes
    await first.in_charge()
    await redirected(netns)
    assert await second.ended() == 0
    await redirected(netns)


def log(one):
    return (one.folder.parent / "agent.log").read_text()
