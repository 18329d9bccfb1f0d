"""The client's end of state-of-the-world discovery, as a state machine without I/O; as `subscriber`.

A request lists all names of its type; an empty list, said first, stands for everything. What a response
leaves out exists no longer where the type is of `kinds.WHOLE`, and is as it was elsewhere. Names inside
resources are not read here: that would need the resources' own messages.
"""

from collections.abc import Iterable

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic.xds import kinds, request, subscriber


class Response(msgspec.Struct, frozen=True):
    """What a server sent, to be answered by `ack` or `nack` in order. `anys` are serialized."""

    type_url: str
    version: str
    nonce: str
    anys: tuple[bytes, ...]


class _Interest:
    __slots__ = ("dropped", "names", "nonce", "version")

    def __init__(self) -> None:
        self.dropped = False  # the version may speak of what has been dropped
        self.names: dict[str, None] = {}
        self.version = ""  # of the response last acknowledged
        self.nonce = ""  # of the response last received on this stream


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

    def connect(self) -> list[bytes]:
        """Begin a new stream: the requests that say everything again, with the versions that are there."""
        self._first = True
        for interest in self._types.values():
            interest.nonce = ""
            if interest.dropped:
                interest.version, interest.dropped = "", False
        told = [url for url, interest in self._types.items() if interest.names]
        return [self._request(url) for url in sorted(told, key=kinds.rank)]

    def subscribe(self, type_url: str, names: Iterable[str]) -> bytes | None:
        """Ask for these besides the others; None when all are subscribed to already."""
        interest = self._types.setdefault(type_url, _Interest())
        before = len(interest.names)
        interest.names.update(dict.fromkeys(names))
        return self._request(type_url) if len(interest.names) > before else None

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> bytes | None:
        """Have these no longer; None when none was subscribed to."""
        interest = self._types.setdefault(type_url, _Interest())
        lost = [name for name in dict.fromkeys(names) if name in interest.names]
        for name in lost:
            del interest.names[name]
            interest.dropped = True
        return self._request(type_url) if lost else None

    def receive(self, content: bytes) -> Response:
        """Take in a serialized DiscoveryResponse. Raises `MalformedError`."""
        message = request.parse(discovery_pb2.DiscoveryResponse(), content)
        self._types.setdefault(message.type_url, _Interest()).nonce = message.nonce
        anys = tuple(one.SerializeToString() for one in message.resources)
        return Response(
            type_url=message.type_url, version=message.version_info, nonce=message.nonce, anys=anys
        )

    def ack(self, response: Response) -> bytes:
        """The resources have been taken over."""
        self._types[response.type_url].version = response.version
        return self._request(response.type_url, nonce=response.nonce)

    def nack(self, response: Response, message: str) -> bytes:
        """The resources have been rejected: what was there before stays. The message should name the bad."""
        return self._request(response.type_url, nonce=response.nonce, error=message)

    def _request(self, type_url: str, *, nonce: str | None = None, error: str | None = None) -> bytes:
        interest = self._types[type_url]
        message = discovery_pb2.DiscoveryRequest(
            type_url=type_url, version_info=interest.version, resource_names=list(interest.names),
            response_nonce=interest.nonce if nonce is None else nonce,
        )  # fmt: skip
        if self._first:
            message.node.CopyFrom(self._node)
            self._first = False
        if error is not None:
            message.error_detail.code = subscriber.INVALID
            message.error_detail.message = error
        return message.SerializeToString()
