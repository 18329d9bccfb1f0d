"""The pods of this node as the control plane sees them: a TypedStruct named `pods`.

Its value is {"pods": [{"uid", "namespace", "name", "service_account", "ip", "mesh", "probes"}], "network": {"pods":
[CIDR...], "services": [CIDR...], "dns": ADDRESS}}: every pod of the node but those in the node's own network, with
`mesh` saying whether it is to be captured. `ip` is "" until the cluster knows it. `network` may be missing: then what
the agent was started with holds. Nothing that is not so is taken, not even in part.
"""

import ipaddress
import re
from typing import Any

import msgspec
from google.protobuf import json_format, message
from xds.type.v3 import typed_struct_pb2

TYPE_URL = "type.googleapis.com/xds.type.v3.TypedStruct"
NAME = "pods"
MOST_PODS = 4096  # of one node
MOST_PROBES = 256  # of one pod
MOST_NETWORKS = 16384  # a cluster has one for each node
# A uid becomes the name of a file. Kubernetes has UUIDs, and hashes for static pods.
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # RFC 1123 subdomain, as Kubernetes has it


class MalformedError(ValueError):
    """A list that is not as above. The message says what is wrong."""


class Entry(msgspec.Struct, frozen=True):
    """A pod of the node. `mesh` says whether it is to be captured."""

    uid: str
    namespace: str
    name: str
    service_account: str
    mesh: bool
    ip: str = ""
    probes: tuple[dict[str, Any], ...] = ()


class Network(msgspec.Struct, frozen=True):
    """The mesh's networks, and the address of the cluster's DNS, "" when there is none."""

    pods: tuple[str, ...]
    services: tuple[str, ...]
    dns: str = ""

    @property
    def carried(self) -> tuple[str, ...]:
        """The networks that the mesh carries: of a cluster with both, those of IPv4. None is in another."""
        each = (ipaddress.IPv4Network(cidr) for cidr in (*self.pods, *self.services) if ":" not in cidr)
        return tuple(map(str, ipaddress.collapse_addresses(each)))


class _Value(msgspec.Struct, frozen=True):
    pods: tuple[Entry, ...]
    network: Network | None = None


class Listed(msgspec.Struct, frozen=True):
    """The pods by uid, and the networks if the control plane tells them."""

    pods: dict[str, Entry]
    network: Network | None = None


def usable_uid(uid: str) -> bool:
    """Whether the text can be a pod's uid, and the name of a file."""
    return bool(_UID.fullmatch(uid))


def decode(content: bytes) -> Listed:
    """What the serialized TypedStruct says. MalformedError."""
    try:
        value = json_format.MessageToDict(typed_struct_pb2.TypedStruct.FromString(content).value)
        said = msgspec.convert(value, type=_Value)
    except (message.DecodeError, msgspec.ValidationError, json_format.Error, RecursionError) as error:
        raise MalformedError(f"the list of the node's pods is not as it should be: {error}") from None
    found = said.pods
    if len(found) > MOST_PODS:
        raise MalformedError(f"{len(found)} pods are more than a node can have ({MOST_PODS})")
    for entry in found:
        _check(entry)
    listed = {entry.uid: entry for entry in found}
    if len(listed) < len(found):
        raise MalformedError("a uid is there twice")
    if said.network is not None:
        _check_network(said.network)
    return Listed(listed, said.network)


def _check_network(network: Network) -> None:
    if len(network.pods) + len(network.services) > MOST_NETWORKS:
        raise MalformedError(f"there are more than {MOST_NETWORKS} networks")
    try:
        for cidr in (*network.pods, *network.services):
            ipaddress.ip_network(cidr)
        if network.dns:
            ipaddress.ip_address(network.dns)
    except ValueError as error:
        raise MalformedError(f"the mesh's networks are not as they should be: {str(error)[:300]}") from None


def _check(entry: Entry) -> None:
    if not usable_uid(entry.uid):
        raise MalformedError(f"{entry.uid[:200]!r} is no uid")
    for text in (entry.namespace, entry.name, entry.service_account):
        if not _NAME.fullmatch(text):
            raise MalformedError(f"pod {entry.uid}: {text[:300]!r} is no name of Kubernetes")
    if entry.ip:
        try:
            ipaddress.ip_address(entry.ip)
        except ValueError:
            raise MalformedError(f"pod {entry.uid}: {entry.ip[:100]!r} is no address") from None
    if len(entry.probes) > MOST_PROBES:
        raise MalformedError(f"pod {entry.uid}: {len(entry.probes)} probes are too many ({MOST_PROBES})")
