"""Under load nothing is lost, whatever of the mesh or of the application is replaced, restarted or taken away.

Open loop, 200 requests a second of HTTP/1, of HTTP/1 with a connection for each request and of HTTP/2 each, and TCP
connections that stay open, from a pod on one node to servers on both.
"""

import time
from collections.abc import Iterator

import pytest
from tests.cluster import busy, installed
from tools import image
from tools.cluster import images, whole

from retic.testing import wait

OTHER = "retic.dev/retic:other"


@pytest.fixture(scope="module")
def shop(installed: installed.Installed) -> Iterator[busy.Shop]:
    with installed.values(certificateLifetime="60"), busy.opened(installed) as made:
        yield made


def test_a_deployment_rolls_and_is_scaled(shop: busy.Shop):
    with shop.load():
        shop.back.run("rollout", "restart", "deployment/server")
        shop.back.rolled("deployment/server")
        for replicas in (4, 2):
            shop.back.run("scale", "deployment/server", f"--replicas={replicas}")
            shop.back.rolled("deployment/server")


def test_an_agent_is_killed_and_envoy_is_replaced(shop: busy.Shop):
    node = busy.node_names(shop.back)[0]
    pod = shop.agents.of(node)
    before = shop.agents.processes(pod)
    assert len(before.agents) == len(before.envoys) == 1
    with shop.load():
        shop.agents.kill(pod, "agents")
        after = shop.agents.until(pod, lambda now: now.agents not in ([], before.agents), "another agent")
        assert after.envoys == before.envoys
        wait.until(lambda: shop.agents.log(pod).count('"agent started"') >= 2, "it is in charge", 30, every=0.5)
        shop.agents.replace_envoy(pod)
        assert set(shop.agents.processes(pod).envoys) != set(before.envoys)


def test_an_agents_pod_is_deleted(shop: busy.Shop):
    node = busy.node_names(shop.back)[0]
    pod = shop.agents.of(node)
    with shop.load():
        shop.system.run("delete", "pod", pod, "--wait=false")
        shop.agents.replaced(node, pod)


def test_all_is_upgraded_to_another_image(shop: busy.Shop):
    """Elsewhere than on the cluster made here nobody has another image: the agents roll."""
    nodes = busy.node_names(shop.back)
    before = {name: shop.agents.of(name) for name in nodes}
    if not whole.given():
        images.load(image.build(named=OTHER))
    with shop.load(without="tcp"):  # an Envoy that was replaced cuts connections after node.drainSeconds
        if whole.given():
            shop.system.run("rollout", "restart", "daemonset/retic-node")
        else:
            shop.mesh.retic("upgrade", f"--set=image={OTHER}")
        shop.system.rolled("daemonset/retic-node")
        for name in nodes:
            pod = shop.agents.replaced(name, before[name])
            chosen = shop.system.get("pod", pod)["spec"]["containers"][0]["image"]
            assert chosen == (installed.IMAGE if whole.given() else OTHER)


def holder(shop: busy.Shop) -> str:
    """The pod that leads."""
    identity = shop.system.get("lease", "retic-controller")["spec"].get("holderIdentity") or ""
    return str(identity.partition("_")[0])


def test_the_leader_is_killed_then_the_other_then_all_roll(shop: busy.Shop):
    with shop.load():
        first = wait.until(lambda: holder(shop), "a leader", 30, every=0.5)
        shop.system.run("delete", "pod", first, "--force", "--grace-period=0")
        second = wait.until(lambda: (now := holder(shop)) != first and now, "another leader", 40, every=0.5)
        shop.system.run("delete", "pod", second, "--force", "--grace-period=0")
        shop.system.rolled("deployment/retic-controller")
        shop.system.run("rollout", "restart", "deployment/retic-controller")
        shop.system.rolled("deployment/retic-controller")


@pytest.mark.parametrize("which", ["both", "servers"])
def test_a_namespace_is_taken_out_and_back_in(shop: busy.Shop, which: str):
    spaces = [shop.back, shop.front] if which == "both" else [shop.back]
    names = [space.namespace for space in spaces]
    with shop.load():
        shop.system.run("label", "namespace", *names, "retic.dev/mesh-")
        shop.captured(spaces, "False")
        left = time.monotonic()
        wait.until(lambda: time.monotonic() > left + 6, "new connections pass the proxy by", 8)
        shop.system.run("label", "namespace", *names, "retic.dev/mesh=enabled")
        shop.captured(spaces)


def test_certificates_are_renewed_every_half_minute(shop: busy.Shop):
    if not all(shop.agents.renews_soon(shop.agents.of(node)) for node in busy.node_names(shop.back)):
        shop.system.run("rollout", "restart", "daemonset/retic-node")
        shop.system.rolled("daemonset/retic-node")
    pods = [shop.agents.of(node) for node in busy.node_names(shop.back)]
    client = shop.agents.of(shop.front.get("pod", "client")["spec"]["nodeName"])
    wanted = [(client, f"/ns/{shop.front.namespace}/")]
    wanted += [(pod, place) for pod in pods for place in (f"/ns/{shop.back.namespace}/", "/retic/node/")]
    with shop.load():
        before = {pod: shop.agents.renewals(pod) for pod in pods}

        def twice() -> bool:
            now = {pod: shop.agents.renewals(pod)[len(before[pod]) :] for pod in pods}
            return all(sum(place in name for name in now[pod]) >= 2 for pod, place in wanted)

        wait.until(twice, "two renewals at both ends and of the agents themselves", 100, every=2)
