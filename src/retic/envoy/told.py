"""What an agent has to know to tell of requests: a TypedStruct named `told` (node/told.py reads it)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from google.protobuf import struct_pb2
from xds.type.v3 import typed_struct_pb2

from retic.mesh import observing, observing_rules, service


class Collector(msgspec.Struct, frozen=True):
    """A collector, and where it is reached now, if it is a Service."""

    value: observing_rules.Collector
    endpoints: tuple[service.Endpoint, ...] = ()


def providers(told: Iterable[observing.Told]) -> list[str]:
    """The collectors that spans are sent to, by name."""
    sides = (side.traced for each in told for side in (each.client, each.server))
    return sorted({traced.provider for traced in sides if traced is not None and traced.provider})


def resource(
    pods: Mapping[str, observing.Told], collectors: Mapping[str, Collector]
) -> typed_struct_pb2.TypedStruct:
    """By the pods' uids; those of whom nothing is told are left out."""
    value = struct_pb2.Struct()
    value.update({
        "pods": {
            uid: {"client": _side(each.client), "server": _side(each.server)}
            for uid, each in sorted(pods.items())
            if each.anything
        },
        "collectors": {name: _collector(each) for name, each in sorted(collectors.items())},
    })
    return typed_struct_pb2.TypedStruct(type_url="retic.dev/told", value=value)


def _side(side: observing.Side) -> dict[str, Any]:
    made: dict[str, Any] = {} if side.log is None else {"log": side.log}
    if side.traced is not None:
        made["traced"] = {
            "collector": side.traced.provider,
            "reported": side.traced.reported is not False,
            "tags": [{"name": tag.name, "value": tag.value, "header": tag.header} for tag in side.traced.tags or ()],
        }
    return made


def _collector(one: Collector) -> dict[str, Any]:
    value = one.value
    targets = [f"{each.address}:{each.port}" for each in one.endpoints] if value.service else [
        f"{value.host}:{value.port}"
    ]
    made: dict[str, Any] = {"targets": targets, "path": value.path, "seconds": value.seconds}
    if value.tls is not None:
        # An agent of a version that knows of no TLS finds no targets, and sends nothing in plaintext.
        own = targets if value.tls.readable else []
        made |= {"targets": [], "tls": {"targets": own, "hostname": value.tls.hostname, "roots": value.tls.roots}}
    return made
