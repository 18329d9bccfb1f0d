"""Protobuf wire format, as far as responses are composed from bytes that are already serialized.

A resource is encoded once and shared by all streams, so responses are concatenated, not built as messages.
Field numbers are those of envoy.service.discovery.v3 and google.protobuf.Any. Refuses to parse.
"""

from collections.abc import Iterable


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field (wire type 2): string, bytes or message. `number` below 16."""
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def text(number: int, content: str) -> bytes:
    """A string field; nothing when it is empty, as proto3 does."""
    return field(number, content.encode()) if content else b""


def any_message(type_url: str, message: bytes) -> bytes:
    """google.protobuf.Any."""
    return text(1, type_url) + (field(2, message) if message else b"")


def resource(name: str, version: str, any_bytes: bytes) -> bytes:
    """envoy.service.discovery.v3.Resource."""
    return text(1, version) + field(2, any_bytes) + text(3, name)


def delta_response(
    type_url: str, nonce: str, resources: Iterable[bytes] = (), removed: Iterable[str] = ()
) -> bytes:
    """envoy.service.discovery.v3.DeltaDiscoveryResponse from serialized `Resource` messages."""
    parts = [field(2, one) for one in resources]
    parts += [text(4, type_url), text(5, nonce)]
    parts += [text(6, name) for name in removed]
    return b"".join(parts)


def sotw_response(type_url: str, nonce: str, version: str, anys: Iterable[bytes] = ()) -> bytes:
    """envoy.service.discovery.v3.DiscoveryResponse from serialized `Any` messages."""
    parts = [text(1, version)]
    parts += [field(2, one) for one in anys]
    parts += [text(4, type_url), text(5, nonce)]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
