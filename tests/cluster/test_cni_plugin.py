"""The CNI plugin as it is built, and an agent: what a runtime does when a pod's sandbox comes and goes."""

import asyncio
import json
import os
import pathlib
import subprocess
import sys

import pytest

from retic.node import membership, redirect
from retic.testing import upstream, wait

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "node"))
import cluster_rig as rig  # noqa: E402
from node_rig import running  # noqa: E402

NETWORK = {"cniVersion": "1.1.0", "name": "pods", "type": "retic-cni", "exclude": ["kube-system"]}
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x"}],
    "ips": [{"address": f"{rig.POD}/24", "gateway": rig.WORLD, "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.43.0.10"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The plugin, built without cgo."""
    file = tmp_path_factory.mktemp("plugin") / "retic-cni"
    command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "."]
    subprocess.run(command, check=True, cwd=ROOT / "cni", env={**os.environ, "CGO_ENABLED": "0"})
    return file


@pytest.fixture
async def control(tmp_path):
    made = upstream.Control(tmp_path / "ca")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def settings(control, tmp_path):
    made = rig.cluster_settings(control, tmp_path)
    yield made
    rig.unmount(made.netns_folder)


@pytest.fixture
def pod():
    made = rig.Pod()
    made.end_processes()
    yield made
    made.close()


async def call(plugin, command, settings, pod, *, result=RESULT, namespace="shop", seconds=30, sandbox="s1"):
    """Exit status and what it said."""
    environment = {
        "CNI_COMMAND": command, "CNI_CONTAINERID": sandbox, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=cart-1;"
        f"K8S_POD_INFRA_CONTAINER_ID={sandbox};K8S_POD_UID={pod.uid}",
    }  # fmt: skip
    given = {**NETWORK, "socket": str(settings.cni_socket), "seconds": seconds}
    if result:
        given["prevResult"] = result
    process = await asyncio.create_subprocess_exec(
        plugin, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate(json.dumps(given).encode())
    return process.returncode, json.loads(said) if said.strip() else None


def test_the_plugins_own_tests():
    done = subprocess.run(["go", "test", "./..."], cwd=ROOT / "cni", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run(["go", "vet", "./..."], cwd=ROOT / "cni", check=False).returncode == 0


def test_it_needs_nothing_on_the_node(plugin):
    done = subprocess.run(["ldd", plugin], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in done.stdout + done.stderr
    assert plugin.stat().st_size < 4 << 20


async def test_a_pods_life(plugin, control, settings, pod):
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1)
    async with running(settings, redirect):
        await wait.until_async(settings.ready_file.exists, "an agent in charge", 60)
        assert await call(plugin, "STATUS", settings, pod, result=None) == (0, None)
        adding = asyncio.create_task(call(plugin, "ADD", settings, pod))
        rig.tell(control, 2, pod.entry(ip=""))
        assert await adding == (0, RESULT)
        assert pod.tables() == ["table inet retic"]
        assert "15006" in pod.run("ss", "-Htln"), "its listeners are up before any container starts"
        assert await call(plugin, "CHECK", settings, pod) == (0, None)
        await wait.until_async(lambda: rig.reported(control) == {pod.uid}, "the pod reported", 90)
        assert await call(plugin, "DEL", settings, pod, result=None) == (0, None)
        assert "15006" not in pod.run("ss", "-Htln")
        assert await call(plugin, "DEL", settings, pod, result=None) == (0, None), "again"
        assert await call(plugin, "GC", settings, pod, result=None) == (0, None)


async def test_without_an_agent_pods_wait_but_those_left_out(plugin, control, settings, pod):
    status, said = await call(plugin, "ADD", settings, pod, seconds=0.5)
    assert (status, said["code"], said["cniVersion"]) == (1, 11, "1.1.0")
    assert "agent of the mesh is not there" in said["msg"]
    assert await call(plugin, "ADD", settings, pod, namespace="kube-system") == (0, RESULT)
    assert await call(plugin, "DEL", settings, pod, result=None) == (0, None)
    status, said = await call(plugin, "STATUS", settings, pod, result=None, seconds=0.5)
    assert (status, said["code"]) == (1, 50)


async def test_a_pod_that_nobody_knows_waits_and_one_outside_the_mesh_passes(
    plugin, control, settings, pod, monkeypatch
):
    monkeypatch.setattr(membership, "KNOWN_SECONDS", 1.0)
    rig.tell(control, 1)
    async with running(settings, redirect):
        await wait.until_async(settings.ready_file.exists, "an agent in charge", 60)
        status, said = await call(plugin, "ADD", settings, pod)
        assert (status, said["code"]) == (1, 11)
        assert "does not know pod shop/cart-1 yet" in said["details"]
        rig.tell(control, 2, pod.entry(mesh=False))
        assert await call(plugin, "ADD", settings, pod) == (0, RESULT)
        assert pod.tables() == []


async def test_an_agent_that_is_restarted_meanwhile(plugin, control, settings, pod):
    """The plugin gives it a moment."""
    rig.publish(control, settings, pod.uid)
    rig.tell(control, 1, pod.entry())
    adding = asyncio.create_task(call(plugin, "ADD", settings, pod))
    async with running(settings, redirect):
        assert await adding == (0, RESULT)
        assert pod.tables() == ["table inet retic"]
