"""The bench's own servers, Envoys and namespaces."""

import asyncio
import os
import subprocess

import pytest
from tools.bench import cases, certificates, collector, costs, fast_http2, features, handmade, manifests, pair, ports

from retic.cli import analyze
from retic.node import envoy
from retic.sources import manifests as sources
from retic.testing.load import http2

FEATURES = [*features.alone(), features.together(features.alone())]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: one.name)
def test_envoy_takes_the_pair_with_each_feature(feature, tmp_path):
    holders = certificates.make(tmp_path / "ca")
    for name, config, change in (
        ("client", pair.client(tmp_path, holders[0], "10.0.0.2"), feature.client),
        ("server", pair.server(tmp_path, holders[1], "10.0.0.2"), feature.server),
    ):
        change(config)
        command = [*pair.command(envoy.binary(), pair.write(config), 1), "--mode", "validate"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


async def test_the_http2_server_answers_every_stream_of_many():
    made = await asyncio.get_running_loop().create_server(
        lambda: fast_http2.Connection(fast_http2.header_block(300), b"x" * 300), "127.0.0.1", 0
    )
    async with made:
        connection = await http2.connect(*made.sockets[0].getsockname())
        answers = await asyncio.gather(*(connection.request("GET", "/") for _ in range(50)))
        connection.close()
    assert [(one.status, len(one.body)) for one in answers] == [(200, 300)] * 50


def test_a_request_goes_through_both_envoys_of_the_pair_and_nothing_stays(tmp_path):
    http1 = ports.Protocol.HTTP1
    with handmade.started(tmp_path, ["a@1", "b@2"], (http1,)) as bench:
        path = bench.proxied("a", "b", "pair", 1)
        command = [ports.PYTHON, "-m", "tools.bench.ask", "first", path.address, str(http1.port)]
        assert float(path.client.run(command, seconds=30)) > 0
        for pod, stat in (("a", "cluster.http1.upstream_rq_200"), ("b", "http.http1.downstream_rq_2xx")):
            assert bench.statistic(pod, stat) == 1
        assert bench.statistic("b", "listener.0.0.0.0_15006.ssl.handshake") == 1
        owner = path.client.owner
    for pid in (*path.proxies, owner):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    "objects", [costs.objects(), *(costs.sleepers(2, *case.made(costs.SLEEPERS)) for case in cases.CASES)],
    ids=["all at once", *(case.name for case in cases.CASES)],
)  # fmt: skip
def test_nothing_is_wrong_with_the_cases_of_what_is_switched_on(objects, tmp_path):
    beside = collector.objects(tmp_path / "collector")
    manifests.write(tmp_path / "mesh.yaml", [*objects, *beside, manifests.marker("edit-1")])
    found = analyze.examine(sources.load([tmp_path / "mesh.yaml"]))
    # Nobody says here that the bench has two nodes.
    assert [one for one in found if one.code != "RT0506"] == []
