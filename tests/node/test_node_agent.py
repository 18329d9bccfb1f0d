"""The agent with a real Envoy: what it brings to it, and what is still there when something is killed."""

import asyncio
import json
import os
import signal
import socket
import ssl

import node_resources as resources
import pytest
from cryptography import x509
from node_rig import (
    CART,
    LISTENERS,
    PORTS,
    Rules,
    alive,
    ask,
    end,
    make_settings,
    pod,
    publish,
    running,
    seen,
    start_process,
)
from xds.type.v3 import typed_struct_pb2

from retic.identity import certificate, spiffe
from retic.node import agent as agents
from retic.node import envoy, inside, opaque, slots
from retic.testing import clock, upstream, wait


def peer_names(netns, control, tmp_path):
    """The URI names of the certificate that the listener with mTLS shows to a caller of the mesh."""
    key = certificate.new_key()
    caller = spiffe.parse("spiffe://cluster.local/ns/shop/sa/caller")
    chain = control.authority.sign(certificate.request(key, caller), caller)
    (tmp_path / "caller.pem").write_bytes(certificate.key_pem(key) + chain)

    def connect():
        options = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        options.check_hostname = False
        options.load_verify_locations(cadata=control.authority.bundle().decode())
        options.load_cert_chain(tmp_path / "caller.pem")
        raw = socket.create_connection(("127.0.0.1", PORTS["mtls"]), 5)
        with options.wrap_socket(raw) as secured:
            return secured.getpeercert(binary_form=True)

    leaf = x509.load_der_x509_certificate(inside.network_namespace(netns, connect))
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )


async def acked(control, count=3):
    await wait.until_async(
        lambda: len(control.acknowledged(resources.LISTENER)) >= 1 and len(control.requests) >= count,
        "Envoy's listeners acknowledged upstream",
    )


async def active(settings, names):
    """Until Envoy has exactly these listeners; a busy machine takes its time."""

    async def there():
        return await seen(settings.folder) == names

    await wait.until_async(there, f"the listeners {sorted(names)}", 30)


async def test_a_pod_is_captured_with_its_identity(control, settings, netns, tmp_path):
    rules = Rules()
    publish(control, netns)
    async with running(settings, rules) as agent:
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
        assert rules.enrolled == [netns]
        assert await asyncio.to_thread(peer_names, netns, control, tmp_path) == [CART]
        await acked(control)
        assert control.clients[0] == "node/node-1"
        first = control.requests[0].node
        assert (first.id, first.locality.zone) == ("node/node-1", "z1")
        assert first.metadata["netns_dir"] == "/run/netns"
        listed = await ask(settings.folder / "cni.sock", list=True)
        assert [(one["uid"], one["captured"]) for one in listed["pods"]] == [("u1", True)]
        pid = agent.envoy.pid
        for name in ("cni.sock", "agent.sock", "a/xds", "a/admin", "admin.sock"):
            assert oct((settings.folder / name).stat().st_mode)[-3:] == "600"
        for folder in (settings.folder, settings.folder / "a"):
            assert oct(folder.stat().st_mode)[-3:] == "700"
        assert await ask(settings.folder / "cni.sock", **{"del": {"uid": "u1"}}) == {"ok": True}
        assert rules.released == [netns]
    assert not alive(pid)


async def test_an_envoy_that_restarts_without_a_control_plane_comes_back_as_it_was(
    control, settings, netns, tmp_path
):
    publish(control, netns)
    async with running(settings) as agent:
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
        await acked(control)
        await control.stop()
        before = agent.envoy.pid
        end(before)
        await wait.until_async(lambda: agent.envoy.pid != before, "another Envoy")
        async def back():
            return await seen(settings.folder) == LISTENERS

        await wait.until_async(back, "the listeners from disk")
        assert await asyncio.to_thread(peer_names, netns, control, tmp_path) == [CART]
        control.requests.clear()
        await control.start()
        await wait.until_async(
            lambda: any(one.type_url == resources.LISTENER for one in control.requests), "the stream resumed"
        )
        resumed = next(one for one in control.requests if one.type_url == resources.LISTENER)
        assert dict(resumed.initial_resource_versions) == dict.fromkeys(LISTENERS, "1")


async def test_a_killed_agent_leaves_envoy_which_the_next_one_adopts(control, settings, netns, tmp_path):
    publish(control, netns)
    first = await start_process(settings, tmp_path)
    await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 20)
    assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    await active(settings, LISTENERS)  # one of them waits for a certificate that `captured` does not speak of
    pid = json.loads((settings.folder / "envoy.pid").read_text())["pid"]
    first.kill()
    await first.wait()
    assert alive(pid)
    assert await asyncio.to_thread(peer_names, netns, control, tmp_path) == [CART]
    streams = control.streams
    second = await start_process(settings, tmp_path)
    try:
        await wait.until_async(lambda: control.streams > streams, "the next agent's stream", 20)

        async def listed():
            try:
                answer = await ask(settings.folder / "cni.sock", list=True)
            except ConnectionError:
                return False
            return [one["uid"] for one in answer["pods"]] == ["u1"]

        await wait.until_async(listed, "the pod known again", 20)
        assert json.loads((settings.folder / "envoy.pid").read_text())["pid"] == pid
        made = resources.listener("late", netns, 15099)
        control.put(resources.LISTENER, "late", made, "1")
        await active(settings, {*LISTENERS, "late"})
        second.send_signal(signal.SIGUSR1)
        assert await asyncio.wait_for(second.wait(), 20) == 0
        assert alive(pid), "told to leave Envoy"
        third = await start_process(settings, tmp_path)
        await wait.until_async(lambda: control.streams > streams + 1, "the third agent's stream", 20)
        third.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(third.wait(), 20) == 0
        assert not alive(pid)
    finally:
        for process in (first, second):
            if process.returncode is None:
                process.kill()
        end(pid)


async def test_an_envoy_in_another_network_is_not_adopted(control, settings):
    """It would listen where nobody calls: a Gateway's pod was made anew, and its agent killed before."""
    async with running(settings, leave=True) as agent:
        await wait.until_async(lambda: settings.socket("agent").exists(), "the agent is in charge", 20)
        before, file = agent.envoy.pid, agent.proxies.current.slot.pid_file
    kept = json.loads(file.read_text())
    assert kept["network"] == os.stat("/proc/self/ns/net").st_ino
    file.write_text(json.dumps({**kept, "network": kept["network"] + 1}))
    assert alive(before)
    async with running(settings) as agent:
        await wait.until_async(lambda: settings.socket("agent").exists(), "the agent is in charge", 20)
        assert agent.envoy.pid != before
        assert not alive(before)


async def test_an_agent_that_fails_leaves_envoy_for_the_next_one(control, settings):
    first = agents.Agent(settings, rules=Rules())
    running_first = asyncio.create_task(first.run(asyncio.Event(), asyncio.Event()))
    await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 20)
    pid = first.envoy.pid
    first.proxies.broken.set_exception(RuntimeError("a duty failed"))
    with pytest.raises(RuntimeError, match="a duty failed"):
        await asyncio.wait_for(running_first, 20)
    assert alive(pid)
    async with running(settings) as second:
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 20)
        assert second.envoy.pid == pid
    assert not alive(pid)


async def test_an_envoy_that_is_busy_for_a_while_is_adopted_all_the_same(control, settings, netns, tmp_path):
    publish(control, netns)
    log = tmp_path / "agent.log"
    first = await start_process(settings, tmp_path)
    await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 20)
    assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
    pid = json.loads((settings.folder / "envoy.pid").read_text())["pid"]
    first.kill()
    await first.wait()
    os.kill(pid, signal.SIGSTOP)
    second = await start_process(settings, tmp_path)
    try:
        await wait.until_async(lambda: "Envoy to answer" in log.read_text(), "the next agent waits", 20)
        os.kill(pid, signal.SIGCONT)
        await wait.until_async(lambda: "Envoy adopted" in log.read_text(), "the Envoy adopted", 20)
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 20) == 0
        lines = map(json.loads, log.read_text().splitlines())
        (adopted,) = [line for line in lines if line["event"] == "Envoy adopted"]
        assert adopted["pid"] == pid
    finally:
        for process in (first, second):
            if process.returncode is None:
                process.kill()
        end(pid)


async def test_a_refusal_of_envoy_reaches_the_control_plane(control, settings, netns):
    publish(control, netns)
    async with running(settings):
        await wait.until_async(lambda: len(control.acknowledged(resources.LISTENER)) == 1, "an ACK")
        bad = resources.listener("bad", "/proc", 15098)
        control.put(resources.LISTENER, "bad", bad, "1")
        await wait.until_async(lambda: len(control.answers(resources.LISTENER)) == 2, "an answer")
        answer = control.answers(resources.LISTENER)[-1]
        assert "/proc" in answer.error_detail.message
        await active(settings, LISTENERS)


async def test_the_opaque_destinations_reach_every_pod_and_are_acknowledged(control, settings, netns):
    rules = Rules()
    publish(control, netns)
    destinations(control, "1", "10.96.0.5:6379")
    async with running(settings, rules):
        await wait.until_async(lambda: control.acknowledged(opaque.TYPE_URL), "an ACK")
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
        assert rules.opaque == {netns: {("10.96.0.5", 6379)}}
        destinations(control, "2", "10.96.0.6:25")
        await wait.until_async(lambda: len(control.acknowledged(opaque.TYPE_URL)) == 2, "another ACK")
        assert rules.opaque == {netns: {("10.96.0.6", 25)}}
        destinations(control, "3", "redis")
        await wait.until_async(lambda: len(control.answers(opaque.TYPE_URL)) == 3, "a NACK")
        assert "'redis' is not" in control.answers(opaque.TYPE_URL)[-1].error_detail.message
        assert rules.opaque == {netns: {("10.96.0.6", 25)}}
    await control.stop()
    again = Rules()
    async with running(settings, again):
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert again.opaque == {netns: {("10.96.0.6", 25)}}, "known from disk"


def destinations(control, version, *texts):
    made = typed_struct_pb2.TypedStruct()
    made.value.update({"destinations": list(texts)})
    control.put(opaque.TYPE_URL, opaque.NAME, made, version)


async def test_a_gateway_holds_the_identities_it_is_told(control, tmp_path, netns):
    settings = make_settings(control, tmp_path, id="gateway/shop/web", role="gateway")
    control.holds.table["gateway/shop/web"] = {CART}
    made = resources.listener("mtls", netns, PORTS["mtls"], "server:" + CART)
    control.put(resources.LISTENER, "mtls", made, "1")
    async with running(settings):
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket", 30)
        assert await ask(settings.folder / "cni.sock", identities=[CART]) == {"ok": True}
        assert control.clients[0] == "gateway/shop/web"

        await active(settings, {"mtls"})
        assert await asyncio.to_thread(peer_names, netns, control, tmp_path) == [CART]


async def test_a_folder_of_another_mesh_is_begun_anew(control, settings, netns, tmp_path):
    control.holds.table["node/node-1"] = {CART}
    async with running(settings):
        await wait.until_async(lambda: control.streams == 1, "a stream")
    await control.stop()
    other = upstream.Control(tmp_path / "other-ca")
    await other.start()
    try:
        async with running(make_settings(other, tmp_path)):
            await wait.until_async(lambda: other.streams == 1, "a stream to the other control plane")
    finally:
        await other.stop()


async def test_another_own_certificate_means_another_stream_and_nothing_sent_twice(control, settings, netns):
    publish(control, netns)
    async with running(settings) as agent:
        await wait.until_async(lambda: len(control.acknowledged(resources.LISTENER)) == 1, "an ACK")
        streams = control.streams
        agent._own_changed(settings.identity)
        await wait.until_async(lambda: control.streams > streams, "another stream")
        control.put(resources.CLUSTER, "later", resources.cluster("later"), "1")
        await wait.until_async(lambda: len(control.acknowledged(resources.CLUSTER)) >= 2, "an ACK")
        asked = [one for one in control.requests if one.type_url == resources.LISTENER]
        resumed = [one for one in asked if not one.response_nonce]
        assert len(resumed) == 2
        assert dict(resumed[-1].initial_resource_versions) == dict.fromkeys(LISTENERS, "1")


async def test_a_pod_whose_identity_is_refused_is_not_enrolled(control, settings, netns, monkeypatch):
    monkeypatch.setattr("retic.node.pods.ADD_SECONDS", 1.0)
    rules = Rules()
    async with running(settings, rules):
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        answer = await ask(settings.folder / "cni.sock", add=pod(netns, account="admin"))
        assert "no certificate for its service account" in answer["error"]
        assert rules.enrolled == []
        wrong = await ask(settings.folder / "cni.sock", add={"uid": "x"})
        assert "namespace" in wrong["error"]


@pytest.mark.parametrize("given", ["/bin/true", "/nowhere/envoy"])
async def test_what_is_no_envoy_is_refused(control, tmp_path, given):
    with pytest.raises(envoy.UnusableEnvoyError):
        envoy.check_version(envoy.binary(given))


async def test_an_envoy_that_does_not_last_is_restarted_with_growing_pauses(control, tmp_path):
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'version: abc/1.40.0/x' || exit 3\n")
    broken.chmod(0o755)
    settings = make_settings(control, tmp_path, envoy=str(broken))
    settings.folder.mkdir()
    time = clock.Fake()
    slot = slots.Slots(settings.folder).all[0]
    assert slot.claim()
    made = envoy.Envoy(settings, slot, time)
    await made.start()
    task = asyncio.create_task(made.run())
    pauses = []
    for _ in range(9):
        await wait.until_async(lambda: time.waiting, "a pause")
        pauses.append((time.waiting[0] - time.now()).total_seconds())
        time.advance(pauses[-1])
        await wait.until_async(lambda: not time.waiting or time.waiting[0] > time.now(), "the next Envoy")
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.stop()
    slot.give_up()


async def test_an_old_envoy_is_refused(tmp_path):
    old = tmp_path / "envoy"
    old.write_text("#!/bin/sh\necho 'envoy  version: abc/1.39.2/Clean/RELEASE/BoringSSL'\n")
    old.chmod(0o755)
    with pytest.raises(envoy.UnusableEnvoyError, match=r"1\.39\.2 is too old"):
        envoy.check_version(old)
