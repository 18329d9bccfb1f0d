"""The client's end of delta discovery, as a state machine without I/O: what an agent speaks upstream.

It outlives streams: `connect` begins a new one and says again what is subscribed and which versions are
there, so that only what differs is sent. Names and versions are kept, never bytes; requests come out
serialized.
"""

from collections.abc import Iterable, Mapping

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic.xds import encoded, kinds, request

INVALID = 3
"""google.rpc.Code.INVALID_ARGUMENT, the code of a NACK."""


class Response(msgspec.Struct, frozen=True):
    """What a server sent, to be answered by `ack` or `nack` in the order of arrival."""

    type_url: str
    nonce: str
    resources: tuple[encoded.Encoded, ...]
    removed: tuple[str, ...]


class _Interest:
    """One type: the names subscribed to (`*` among them), and the versions that were acknowledged."""

    __slots__ = ("names", "said", "versions")

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.versions: dict[str, str] = {}
        self.said = False  # whether this stream has carried a request of the type


class Subscriber:
    """One client of one server. `node` is sent with the first request of each stream."""

    __slots__ = ("_first", "_node", "_types")

    def __init__(self, node: base_pb2.Node) -> None:
        self._node = node
        self._types: dict[str, _Interest] = {}
        self._first = True

    def subscribed(self, type_url: str) -> frozenset[str]:
        """The names subscribed to, `*` for all."""
        interest = self._types.get(type_url)
        return frozenset(interest.names) if interest else frozenset()

    def versions(self, type_url: str) -> Mapping[str, str]:
        """The versions acknowledged, by name; those pushed unasked are among them."""
        interest = self._types.get(type_url)
        return interest.versions if interest else {}

    def restore(self, type_url: str, versions: Mapping[str, str]) -> None:
        """These are there from an earlier life, such as a cache on disk. Before `connect`."""
        self._interest(type_url).versions.update(versions)

    def connect(self) -> list[bytes]:
        """Begin a new stream: the requests that say everything again. Old responses cannot be answered."""
        self._first = True
        for interest in self._types.values():
            interest.said = False
        told = [url for url, interest in self._types.items() if interest.names]
        return [self._request(url, subscribe=()) for url in sorted(told, key=kinds.rank)]

    def subscribe(self, type_url: str, names: Iterable[str]) -> bytes | None:
        """Ask for these; None when all are subscribed to already. `*` asks for everything of the type."""
        interest = self._interest(type_url)
        added = [name for name in dict.fromkeys(names) if name not in interest.names]
        interest.names.update(dict.fromkeys(added))
        return self._request(type_url, subscribe=added) if added else None

    def again(self, type_url: str, names: Iterable[str]) -> bytes:
        """Ask once more, to be sent them whatever is there: for bytes that were lost."""
        wanted = list(dict.fromkeys(names))
        self._interest(type_url).names.update(dict.fromkeys(wanted))
        return self._request(type_url, subscribe=wanted)

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> bytes | None:
        """Have these no longer; None when none was subscribed to. Their versions are dropped."""
        interest = self._interest(type_url)
        lost = [name for name in dict.fromkeys(names) if name in interest.names]
        for name in lost:
            del interest.names[name]
            interest.versions.pop(name, None)
            if name == kinds.WILDCARD:
                kept = interest.versions.keys() & interest.names.keys()
                interest.versions = {one: interest.versions[one] for one in kept}
        return self._request(type_url, unsubscribe=lost) if lost else None

    def receive(self, content: bytes) -> Response:
        """Take in a serialized DeltaDiscoveryResponse. Raises `MalformedError`."""
        message = request.parse(discovery_pb2.DeltaDiscoveryResponse(), content)
        resources = tuple(
            encoded.Encoded(
                version=one.version, resource=one.SerializeToString(),
                any=one.resource.SerializeToString(), name=one.name,
            )
            for one in message.resources
        )  # fmt: skip
        return Response(
            type_url=message.type_url, nonce=message.nonce, resources=resources,
            removed=tuple(message.removed_resources),
        )  # fmt: skip

    def ack(self, response: Response) -> bytes:
        """The resources have been taken over."""
        versions = self._interest(response.type_url).versions
        for one in response.resources:
            versions[one.name] = one.version
        for name in response.removed:
            versions.pop(name, None)
        return self._request(response.type_url, nonce=response.nonce)

    def nack(self, response: Response, message: str) -> bytes:
        """The resources have been rejected: what was there before stays. The message should name the bad."""
        return self._request(response.type_url, nonce=response.nonce, error=message)

    def _interest(self, type_url: str) -> _Interest:
        return self._types.setdefault(type_url, _Interest())

    def _request(
        self, type_url: str, *, subscribe: Iterable[str] = (), unsubscribe: Iterable[str] = (),
        nonce: str = "", error: str | None = None,
    ) -> bytes:  # fmt: skip
        interest = self._interest(type_url)
        message = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
        if self._first:
            message.node.CopyFrom(self._node)
            self._first = False
        if not interest.said and (interest.names or not nonce):
            interest.said = True
            message.resource_names_subscribe.extend(interest.names)
            message.initial_resource_versions.update(interest.versions)
        else:
            message.resource_names_subscribe.extend(subscribe)
            message.resource_names_unsubscribe.extend(unsubscribe)
        if error is not None:
            message.error_detail.code = INVALID
            message.error_detail.message = error
        return message.SerializeToString()
