"""What the server's ends of the two protocol variants have alike."""

from collections.abc import Callable, Iterator
from typing import Protocol

from retic.xds import encoded, ledger, request

Lookup = Callable[[str, str], encoded.Bytes | None]
"""From type URL and name to the resource as it is now, None for none. May raise `UnavailableError`."""


class Server(Protocol):
    """The server's end of one stream: see `delta.Delta` and `sotw.Sotw`."""

    sent: int
    """Resources sent, removals among them."""

    @property
    def idle(self) -> bool:
        """Whether everything that was offered has been sent and answered."""

    def books(self) -> Iterator[ledger.Ledger]:
        """The ledgers of all types, in sending order."""

    def receive(self, content: bytes) -> request.Received:
        """Take in a serialized request. Raises `MalformedError`, `TooManyError`."""

    def offer(self, type_url: str, name: str) -> None:
        """The resource may have changed. Nothing happens for names that the client is not to have."""

    def list_names(self, type_url: str, names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What the client's wildcard of this type stands for now: the names that come and those that go."""

    def push(self, type_url: str, name: str) -> bool:
        """The client is to have this without asking, as long as the stream lives; False if it was so."""

    def respond(self, lookup: Lookup) -> bytes | None:
        """The next response, serialized; None when there is nothing to send now."""
