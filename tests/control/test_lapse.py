"""A certificate that ends while the mesh runs is said when it ends, without any news."""

import asyncio

from retic import wiring
from retic.answers import Answers, Refusals
from retic.control import config
from retic.mesh import network, tables
from retic.objects import core, meta
from retic.sources import store, stream
from retic.testing import tls_pairs


async def test_a_certificate_that_ends_is_said_when_it_does(tmp_path):
    db = wiring.mesh(network.Settings())
    kept = store.Store(db, tables.changes)
    chain, key = tls_pairs.pair("a.test", end=5)
    data = {"tls.crt": chain, "tls.key": key}
    value = core.Secret(meta.Metadata("it", "default"), type="kubernetes.io/tls", data=data)
    kept.apply([stream.Change("Secret", "default", "it", value)])
    answers = Answers(config.Config(folder=tmp_path), db, kept, None, Refusals(lambda: None), asyncio.Condition())
    async with asyncio.timeout(20):
        codes = []
        async for found in answers.follow():
            codes.append([f.code for f in found])
            if len(codes) == 2:
                break
    assert codes == [[], ["RT0306"]]
