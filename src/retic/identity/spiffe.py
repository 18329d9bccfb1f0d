"""SPIFFE ids of the mesh: workloads, nodes, gateways, the control plane; parsed strictly, formatted exactly.

The rules are those of the SPIFFE ID specification, sections 2 to 2.3 (github.com/spiffe/spiffe,
standards/SPIFFE-ID.md): a value that this module lets through has exactly one way to be written. Ids of
another shape, however valid elsewhere, are refused: nothing in the mesh means them.
"""

import re
from typing import TypeAlias

import msgspec

SCHEME = "spiffe://"
MAX_ID = 2048  # bytes, section 2.3
MAX_TRUST_DOMAIN = 255  # bytes, section 2.3
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_FORMS = (
    "write spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT for a workload, spiffe://TRUST-DOMAIN/retic/node/NODE,"
    " spiffe://TRUST-DOMAIN/retic/gateway/NAMESPACE/NAME or spiffe://TRUST-DOMAIN/retic/control"
)


class InvalidIdError(ValueError):
    """A text that is no id of this mesh. The message says what to write instead."""


def check_trust_domain(text: str) -> str:
    """The text itself. InvalidIdError unless it is a trust domain: a-z 0-9 . - _, at most 255 bytes."""
    if not _TRUST_DOMAIN.fullmatch(text) or len(text) > MAX_TRUST_DOMAIN:
        raise InvalidIdError(
            f"{text[:80]!r} is not a trust domain: write 1 to {MAX_TRUST_DOMAIN} of a-z, 0-9, '.', '-', '_',"
            " such as cluster.local"
        )
    return text


def _check_segment(text: str, what: str) -> str:
    if not _SEGMENT.fullmatch(text) or text in {".", ".."}:
        raise InvalidIdError(
            f"{text[:80]!r} cannot be the {what} in a SPIFFE id: write letters, digits, '.', '-' or '_',"
            " and not '.' or '..' alone"
        )
    return text


def _check_length(text: str) -> None:
    if len(text) > MAX_ID:
        raise InvalidIdError(f"a SPIFFE id has at most {MAX_ID} bytes, not {len(text)}: shorten its names")


class Workload(msgspec.Struct, frozen=True, order=True):
    """A service account's identity, shared by all its pods."""

    trust_domain: str
    namespace: str
    account: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        _check_segment(self.namespace, "namespace")
        _check_segment(self.account, "service account")
        _check_length(str(self))

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/ns/{self.namespace}/sa/{self.account}"


class Node(msgspec.Struct, frozen=True, order=True):
    """The agent and Envoy of one node, towards the control plane."""

    trust_domain: str
    name: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        _check_segment(self.name, "node's name")
        _check_length(str(self))

    @property
    def client_id(self) -> str:
        """The id of the xDS client: node/NAME."""
        return f"node/{self.name}"

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/retic/node/{self.name}"


class Gateway(msgspec.Struct, frozen=True, order=True):
    """The agent and Envoy of one gateway, towards the control plane and as a caller of workloads."""

    trust_domain: str
    namespace: str
    name: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        _check_segment(self.namespace, "namespace")
        _check_segment(self.name, "gateway's name")
        _check_length(str(self))

    @property
    def client_id(self) -> str:
        """The id of the xDS client: gateway/NAMESPACE/NAME."""
        return f"gateway/{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/retic/gateway/{self.namespace}/{self.name}"


class Control(msgspec.Struct, frozen=True, order=True):
    """The control plane."""

    trust_domain: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}/retic/control"


Client: TypeAlias = Node | Gateway
Id: TypeAlias = Workload | Node | Gateway | Control


def parse(text: str) -> Id:
    """The id that the text is. InvalidIdError unless `str()` of the answer is the same text again."""
    _check_length(text)
    if not text.startswith(SCHEME):
        raise InvalidIdError(f"{text[:80]!r} does not begin with {SCHEME}: {_FORMS}")
    trust_domain, _, path = text.removeprefix(SCHEME).partition("/")
    match path.split("/"):
        case ["ns", namespace, "sa", account]:
            return Workload(trust_domain, namespace, account)
        case ["retic", "node", name]:
            return Node(trust_domain, name)
        case ["retic", "gateway", namespace, name]:
            return Gateway(trust_domain, namespace, name)
        case ["retic", "control"]:
            return Control(trust_domain)
    raise InvalidIdError(f"{text[:200]!r} is no identity of this mesh: {_FORMS}")


def client(trust_domain: str, client_id: str) -> Client:
    """The identity of an xDS client id. InvalidIdError unless it is node/NAME or gateway/NAMESPACE/NAME."""
    match client_id.split("/"):
        case ["node", name]:
            return Node(trust_domain, name)
        case ["gateway", namespace, name]:
            return Gateway(trust_domain, namespace, name)
    raise InvalidIdError(f"{client_id[:200]!r} is not a client id: write node/NAME or gateway/NAMESPACE/NAME")
