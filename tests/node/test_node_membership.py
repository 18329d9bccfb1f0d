"""Pods of a cluster's node come into the mesh and leave it: real namespaces, rules, mounts and Envoy."""

import asyncio
import json
import os

import cluster_rig as rig
import pytest
from node_rig import running

from retic.node import membership, redirect
from retic.testing import wait


@pytest.fixture
def cgroups(tmp_path):
    made = rig.Cgroups(tmp_path / "cgroups")
    yield made
    made.close()


@pytest.fixture
def pod(cgroups):
    made = rig.Pod(cgroups)
    yield made
    made.close()


@pytest.fixture
def settings(control, tmp_path):
    made = rig.cluster_settings(control, tmp_path)
    yield made
    rig.unmount(made.netns_folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(membership, "SETTLE", 0.5)
    monkeypatch.setattr(membership, "LOOK", 0.05)
    monkeypatch.setattr(membership, "AGAIN", 0.3)


async def captured(control, *uids):
    await wait.until_async(lambda: rig.reported(control) == set(uids), f"{len(uids)} pods reported", 20)


def more(loads, before, count):
    """Whether each load has made so many more requests."""
    return all(load.done > done + count for load, done in zip(loads, before, strict=True))


def line(verb, pod, **fields):
    asked = {"uid": pod.uid, "namespace": "shop", "name": "cart-1", "sandbox": "sand1", "ip": rig.POD, **fields}
    return json.dumps({verb: asked}).encode() + b"\n"


async def ask(settings, verb, pod, *descriptors, **fields):
    return json.loads(await rig.question(settings.cni_socket, line(verb, pod, **fields), *descriptors))


async def test_a_running_pod_comes_and_goes_without_a_lost_request(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry(mesh=False))
    old = [rig.Held(pod.world.path, rig.POD), rig.Held(pod.path, rig.OUTSIDE)]
    async with running(settings, redirect):
        await wait.until_async(settings.ready_file.exists, "an agent in charge")
        loads = [rig.Load(pod.world.path, rig.POD, b"pod"), rig.Load(pod.path, rig.OUTSIDE, b"world")]
        try:
            await wait.until_async(lambda: all(one.done > 20 for one in loads), "load before")
            assert pod.tables() == []
            rig.tell(control, 2, pod.entry())
            await captured(control, pod.uid)
            assert pod.tables() == ["table inet retic"]
            before = [one.done for one in loads]
            await wait.until_async(lambda: more(loads, before, 50), "load in the mesh")
            within = [rig.Held(pod.world.path, rig.POD), rig.Held(pod.path, rig.OUTSIDE)]
            assert all(one.works() for one in old + within)
            said = control.reports[-1][1]
            assert {one.uid for one in said.plaintext} <= {pod.uid}
            assert (said.envoy, bool(said.retic)) == ("1.40.0", True)
            rig.tell(control, 3, pod.entry(mesh=False))
            await captured(control)
            before = [one.done for one in loads]
            await wait.until_async(lambda: more(loads, before, 200), "load on leaving", 30)
            assert all(one.works() for one in old + within), "connections through the proxy go on"
            assert (settings.netns_folder / pod.uid).exists()
            for one in within:
                one.close()
            await wait.until_async(lambda: not (settings.netns_folder / pod.uid).exists(), "nothing held", 20)
            assert pod.tables() == []
            assert "0x53a" not in pod.run("ip", "rule")
            assert all(one.works() for one in old)
        finally:
            for one in loads:
                one.stop()
    assert [one.failed for one in loads] == [[], []]
    for one in old:
        one.close()


async def test_back_and_forth_under_load(control, settings, pod):
    """Labelled again while it leaves, at every stage."""
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    async with running(settings, redirect):
        await captured(control, pod.uid)
        loads = [rig.Load(pod.world.path, rig.POD, b"pod"), rig.Load(pod.path, rig.OUTSIDE, b"world")]
        held = rig.Held(pod.world.path, rig.POD)
        try:
            for version, until in ((2, 30), (4, 120), (6, 250)):
                rig.tell(control, version, pod.entry(mesh=False))
                await captured(control)
                before = loads[0].done
                await wait.until_async(lambda b=before, n=until: loads[0].done > b + n, "some load", 20)
                rig.tell(control, version + 1, pod.entry())
                await captured(control, pod.uid)
                assert held.works()
        finally:
            for one in loads:
                one.stop()
    assert [one.failed for one in loads] == [[], []]
    held.close()


async def test_connections_older_than_enrolment_are_counted(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    old = [rig.Held(pod.world.path, rig.POD), rig.Held(pod.path, rig.OUTSIDE)]
    async with running(settings, redirect) as agent:
        await captured(control, pod.uid)
        within = [rig.Held(pod.world.path, rig.POD), rig.Held(pod.path, rig.OUTSIDE)]
        assert all(one.works() for one in within)

        async def said(wanted):
            agent._changed()
            count = len(control.reports)
            await wait.until_async(lambda: len(control.reports) > count, "a report")
            return [(one.uid, one.connections) for one in control.reports[-1][1].plaintext] == wanted

        await wait.until_async(lambda: said([(pod.uid, 2)]), "both old connections, and no other")
        old[0].close()
        await wait.until_async(lambda: said([(pod.uid, 1)]), "one old connection")
        for one in (*old[1:], *within):
            one.close()
        await wait.until_async(lambda: said([]), "none")


async def test_a_new_pod_waits_until_it_is_captured(control, settings, pod, monkeypatch):
    monkeypatch.setattr(membership, "KNOWN_SECONDS", 1.0)
    pod.end_processes()  # as when the runtime calls the plugin: nothing runs yet
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1)
    netns = os.open(pod.path, os.O_RDONLY)
    async with running(settings, redirect):
        await wait.until_async(settings.ready_file.exists, "an agent in charge")
        unknown = await ask(settings, "add", pod, netns)
        assert "the control plane does not know pod shop/cart-1 yet" in unknown["error"]
        assert pod.tables() == [], "nothing half done"
        monkeypatch.setattr(membership, "KNOWN_SECONDS", 20.0)
        waiting = asyncio.create_task(ask(settings, "add", pod, netns))
        rig.tell(control, 2, pod.entry(ip=""))
        assert await waiting == {"ok": True, "mesh": True}
        assert pod.tables() == ["table inet retic"]
        assert os.stat(settings.netns_folder / pod.uid).st_ino == os.fstat(netns).st_ino
        await captured(control, pod.uid)
        assert await ask(settings, "check", pod) == {"ok": True}
        other = await ask(settings, "add", pod, netns, name="other")
        assert f"uid {pod.uid} is of pod shop/cart-1, not of shop/other" in other["error"]
        assert await ask(settings, "del", pod, sandbox="another") == {"ok": True}
        assert (settings.netns_folder / pod.uid).exists(), "a sandbox of before"
        assert await ask(settings, "del", pod) == {"ok": True}
        assert not (settings.netns_folder / pod.uid).exists()
        listening = pod.run("ss", "-Htln")
        assert "15006" not in listening, "the listeners go at once, though the control plane has them still"
        await captured(control)
    os.close(netns)


async def test_a_pod_outside_the_mesh_passes(control, settings, pod):
    rig.tell(control, 1, pod.entry(mesh=False))
    netns = os.open(pod.path, os.O_RDONLY)
    async with running(settings, redirect):
        await wait.until_async(settings.ready_file.exists, "an agent in charge")
        assert await ask(settings, "add", pod, netns) == {"ok": True, "mesh": False}
        assert await ask(settings, "check", pod) == {"ok": True}
        assert pod.tables() == []
        assert not (settings.netns_folder / pod.uid).exists()
    os.close(netns)


async def test_a_static_pod_passes(control, settings):
    """Its uid is a hash, and the list names its mirror by another."""
    rig.tell(control, 1)
    static = rig.Pod(uid="0123456789abcdef0123456789abcdef")
    netns = os.open(static.path, os.O_RDONLY)
    try:
        async with running(settings, redirect):
            await wait.until_async(settings.ready_file.exists, "an agent in charge")
            assert await ask(settings, "add", static, netns) == {"ok": True, "mesh": False}
            assert static.tables() == []
    finally:
        os.close(netns)
        static.close()


async def test_another_sandbox_of_the_same_pod_gets_listeners_of_its_own(control, settings, pod):
    pod.end_processes()
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    later = rig.Pod(uid=pod.uid)
    first, second = os.open(pod.path, os.O_RDONLY), os.open(later.path, os.O_RDONLY)
    try:
        async with running(settings, redirect):
            await wait.until_async(settings.ready_file.exists, "an agent in charge")
            assert (await ask(settings, "add", pod, first))["ok"]
            assert (await ask(settings, "add", pod, second, sandbox="sand2"))["ok"]
            assert os.stat(settings.netns_folder / pod.uid).st_ino == os.fstat(second).st_ino
            assert "15006" in later.run("ss", "-Htln")
            assert "15006" not in pod.run("ss", "-Htln"), "nothing listens in the namespace of before"
            assert await ask(settings, "del", pod) == {"ok": True}
            await captured(control, pod.uid)
            assert (await ask(settings, "check", pod))["ok"], "the end of the first sandbox came late"
    finally:
        os.close(first)
        os.close(second)
        later.close()


async def test_a_pod_that_died_unseen_is_forgotten(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    async with running(settings, redirect):
        await captured(control, pod.uid)
        pod.end_processes()
        rig.tell(control, 2)
        await wait.until_async(lambda: not (settings.netns_folder / pod.uid).exists(), "nothing held")
        await wait.until_async(lambda: "15006" not in pod.run("ss", "-Htln"), "its listeners closed")
        await captured(control)


async def test_a_restarted_agent_finds_its_pods_again_and_what_changed_meanwhile(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    async with running(settings, redirect, leave=True):
        await captured(control, pod.uid)
    assert not settings.ready_file.exists()
    rig.unmount(settings.netns_folder)  # as in another container
    control.reports.clear()
    async with running(settings, redirect):
        await captured(control, pod.uid)
        assert os.stat(settings.netns_folder / pod.uid).st_ino == os.stat(pod.path).st_ino
    pod.end_processes()
    rig.tell(control, 2)
    async with running(settings, redirect):
        await captured(control)
        await wait.until_async(lambda: not (settings.netns_folder / pod.uid).exists(), "nothing held")


async def test_one_agent_follows_another_in_another_container(control, settings, pod, tmp_path):
    """As in an update: each has mounts of its own, both have the state folder and the plugin's socket."""
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    first = await rig.container(settings, tmp_path, "first")
    loads = []
    try:
        await captured(control, pod.uid)
        loads = [rig.Load(pod.world.path, rig.POD, b"pod"), rig.Load(pod.path, rig.OUTSIDE, b"world")]
        held = rig.Held(pod.world.path, rig.POD)
        assert held.works()
        said = len(control.reports)
        second = await rig.container(settings, tmp_path, "second")
        try:
            await wait.until_async(lambda: "agent started" in (tmp_path / "second.log").read_text(), "in charge", 60)
            await wait.until_async(lambda: len(control.reports) > said, "a report of the second")
            await captured(control, pod.uid)
            before = [one.done for one in loads]
            await wait.until_async(lambda: more(loads, before, 100), "load through the second")
            assert held.works()
            held.close()
            first.terminate()
            assert await asyncio.wait_for(first.wait(), 30) == 0
            assert json.loads(await rig.question(settings.cni_socket, b'{"status": true}\n')) == {"ok": True}
            before = [one.done for one in loads]
            await wait.until_async(lambda: more(loads, before, 100), "load after the first")
            rig.tell(control, 2, pod.entry(mesh=False))
            await captured(control)
            await wait.until_async(lambda: pod.tables() == [], "nothing left in the pod", 30)
        finally:
            second.kill()
            await second.wait()
    finally:
        for one in loads:
            one.stop()
        if first.returncode is None:
            first.kill()
        await first.wait()
        rig.end_envoys(settings)
    assert [one.failed for one in loads] == [[], []]


async def test_the_networks_that_the_control_plane_tells_are_in_the_rules(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    network = {"pods": ["10.42.0.0/16", "fd00::/64"], "services": ["10.43.0.0/16"], "dns": "10.43.0.53"}
    rig.tell(control, 1, pod.entry(), network=network)
    async with running(settings, redirect):
        await captured(control, pod.uid)
        rules = pod.run("nft", "list", "ruleset")
        assert "10.42.0.0/15" in rules
        assert "ip daddr 10.43.0.53 tcp dport 53" in rules
        assert "10.244.0.0" not in rules
        rig.tell(control, 2, pod.entry(), network={**network, "pods": ["10.50.0.0/16"]})

        async def others():
            return "10.50.0.0/16" in await asyncio.to_thread(pod.run, "nft", "list", "ruleset")

        await wait.until_async(others, "the other network in the pod that is captured already")


async def test_a_broken_list_changes_nothing(control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    async with running(settings, redirect):
        await captured(control, pod.uid)
        count = len(control.answers("type.googleapis.com/xds.type.v3.TypedStruct"))
        rig.tell(control, 2, {"uid": "../x"})
        await wait.until_async(
            lambda: len(control.answers("type.googleapis.com/xds.type.v3.TypedStruct")) > count, "an answer"
        )
        answer = control.answers("type.googleapis.com/xds.type.v3.TypedStruct")[-1]
        assert "the list of the node's pods is not as it should be" in answer.error_detail.message
        control.remove("type.googleapis.com/xds.type.v3.TypedStruct", "pods")
        await asyncio.to_thread(pod.run, "true")
        assert pod.tables() == ["table inet retic"]
        assert rig.reported(control) == {pod.uid}
