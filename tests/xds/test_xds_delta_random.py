"""Random interleavings of a delta client, its server and changes."""

import xds_streams as streams
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from retic import xds

TYPES = strategies.sampled_from([xds.CLUSTER, xds.ENDPOINTS, xds.LISTENER])
NAMES = strategies.sampled_from(["a", "b", "c", "d"])
CONTENTS = strategies.sampled_from([None, b"1", b"2", b"bad", b"worse"])
BAD = {xds.encode("", "", content).version for content in (b"bad", b"worse")}


class Interleavings(RuleBasedStateMachine):
    """After quiescence the client has exactly what it subscribes to, at its newest good version."""

    def __init__(self):
        super().__init__()
        self.world = streams.World()
        self.pair = streams.Pair(self.world)
        self.pair.bad = BAD
        self.quiet = False

    @rule(type_url=TYPES, names=strategies.lists(NAMES, min_size=1, max_size=3))
    def subscribe(self, type_url, names):
        self.pair.subscribe(type_url, *names)

    @rule(type_url=TYPES)
    def subscribe_to_all(self, type_url):
        self.pair.subscribe(type_url, "*")

    @rule(type_url=TYPES, names=strategies.lists(NAMES | strategies.just("*"), min_size=1, max_size=3))
    def unsubscribe(self, type_url, names):
        self.pair.unsubscribe(type_url, *names)

    @rule(type_url=TYPES, name=NAMES)
    def ask_again(self, type_url, name):
        if name in self.pair.client.subscribed(type_url):
            self.pair.ask(self.pair.client.again(type_url, [name]))

    @rule(type_url=TYPES, name=NAMES, content=CONTENTS)
    def change(self, type_url, name, content):
        self.pair.change(type_url, name, content)

    @rule()
    def serve(self):
        if self.pair.up:
            self.pair.serve()

    @rule()
    def send(self):
        self.pair.send()

    @rule()
    def take(self):
        if self.pair.down:
            self.pair.take()

    @rule()
    def reconnect(self):
        self.pair.connect()

    @rule()
    def settle(self):
        self.pair.settle()
        self.check()
        before = self.pair.responses
        self.pair.settle()
        assert self.pair.responses == before

    @rule(type_url=TYPES, name=NAMES)
    def reconnecting_when_settled_sends_nothing_but_what_was_rejected(self, type_url, name):
        self.pair.settle()
        self.pair.connect()
        before = self.pair.resources
        self.pair.settle()
        bad = sum(one.version in BAD for one in self.world.now.values())
        assert self.pair.resources - before <= 2 * bad + self.rejected_together()
        self.check()

    def rejected_together(self):
        """Good resources may share a response with bad ones, and are then sent a second time."""
        bad = {url for (url, _), one in self.world.now.items() if one.version in BAD}
        return sum(url in bad for url, _ in self.world.now)

    @invariant()
    def the_server_knows_no_more_names_than_there_are(self):
        for book in self.pair.server.books():
            assert len(book.held) <= 4
            assert len(book.refused) <= 4

    def check(self):
        for type_url in (xds.CLUSTER, xds.ENDPOINTS, xds.LISTENER):
            subscribed = self.pair.client.subscribed(type_url)
            for name in "abcd":
                if name not in subscribed and "*" not in subscribed:
                    continue
                now = self.world.lookup(type_url, name)
                has = self.pair.held.get((type_url, name))
                if now is None:
                    assert has is None, (type_url, name)
                elif now.version in BAD:
                    assert has not in BAD
                else:
                    assert has == now.version, (type_url, name)
                refused = {one for book in self.pair.server.books() if book.type_url == type_url
                           for one in book.refused}  # fmt: skip
                assert (name in refused) == (now is not None and now.version in BAD)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
