"""What discovery is about: a resource as bytes, the client that asks for it."""

import hashlib
from typing import Protocol

import msgspec

from retic.xds import wire


class Client(msgspec.Struct, frozen=True):
    """Who asks. `id` is `node/node-1` or `gateway/shop/web`; `zone` is "" when the client has none."""

    id: str
    zone: str = ""


class Encoded(msgspec.Struct, frozen=True):
    """A resource, serialized once. `version` is a hash of the message: equal bytes, equal version, whoever
    encoded them and when. `resource` is an envoy.service.discovery.v3.Resource, `any` the Any inside it."""

    version: str
    resource: bytes
    any: bytes
    name: str


class Bytes(Protocol):
    """What a stream needs of a resource. `Encoded` has it, and so may another room's own struct."""

    @property
    def version(self) -> str: ...
    @property
    def resource(self) -> bytes: ...
    @property
    def any(self) -> bytes: ...


def encode(type_url: str, name: str, message: bytes) -> Encoded:
    """The resource of that name from its serialized message. The version has 16 hexadecimal digits."""
    version = hashlib.blake2b(message, digest_size=8).hexdigest()
    inside = wire.any_message(type_url, message)
    return Encoded(version=version, resource=wire.resource(name, version, inside), any=inside, name=name)
