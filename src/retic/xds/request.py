"""What a client's message means for its stream, and what is wrong with messages that mean nothing."""

from typing import TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from retic.xds import kinds, ledger

NAMES = 100_000
"""How many resources one stream may ask for, of all types together, unless it is told otherwise."""

TYPES = 64
"""How many resource types one stream may ask for."""

M = TypeVar("M", bound=Message)


class MalformedError(ValueError):
    """Bytes that are no request, or a request that says nothing."""


class TooManyError(ValueError):
    """A stream asks for more than one stream may."""


class Node(msgspec.Struct, frozen=True):
    """What the first message of a stream says about its client."""

    id: str
    zone: str


class Received(msgspec.Struct, frozen=True):
    """What a request changed.

    `wanted` are names to look up and offer, some of them perhaps again; `dropped` are names that the client
    is no longer to have. `wildcard` is True when a wildcard subscription began with it, False when one
    ended, None otherwise. `acknowledged` counts resources; `refusal` is there for a NACK.
    """

    type_url: str
    node: Node | None = None
    wanted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    wildcard: bool | None = None
    acknowledged: int = 0
    acked: bool = False
    refusal: ledger.Refusal | None = None


def parse(message: M, content: bytes) -> M:
    """The message with that content. `MalformedError` when it is none, or names no resource type."""
    try:
        message.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise MalformedError(f"not a {message.DESCRIPTOR.name}: {error}") from error
    if not message.type_url:  # type: ignore[attr-defined]
        raise MalformedError(f"a {message.DESCRIPTOR.name} without type_url")
    return message


def book(books: dict[str, ledger.Ledger], type_url: str) -> ledger.Ledger:
    """The ledger of a type, made when there is none; `books` stays in sending order.

    `TooManyError` above `TYPES`.
    """
    found = books.get(type_url)
    if found is not None:
        return found
    if len(books) >= TYPES:
        raise TooManyError(f"more than {TYPES} resource types on one stream")
    made = books[type_url] = ledger.Ledger(type_url)
    ordered = sorted(books.items(), key=lambda one: kinds.rank(one[0]))
    books.clear()
    books.update(ordered)
    return made


def check_count(books: dict[str, ledger.Ledger], coming: int, limit: int) -> None:
    """`TooManyError` when with so many names more the stream would be above the limit."""
    if coming and sum(len(one.explicit) for one in books.values()) + coming > limit:
        raise TooManyError(f"more than {limit} resources on one stream")


def nonce(said: str) -> int:
    """The number of the response that a request answers; 0 for none, or one that is not ours."""
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
