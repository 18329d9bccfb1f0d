"""A server and a client of one stream, joined by queues that a test delivers one message at a time."""

from collections import deque

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic import xds
from retic.xds import delta, subscriber

NODE = base_pb2.Node(id="node/node-1")


class World:
    """What exists, by type URL and name."""

    def __init__(self):
        self.now: dict[tuple[str, str], xds.Encoded] = {}

    def put(self, type_url, name, content):
        if content is None:
            self.now.pop((type_url, name), None)
        else:
            self.now[type_url, name] = xds.encode(type_url, name, content)

    def lookup(self, type_url, name):
        return self.now.get((type_url, name))

    def names(self, type_url):
        return frozenset(name for url, name in self.now if url == type_url)


class Pair:
    """A delta client and server. What the client holds is `held`; it rejects the versions in `bad`."""

    def __init__(self, world):
        self.world = world
        self.client = subscriber.Subscriber(NODE)
        self.held: dict[tuple[str, str], str] = {}
        self.bad: set[str] = set()
        self.nacks = 0
        self.responses = 0
        self.resources = 0
        self.server: delta.Delta | None = None
        self.connect()

    def connect(self):
        self.up, self.down = deque(), deque()
        self.server = delta.Delta()
        self.wildcards: set[str] = set()
        self.up.extend(self.client.connect())

    def ask(self, request):
        if request is not None:
            self.up.append(request)

    def subscribe(self, type_url, *names):
        self.ask(self.client.subscribe(type_url, names))

    def unsubscribe(self, type_url, *names):
        before = self.client.subscribed(type_url)
        self.ask(self.client.unsubscribe(type_url, names))
        gone = [name for name in names if name in before]
        kept = self.client.subscribed(type_url)
        for url, name in list(self.held):
            if url == type_url and (name in gone or ("*" in gone and name not in kept)):
                del self.held[url, name]

    def change(self, type_url, name, content):
        self.world.put(type_url, name, content)
        self.server.offer(type_url, name)
        if type_url in self.wildcards:
            self.list(type_url)

    def list(self, type_url):
        added, _ = self.server.list_names(type_url, self.world.names(type_url))
        for name in added:
            self.server.offer(type_url, name)

    def serve(self):
        """The server takes in one request."""
        received = self.server.receive(self.up.popleft())
        if received.wildcard is not None:
            (self.wildcards.add if received.wildcard else self.wildcards.discard)(received.type_url)
        if received.wildcard:
            self.list(received.type_url)
        for name in received.wanted:
            self.server.offer(received.type_url, name)
        return received

    def send(self):
        """The server sends one response, if any."""
        response = self.server.respond(self.world.lookup)
        if response is not None:
            self.down.append(response)
            self.responses += 1
        return response

    def take(self):
        """The client takes in one response, and answers."""
        response = self.client.receive(self.down.popleft())
        self.resources += len(response.resources)
        rejected = [one.name for one in response.resources if one.version in self.bad]
        if rejected:
            self.nacks += 1
            self.up.append(self.client.nack(response, f"bad: {rejected[0]}"))
            return response
        for one in response.resources:
            self.held[response.type_url, one.name] = one.version
        for name in response.removed:
            self.held.pop((response.type_url, name), None)
        self.up.append(self.client.ack(response))
        return response

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


def delta_response(content):
    return discovery_pb2.DeltaDiscoveryResponse.FromString(content)


def sotw_response(content):
    return discovery_pb2.DiscoveryResponse.FromString(content)
