"""What is told of this agent's workloads' requests, as the control plane says: a TypedStruct named `told`.

Its value is {"pods": {UID: {"client": SIDE, "server": SIDE}}, "collectors": {NAME: {"targets": [HOST:PORT...], "path",
"seconds", "tls": {"targets", "hostname", "roots"}}}}; a SIDE is {"log": EXPRESSION, "traced": {"collector", "reported",
"tags": [{"name", "value", "header"}]}}, and has neither of what is not told. A gateway's uid is "". Nothing that is not
so is taken.
"""

import msgspec
from google.protobuf import json_format, message
from xds.type.v3 import typed_struct_pb2

from retic.telemetry import conditions

TYPE_URL = "type.googleapis.com/xds.type.v3.TypedStruct"
NAME = "told"


class MalformedError(ValueError):
    """A resource that is not as above. The message says what is wrong."""


class Tag(msgspec.Struct, frozen=True):
    """An attribute of spans: the header's value, or else `value`."""

    name: str
    value: str = ""
    header: str = ""


class Traced(msgspec.Struct, frozen=True):
    """Where spans go, if they are `reported`."""

    collector: str
    reported: bool = True
    tags: tuple[Tag, ...] = ()


class Side(msgspec.Struct, frozen=True):
    """`log`: by which expression requests are logged; None: not at all."""

    log: str | None = None
    traced: Traced | None = None


class Pod(msgspec.Struct, frozen=True):
    """Of the calls that it makes, and that it takes."""

    client: Side = Side()
    server: Side = Side()


class Tls(msgspec.Struct, frozen=True):
    """Where a collector is reached by TLS, whom its certificate has to be for, and by which authority (PEM; "": any
    that the public trusts)."""

    targets: tuple[str, ...]
    hostname: str
    roots: str = ""


class Collector(msgspec.Struct, frozen=True):
    """Where a collector is reached in plaintext, without `tls`; by HTTP if there is a `path`."""

    targets: tuple[str, ...] = ()
    path: str = ""
    seconds: float = 10.0
    tls: Tls | None = None


class Told(msgspec.Struct, frozen=True):
    """Of which pods what is told."""

    pods: dict[str, Pod] = {}
    collectors: dict[str, Collector] = {}


def decode(content: bytes | None) -> Told:
    """What the serialized TypedStruct says; nothing for None. MalformedError."""
    if content is None:
        return Told()
    try:
        value = json_format.MessageToDict(typed_struct_pb2.TypedStruct.FromString(content).value)
        said = msgspec.convert(value, type=Told)
        for pod in said.pods.values():
            for side in (pod.client, pod.server):
                conditions.compiled(side.log or "")
    except (message.DecodeError, msgspec.ValidationError, json_format.Error, ValueError, RecursionError) as error:
        raise MalformedError(f"what is to be told is not as it should be: {error}") from None
    return said
