"""Random interleavings of a state-of-the-world client, its server and changes."""

from collections import deque

import xds_streams as streams
from google.protobuf import any_pb2
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, rule

from retic import xds
from retic.xds import kinds, sotw, sotw_subscriber

URLS = (xds.CLUSTER, xds.ENDPOINTS, xds.LISTENER)
TYPES = strategies.sampled_from(URLS)
NAMES = strategies.sampled_from(["a", "b", "c", "d"])
CONTENTS = strategies.sampled_from([None, b"1", b"2", b"bad"])


class Pair:
    """A client and a server. Contents are `NAME=CONTENT`, for names are not in the envelope."""

    def __init__(self, world):
        self.world = world
        self.client = sotw_subscriber.Subscriber(streams.NODE)
        self.held = {}
        self.connect()

    def connect(self):
        self.up, self.down = deque(), deque()
        self.server = sotw.Sotw()
        self.wildcards = set()
        self.responses = 0
        self.up.extend(self.client.connect())

    def ask(self, request):
        if request is not None:
            self.up.append(request)

    def list(self, type_url):
        added, _ = self.server.list_names(type_url, self.world.names(type_url))
        for name in added:
            self.server.offer(type_url, name)

    def change(self, type_url, name, content):
        self.world.put(type_url, name, None if content is None else name.encode() + b"=" + content)
        self.server.offer(type_url, name)
        if type_url in self.wildcards:
            self.list(type_url)

    def serve(self):
        received = self.server.receive(self.up.popleft())
        if received.wildcard is not None:
            (self.wildcards.add if received.wildcard else self.wildcards.discard)(received.type_url)
        if received.wildcard:
            self.list(received.type_url)
        for name in received.wanted:
            self.server.offer(received.type_url, name)

    def send(self):
        response = self.server.respond(self.world.lookup)
        if response is not None:
            self.responses += 1
            self.down.append(response)
        return response

    def take(self):
        response = self.client.receive(self.down.popleft())
        found = dict(any_pb2.Any.FromString(one).value.split(b"=") for one in response.anys)
        good = {name.decode(): content for name, content in found.items() if content != b"bad"}
        bad = sorted(name.decode() for name, content in found.items() if content == b"bad")
        if response.type_url in kinds.WHOLE:
            for url, name in list(self.held):
                if url == response.type_url and name.encode() not in found:
                    del self.held[url, name]
        if not bad or response.type_url in kinds.WHOLE:
            self.held.update({(response.type_url, name): content for name, content in good.items()})
        if not bad:
            self.up.append(self.client.ack(response))
            return
        message = "no" if response.type_url not in kinds.WHOLE else (
            "Error adding/updating listener(s) " + "\n".join(f"{name}: no" for name in bad)
        )  # fmt: skip
        self.up.append(self.client.nack(response, message))

    def settle(self):
        for _ in range(10_000):
            if self.up:
                self.serve()
            elif self.down:
                self.take()
            elif self.send() is None:
                assert self.server.idle
                return
        raise AssertionError("the two never stop talking")


class Interleavings(RuleBasedStateMachine):
    """After quiescence the client has what it subscribes to, as far as it took it and absence can be told."""

    def __init__(self):
        super().__init__()
        self.world = streams.World()
        self.pair = Pair(self.world)

    @rule(type_url=TYPES, names=strategies.lists(NAMES | strategies.just("*"), min_size=1, max_size=3))
    def subscribe(self, type_url, names):
        self.pair.ask(self.pair.client.subscribe(type_url, names))

    @rule(type_url=TYPES, names=strategies.lists(NAMES | strategies.just("*"), min_size=1, max_size=3))
    def unsubscribe(self, type_url, names):
        self.pair.ask(self.pair.client.unsubscribe(type_url, names))
        kept = self.pair.client.subscribed(type_url)
        for url, name in list(self.pair.held):
            if url == type_url and name not in kept and "*" not in kept:
                del self.pair.held[url, name]

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
        before = self.pair.responses
        self.pair.settle()
        assert self.pair.responses == before
        for type_url in URLS:
            self.check(type_url)

    @rule()
    def reconnecting_when_settled_and_content_sends_nothing(self):
        self.pair.settle()
        self.pair.connect()
        self.pair.settle()
        if not any(one.any.endswith(b"bad") for one in self.world.now.values()):
            subscribed = [url for url in URLS if self.pair.client.subscribed(url) & {*"abcd*"}]
            assert self.pair.responses <= len(subscribed)

    def check(self, type_url):
        subscribed = self.pair.client.subscribed(type_url)
        for name in "abcd":
            if name not in subscribed and "*" not in subscribed:
                continue
            now = self.world.lookup(type_url, name)
            has = self.pair.held.get((type_url, name))
            if now is None:
                assert has is None or type_url not in kinds.WHOLE, (type_url, name)
            elif not now.any.endswith(b"bad"):
                assert has == any_pb2.Any.FromString(now.any).value.split(b"=")[1], (type_url, name)
            refused = {one for book in self.pair.server.books() if book.type_url == type_url
                       for one in book.refused}  # fmt: skip
            assert (name in refused) == (now is not None and now.any.endswith(b"bad")), (type_url, name)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
