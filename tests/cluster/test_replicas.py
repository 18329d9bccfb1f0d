"""Two replicas: one writes, for the proxies of both."""

import asyncio

import grpc
import grpc.aio
import kube_rig
import pytest
import test_status

from retic.identity import authority, spiffe
from retic.kube import live, peers


class Pair:
    """Two rigs of one installation that find each other."""

    def __init__(self, one, two) -> None:
        self.one, self.two = one, two
        for mine, other in ((one, two), (two, one)):
            mine.made._others._addresses = lambda other=other: [other.address] if other.address else []


async def test_the_leader_writes_for_the_proxies_of_all(gateway_api, tmp_path):
    authority.open_own(tmp_path, "cluster.local")
    async with kube_rig.Rig(gateway_api, tmp_path) as one, kube_rig.Rig(gateway_api, tmp_path) as two:
        Pair(one, two)
        space = "replicas"
        await one.apply(test_status.SHOP.replace("SPACE", space))
        await one.apply(test_status.POD.replace("SPACE", space))

        async def leader():
            return next((each for each in (one, two) if each.made.leads), None)

        first = await kube_rig.until(leader)
        second = two if first is one else one
        await second.proxy(f"gateway/{space}/edge")

        async def programmed():
            found = await test_status.get(one, "gateways", space, "edge")
            return kube_rig.condition((found.get("status") or {}).get("conditions"), "Programmed") == (
                "True", "Programmed",
            )  # fmt: skip

        await kube_rig.until(programmed)
        assert second.made.status.writes == 0
        await first.stop()
        await kube_rig.until(lambda: leads(second))
        change = {"metadata": {"annotations": {"retic.dev/service-type": "NoSuch"}}}
        await gateway_api.patch(f"{kube_rig.GATEWAYS}/namespaces/{space}/gateways/edge", change)

        async def refused():
            found = await test_status.get(one, "gateways", space, "edge")
            return kube_rig.condition(found["status"]["conditions"], "Accepted") == ("False", "InvalidParameters")

        await kube_rig.until(refused)


async def leads(rig):
    return rig.made.leads


async def test_only_controllers_ask(rig):
    call = rig.channel(spiffe.client("cluster.local", "node/one")).unary_unary(f"/{peers.NAME}/Live")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b'{"objects":[]}', timeout=5)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_replica_that_does_not_answer_makes_it_unknown(rig):
    others = peers.Peers(rig.signer, lambda: ["127.0.0.1:1"])
    try:
        async with asyncio.timeout(10):
            assert await others.ask([peers.Asked(kube_rig.findings.Ref("Gateway", "a", "b"), 1, "node/")]) is None
    finally:
        await others.close()
    none = peers.Peers(rig.signer, list)
    assert await none.ask([peers.Asked(kube_rig.findings.Ref("Gateway", "a", "b"), 1, "node/")]) == [live.Live(0, 0)]
