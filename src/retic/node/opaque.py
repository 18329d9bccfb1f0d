"""The destinations nobody looks into, as the control plane sends them: a TypedStruct named `destinations`.

Its value is {"destinations": ["10.96.0.5:6379", ...]}, IPv4 addresses with ports.
"""

import ipaddress

from google.protobuf import json_format
from xds.type.v3 import typed_struct_pb2

TYPE_URL = "type.googleapis.com/xds.type.v3.TypedStruct"
NAME = "destinations"


class MalformedError(ValueError):
    """A resource that is not as above. The message says what is wrong."""


def destinations(message: bytes | None) -> frozenset[tuple[str, int]]:
    """The (address, port) pairs of the serialized TypedStruct; none for None. MalformedError."""
    if message is None:
        return frozenset()
    value = json_format.MessageToDict(typed_struct_pb2.TypedStruct.FromString(message).value)
    listed = value.get("destinations", [])
    if not isinstance(listed, list):
        raise MalformedError("destinations must be a list of ADDRESS:PORT")
    return frozenset(map(_destination, listed))


def _destination(text: object) -> tuple[str, int]:
    address, _, port = str(text).rpartition(":")
    try:
        parsed = str(ipaddress.IPv4Address(address)), int(port)
    except ValueError:
        raise MalformedError(f"{text!r} is not an IPv4 ADDRESS:PORT") from None
    if not 0 < parsed[1] < 65536:
        raise MalformedError(f"{text!r}: a port is between 1 and 65535")
    return parsed
