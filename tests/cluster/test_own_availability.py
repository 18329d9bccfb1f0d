"""As test_availability and test_lossless, what only the cluster made here can do: other images, no API server."""

import os
import signal
from collections.abc import Iterator

import pytest
from tests.cluster import busy, installed, loads
from tools import image
from tools.cluster import control_plane, images, node

from retic.testing import wait

OTHER = "retic.dev/retic:other"


@pytest.fixture(scope="module")
def shop(installed: installed.Installed) -> Iterator[busy.Shop]:
    with busy.opened(installed) as made:
        yield made


def test_all_is_upgraded_to_another_image(shop: busy.Shop):
    images.load(image.build(named=OTHER))
    nodes = busy.node_names(shop.back)
    before = {name: shop.agents.of(name) for name in nodes}
    try:
        with shop.load(without="tcp"):  # an Envoy that was replaced cuts connections after node.drainSeconds
            shop.mesh.retic("upgrade", f"--set=image={OTHER}")
            for name in nodes:
                pod = shop.agents.replaced(name, before[name])
                assert shop.system.get("pod", pod)["spec"]["containers"][0]["image"] == OTHER
    finally:
        shop.mesh.retic("upgrade", "--reset-values")


def test_traffic_goes_on_without_control_plane_and_api_server_and_envoy_comes_back(shop: busy.Shop):
    name = shop.front.get("pod", "client")["spec"]["nodeName"]
    uid = shop.front.get("pod", "client")["metadata"]["uid"]
    (envoy,) = shop.agents.processes(shop.agents.of(name)).envoys  # hostPID, and nodes have no numbers of their own

    def calls() -> bool:
        tried = loads.ended(loads.entered(uid, {"new": (*shop.kinds["new"], "--timeout", "2")}, seconds=1))
        return not tried["new"]["failed"]

    under = loads.entered(uid, shop.kinds, seconds=300)
    shop.system.run("scale", "deployment/retic-controller", "--replicas=0")
    shop.system.run("wait", "pod", "--for=delete", "-l", "app.kubernetes.io/component=controller", "--timeout=60s")
    with control_plane.without_api_server(node.every()[0].place):
        rested = loads.entered(uid, {"new": shop.kinds["new"]}, seconds=8)
        rested["new"].wait(30)
        loads.lossless(loads.ended(rested))
        loads.lossless(loads.ended(under))
        os.kill(envoy, signal.SIGKILL)
        wait.until(calls, "calls succeed again", 30, every=0.1)
        again = loads.entered(uid, shop.kinds, seconds=8)
        again["http1"].wait(30)
        loads.lossless(loads.ended(again))
    shop.system.run("scale", "deployment/retic-controller", "--replicas=2")
    busy.rolled(shop.system, "deployment/retic-controller")
    with shop.load(least=5):
        shop.back.run("rollout", "restart", "deployment/server")
        busy.rolled(shop.back, "deployment/server")
