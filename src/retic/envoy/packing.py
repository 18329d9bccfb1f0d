"""Putting messages into Any: by their own Python class, or by name where the installed protos lack it."""

from collections.abc import Mapping

from envoy.config.core.v3 import extension_pb2
from google.protobuf import any_pb2, json_format, struct_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.v3 import typed_struct_pb2

_EXTENSIONS = "type.googleapis.com/envoy.extensions."


def pack(message: Message) -> any_pb2.Any:
    """The message as an Any, serialized deterministically so that equal values are equal bytes."""
    return any_pb2.Any(
        type_url="type.googleapis.com/" + message.DESCRIPTOR.full_name,
        value=message.SerializeToString(deterministic=True),
    )


def typed(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """A named extension with its configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=pack(message))


def typed_xds(name: str, message: Message) -> xds_extension_pb2.TypedExtensionConfig:
    """As `typed`, for messages of xDS itself (xds.core.v3)."""
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=pack(message))


def by_name(message: str, value: Mapping[str, object] | None = None) -> any_pb2.Any:
    """A message that the installed protos do not know, as xds.type.v3.TypedStruct.

    `message` is the full name after `envoy.extensions.`; `value` its JSON form.
    """
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(value or {}), struct)
    return pack(typed_struct_pb2.TypedStruct(type_url=_EXTENSIONS + message, value=struct))


def typed_by_name(
    name: str, message: str, value: Mapping[str, object] | None = None
) -> extension_pb2.TypedExtensionConfig:
    """As `typed`, for a message that the installed protos do not know."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=by_name(message, value))
