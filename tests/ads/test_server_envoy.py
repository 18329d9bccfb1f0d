"""The discovery service as the real Envoy takes it, delta and state-of-the-world."""

import contextlib

import ads_envoy as proxy
import pytest

from retic import ads, xds
from retic.testing.wait import until_async

CDS, EDS, RDS, LDS = xds.CLUSTER, xds.ENDPOINTS, xds.ROUTES, xds.LISTENER


async def says(envoy, socket, text, host="x"):
    async def right():
        return await envoy.get("/", socket, host) == text

    await until_async(right, f"{socket.name} says {text!r} to {host}", seconds=20)


@pytest.mark.parametrize("kind", ["DELTA_GRPC", "GRPC"])
async def test_envoy_fetches_follows_rejects_and_reconnects(house, tmp_path, kind):
    front, back, third = tmp_path / "front.sock", tmp_path / "back.sock", tmp_path / "third.sock"
    house.put(RDS, r=proxy.routes("r", ("x", {"route": {"cluster": "c"}})))
    house.put(RDS, s=proxy.routes("s", ("*", proxy.answer("from s"))))
    house.put(CDS, c=proxy.cluster("c"))
    house.put(EDS, c=proxy.endpoints("c", back))
    house.put(LDS, front=proxy.listener("front", front, "r"), back=proxy.listener("back", back, "s"))
    envoy = proxy.Proxy(tmp_path, tmp_path / "ads.sock", kind)
    await envoy.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(envoy.stop)
        await says(envoy, front, "from s")
        assert await house.server.settled(10)
        await changes(house, envoy, front, third)
        await refusals(house, envoy, front, third)
        await reconnection(house, envoy, front)


async def changes(house, envoy, front, third):
    """A later change, a cluster that warms anew, an addition, a removal."""
    before = house.server.counters.resources
    house.put(RDS, s=proxy.routes("s", ("*", proxy.answer("changed"))))
    await says(envoy, front, "changed")
    assert house.server.counters.resources == before + 1

    house.put(CDS, c=proxy.cluster("c", connect_timeout="3s"))

    async def changed():
        return (await envoy.clusters())["c"].get("connect_timeout") == "3s"

    await until_async(changed, "the changed cluster is in use", seconds=8)
    assert await envoy.stat("cluster_manager.warming_clusters") == 0

    house.put(CDS, shares=proxy.cluster("shares", eds_cluster_config={**proxy.EDS, "service_name": "c"}))

    async def shares():
        return "shares" in await envoy.clusters()

    await until_async(shares, "a second cluster with the same endpoints is in use", seconds=8)

    house.put(LDS, third=proxy.listener("third", third, "s"))
    house.put(CDS, d=proxy.cluster("d"))
    house.put(EDS, d=proxy.endpoints("d", third))
    await says(envoy, third, "changed")

    async def has_d():
        return "d" in await envoy.clusters()

    await until_async(has_d, "the cluster d")
    house.put(CDS, d=None)
    house.put(EDS, d=None)

    async def lost_d():
        return "d" not in await envoy.clusters()

    await until_async(lost_d, "no cluster d")
    assert await house.server.settled(10)


async def refusals(house, envoy, front, third):
    """Bad bytes are rejected by name, once; what was good stays; the rest goes on changing."""
    good = proxy.listener("third", third, "s")
    house.put(LDS, third=proxy.listener("third", third, "s", chains=2))
    await until_async(lambda: any(isinstance(one, ads.Nack) for one in house.events), "a NACK")
    nack = house.events[-1]
    assert (nack.client.id, nack.client.zone) == ("node/node-1", "a")
    assert (nack.type_url, nack.name) == (LDS, "third")
    assert "third" in nack.message
    house.put(
        RDS,
        r=proxy.routes("r", ("x", {"route": {"cluster": "c"}}), ("x", {"route": {"cluster": "c"}})),
        s=proxy.routes("s", ("*", proxy.answer("went on"))),
    )
    await says(envoy, front, "went on")
    await says(envoy, third, "went on")
    assert await house.server.settled(10)
    nacks = house.server.counters.nacks
    refused = house.server.converged()["node/node-1"].refused
    assert {(url, one.name) for url, one in refused} == {(LDS, "third"), (RDS, "r")}
    house.put(LDS, third=good)
    house.put(RDS, r=proxy.routes("r", ("x", {"route": {"cluster": "c"}})))
    assert await house.server.settled(10)
    assert house.server.counters.nacks == nacks
    assert not house.server.converged()["node/node-1"].refused


async def reconnection(house, envoy, front):
    """After a restart of the server next to nothing is sent."""
    await house.stop()
    house.put(RDS, s=proxy.routes("s", ("*", proxy.answer("after the restart"))))
    assert await envoy.get("/", front) == "went on"
    await house.start()
    await says(envoy, front, "after the restart")
    assert await house.server.settled(10)
    whole = 2 if envoy.kind == "GRPC" else 1  # SotW cannot tell which of two route configurations changed
    assert house.server.counters.resources <= whole
    assert house.server.counters.nacks == 0


