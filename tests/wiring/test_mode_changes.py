"""Changes of PeerAuthentications go their way step by step, by a clock that a test moves."""

import asyncio
import datetime

from retic import findings, wiring
from retic.mesh import network, peers, tables
from retic.objects import meta, pods, security
from retic.testing import clock
from retic.wiring import modes

REF = findings.Ref("PeerAuthentication", "shop", "all")
KEY = tables.Key("shop", "p")
POD = pods.Pod(
    metadata=meta.Metadata(name="p", namespace="shop", uid="p"),
    spec=pods.PodSpec(containers=(), node_name="node-1"),
)


def policy(mode, **labels):
    return security.PeerAuthentication(
        metadata=meta.Metadata(name="all", namespace="shop", labels=labels),
        spec=security.PeerAuthenticationSpec(mtls=security.MutualTLS(mode)),
    )


class Way:
    """A mesh whose policy changes, and its clock."""

    def __init__(self):
        self.time = clock.Fake()
        self.db = wiring.mesh(network.Settings())
        self.changes = modes.Changes(self.db, time=self.time)
        self.db.commit(self.changes.rows(findings.Ref("Pod", "shop", "p"), POD))

    def set(self, value):
        self.db.commit(self.changes.rows(REF, value))

    async def after(self, seconds):
        await settle()
        self.time.advance(seconds)
        await settle()
        return self.now

    @property
    def now(self):
        found = self.db.ask(peers.taken, KEY).whole
        return "".join(
            sign for sign, holds in (("T", found.mtls), ("P", found.plaintext), ("t" if found.secured else "p", True))
            if holds
        )  # fmt: skip


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def on_the_way(walk):
    async def go():
        way = Way()
        running = asyncio.create_task(way.changes.run())
        try:
            await walk(way)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(go())


def test_what_is_told_at_first_is_no_change():
    async def walk(way):
        way.set(policy("DISABLE"))
        assert way.now == "Pp"
        way.changes.begin()
        way.set(policy("DISABLE", team="x"))
        assert way.now == "Pp", "labels of the policy change nothing"
        assert way.db.get(tables.FORMER, tables.Key("shop", "all")) is None

    on_the_way(walk)


def test_to_plaintext_and_back():
    async def walk(way):
        way.changes.begin()
        way.set(policy("DISABLE"))
        assert way.now == "TPt", "servers take both"
        assert await way.after(modes.SECONDS - 0.1) == "TPt"
        assert await way.after(0.1) == "TPp", "callers change over"
        assert await way.after(modes.SECONDS) == "Pp", "and nothing else is taken"
        way.set(None)
        assert way.now == "TPp"
        assert await way.after(modes.SECONDS) == "TPt"
        assert await way.after(modes.SECONDS) == "Tt"
        assert way.db.get(tables.FORMER, tables.Key("shop", "all")) is None
        assert way.time.waiting == (), "nothing waits any more"

    on_the_way(walk)


def test_strict_and_permissive_change_at_once():
    async def walk(way):
        way.changes.begin()
        way.set(policy("PERMISSIVE"))
        assert way.now == "TPt"
        way.set(policy("STRICT"))
        assert way.now == "Tt"

    on_the_way(walk)


def test_a_change_during_a_change():
    async def walk(way):
        way.changes.begin()
        way.set(policy("DISABLE"))
        await way.after(modes.SECONDS)
        way.set(policy("STRICT"))
        assert way.now == "TPp", "callers have been told of plaintext, and are not called back at once"
        assert await way.after(modes.SECONDS) == "TPt"
        assert await way.after(modes.SECONDS) == "Tt"
        way.set(policy("DISABLE"))
        way.set(policy("STRICT"))
        assert way.now == "Tt", "nobody has been told of anything else"

    on_the_way(walk)


def test_many_changes_keep_little():
    async def walk(way):
        way.changes.begin()
        for number in range(20):
            way.set(policy(("DISABLE", "STRICT")[number % 2]))
            await way.after(modes.SECONDS)
        row = way.db.get(tables.FORMER, tables.Key("shop", "all"))
        assert len(row.was) <= 4
        await way.after(datetime.timedelta(minutes=1).total_seconds())
        await way.after(modes.SECONDS)
        assert way.now == "Tt"

    on_the_way(walk)
