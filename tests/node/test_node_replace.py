"""One agent replaces its Envoy: when, by what steps, and what is there when a step fails or something is killed."""

import asyncio
import json
import os

import grpc.aio
import msgspec
import pytest
from node_rig import (
    Rules,
    alive,
    ask,
    call_out,
    connect,
    echoes,
    end,
    make_settings,
    pod,
    publish,
    running,
    seen,
    start_process,
)

from retic.node import cache, envoy, listening, ports, proxies, redirect, relay
from retic.testing import clock, wait


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr("retic.node.drain.LOOK", 0.05)


async def enrolled(settings, netns):
    await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 20)
    assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}


def current(settings):
    return json.loads((settings.folder / "envoy.pid").read_text())["pid"]


async def ended(pid):
    await wait.until_async(lambda: not alive(pid), f"{pid} has ended")


def listened(netns):
    with listening.opened(netns) as tables:
        return listening.ports(tables) & ports.EVERY


async def test_connections_stay_with_the_envoy_before_until_they_end(control, settings, netns):
    publish(control, netns)
    rules = Rules()
    async with running(settings, rules) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
        held = connect(netns, ports.FIRST.outbound)
        assert echoes(held)
        assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}
        after = agent.envoy.pid
        assert after != before
        assert current(settings) == after
        assert rules.switched == [(netns, ports.FIRST), (netns, ports.SECOND)][-len(rules.switched):]
        assert alive(before)
        assert echoes(held), "what was there lives on"
        with connect(netns, ports.SECOND.outbound) as fresh:
            assert echoes(fresh)

        async def all_seen():
            return await seen(settings.folder) == {"outbound/u1", "opaque/u1", "inbound/u1", "mtls/u1"}

        await wait.until_async(all_seen, "the next Envoy's listeners")
        refused = await ask(settings.folder / "agent.sock", replace=True)
        assert "has connections still" in refused["error"]
        held.close()
        await ended(before)
        assert listened(netns) == ports.SECOND.all
        await wait.until_async(lambda: not agent.proxies.draining, "nothing drains")
        assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}
        await ended(after)
        assert listened(netns) == ports.FIRST.all
        last = agent.envoy.pid
    assert not alive(last)


async def test_nothing_is_turned_to_an_envoy_that_lacks_filters(control, settings, netns, monkeypatch):
    publish(control, netns)
    rules = Rules()
    async with running(settings, rules):
        await enrolled(settings, netns)
        known = []
        monkeypatch.setattr(relay.Relay, "decided", property(lambda _: bool(known)))
        replaced = asyncio.create_task(ask(settings.folder / "agent.sock", replace=True))
        await wait.until_async(lambda: listened(netns) >= ports.SECOND.all, "the next Envoy listens", 20)
        assert (netns, ports.SECOND) not in rules.switched
        assert not replaced.done()
        known.append(True)
        assert await replaced == {"ok": True}
        assert (netns, ports.SECOND) in rules.switched


async def test_what_does_not_end_is_cut_after_the_drain_time(control, tmp_path, netns):
    settings = make_settings(control, tmp_path, drain_seconds=5)
    publish(control, netns)
    async with running(settings) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
        with connect(netns, ports.FIRST.outbound) as held:
            assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}
            assert echoes(held)
            await ended(before)
            assert held.recv(1) == b""


async def test_an_envoy_on_another_bootstrap_is_replaced_while_it_serves(control, settings, tmp_path, netns):
    publish(control, netns)
    async with running(settings, leave=True) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
    held = connect(netns, ports.FIRST.outbound)
    async with running(make_settings(control, tmp_path, zone="z2")) as agent:
        await wait.until_async(lambda: current(settings) != before, "the next Envoy", 20)
        assert echoes(held)
        held.close()
        await ended(before)
        assert not agent.envoy.outdated


async def test_another_binary_at_the_same_place_is_a_reason_to_replace(control, tmp_path, netns):
    binary = tmp_path / "envoy"
    binary.write_text(f"#!/bin/sh\nexec {envoy.binary()} \"$@\"\n")
    binary.chmod(0o755)
    publish(control, netns)
    time = clock.Fake()
    settings = make_settings(control, tmp_path, envoy=str(binary))
    async with running(settings, prepare=lambda made: setattr(made.proxies, "_time", time)) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
        binary.rename(tmp_path / "away")
        assert not agent.envoy.outdated, "in the midst of an upgrade"
        (tmp_path / "away").rename(binary)
        os.utime(binary)
        assert agent.envoy.outdated
        await wait.until_async(lambda: time.waiting, "a pause")
        time.advance(proxies.LOOK_SECONDS)
        await wait.until_async(lambda: agent.envoy.pid != before, "another Envoy", 20)
        assert not agent.envoy.outdated
        await ended(before)


async def test_much_memory_is_a_reason_to_replace_once_in_a_while(control, tmp_path, netns):
    settings = make_settings(control, tmp_path, reclaim_share=0.001)
    publish(control, netns)
    time = clock.Fake()
    async with running(settings, prepare=lambda made: setattr(made.proxies, "_time", time)) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
        pauses = []
        while not pauses or pauses[-1] != proxies.RECLAIM_SECONDS:
            await wait.until_async(lambda: time.waiting, "a pause", 20)
            pauses.append((time.waiting[0] - time.now()).total_seconds())
            if pauses[-1] != proxies.RECLAIM_SECONDS:
                time.advance(pauses[-1])
        assert pauses[0] in (proxies.LOOK_SECONDS, proxies.RECLAIM_SECONDS)
        assert agent.envoy.pid != before
        await ended(before)


async def test_the_redirection_is_turned_back_where_rules_are_refused(control, settings, netns):
    class Refusing(Rules):
        refuse = False

        def switch(self, netns_path, config):
            super().switch(netns_path, config)
            if self.refuse and config.to == ports.SECOND:
                raise OSError("no such luck")

    rules = Refusing()
    publish(control, netns)
    async with running(settings, rules) as agent:
        await enrolled(settings, netns)
        before = agent.envoy.pid
        rules.refuse = True
        refused = await ask(settings.folder / "agent.sock", replace=True)
        assert "shop/u1: no such luck" in refused["error"]
        assert rules.switched[-1] == (netns, ports.FIRST)
        assert agent.envoy.pid == before == current(settings)
        await wait.until_async(lambda: not agent.proxies.draining, "the next one is gone", 20)
        assert listened(netns) == ports.FIRST.all
        rules.refuse = False
        assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}


async def test_an_envoy_that_does_not_come_up_changes_nothing(control, settings, netns, monkeypatch, tmp_path):
    monkeypatch.setattr(proxies, "REPLACE_SECONDS", 1.0)
    publish(control, netns)
    rules = Rules()
    async with running(settings, rules) as agent:
        await enrolled(settings, netns)
        before, switched = agent.envoy.pid, len(rules.switched)
        broken = tmp_path / "envoy"
        broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'version: abc/1.40.0/x' || exit 3\n")
        broken.chmod(0o755)
        agent.proxies._settings = msgspec.structs.replace(settings, envoy=str(broken))
        agent._settings = agent.proxies._settings
        refused = await ask(settings.folder / "agent.sock", replace=True)
        assert "not ready after 1 s" in refused["error"]
        assert len(rules.switched) == switched
        assert agent.envoy.pid == before
        assert alive(before)
        with connect(netns, ports.FIRST.outbound) as fresh:
            assert echoes(fresh)


async def test_an_agent_killed_while_its_envoy_drains_knows_both_again(control, settings, netns, tmp_path):
    publish(control, netns)
    first = await start_process(settings, tmp_path)
    second = None
    try:
        await enrolled(settings, netns)
        before = current(settings)
        held = call_out(netns)
        assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}
        after = current(settings)
        first.kill()
        await first.wait()
        assert alive(before)
        assert alive(after)
        assert echoes(held)
        second = await start_process(settings, tmp_path)

        async def known():
            try:
                return (await ask(settings.folder / "cni.sock", list=True))["pods"]
            except ConnectionError:
                return False

        await wait.until_async(known, "the pods", 20)
        assert current(settings) == after
        assert echoes(held)
        held.close()
        await ended(before)
        second.terminate()
        assert await asyncio.wait_for(second.wait(), 20) == 0
        await ended(after)
    finally:
        for process in filter(None, (first, second)):
            if process.returncode is None:
                process.kill()
        for slot in "ab":
            if (settings.folder / slot / "envoy.pid").exists():
                end(json.loads((settings.folder / slot / "envoy.pid").read_text())["pid"])


async def test_a_relay_whose_closing_was_given_up_can_be_closed(tmp_path):
    """An agent that ends meets an Envoy that ends. gRPC's server does not survive a stop that is cancelled."""
    kept = cache.Cache(tmp_path / "answers.sqlite")
    for turns in range(1, 60):
        made = relay.Relay(kept, None, NoControl())
        socket = tmp_path / f"{turns}.sock"
        await made.start(socket)
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            call = channel.stream_stream(f"/{relay.SERVICE}/DeltaAggregatedResources")()
            await call.write(b"")
            await wait.until_async(lambda: made.connected, "a stream")  # noqa: B023
            closing = asyncio.create_task(made.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await asyncio.wait_for(made.close(), 30)
    kept.close()


class NoControl:
    """The stream to a control plane that is away."""

    live = False

    def ask(self, *_):
        pass

    def restart(self):
        pass


async def test_a_killed_envoy_comes_back_where_the_pods_are_redirected_to(control, settings, netns):
    publish(control, netns)
    async with running(settings) as agent:
        await enrolled(settings, netns)
        assert await ask(settings.folder / "agent.sock", replace=True) == {"ok": True}
        await wait.until_async(lambda: not agent.proxies.draining, "nothing drains", 20)
        before = agent.envoy.pid
        end(before)
        await wait.until_async(lambda: agent.envoy.pid != before, "another Envoy", 20)
        await wait.until_async(lambda: listened(netns) == ports.SECOND.all, "its listeners", 20)




async def test_an_agent_killed_while_it_turned_the_redirection_has_it_point_to_a_living_envoy(
    control, settings, netns, tmp_path
):
    """The rules point to ports where nobody listens; the folder says which Envoy the pods belong to."""
    publish(control, netns)
    first = await start_process(settings, tmp_path)
    second = None
    try:
        await enrolled(settings, netns)
        before = current(settings)
        redirect.switch(netns, msgspec.structs.replace(settings.redirection, to=ports.SECOND))
        with pytest.raises(ConnectionRefusedError):
            call_out(netns)
        first.kill()
        await first.wait()
        second = await start_process(settings, tmp_path)

        def works():
            try:
                with call_out(netns) as fresh:
                    return echoes(fresh)
            except OSError:
                return False

        await wait.until_async(works, "new connections work", 20)
        assert current(settings) == before
        second.terminate()
        assert await asyncio.wait_for(second.wait(), 20) == 0
    finally:
        for process in filter(None, (first, second)):
            if process.returncode is None:
                process.kill()
        end(before)
