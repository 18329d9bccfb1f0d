"""The server's end of one state-of-the-world stream (StreamAggregatedResources), without I/O.

As `delta`, with what this variant adds: a request lists all names of its type, a response to listeners or
clusters lists everything that exists, and `version_info` is a hash over names and versions, so that a
client that comes back with the version of what it would be sent is sent nothing.

Rules: "ACK/NACK and resource type instance version" of Envoy's xDS protocol page. Absence of listeners and
clusters is told by leaving them out; of other types it cannot be told. A request with the nonce of an older
response counts as an answer to it and nothing else.
"""

import hashlib
from collections.abc import Iterator

from envoy.service.discovery.v3 import discovery_pb2

from retic.xds import delta, encoded, kinds, ledger, request, state, wire

_UNBOUNDED = 1 << 62


class Sotw:
    """One stream. `names` bounds how many resources it may ask for."""

    __slots__ = ("_books", "_claimed", "_latest", "_legacy", "_limit", "_nonce", "_started", "sent")

    def __init__(self, *, names: int = request.NAMES) -> None:
        self._books: dict[str, ledger.Ledger] = {}
        self._latest: dict[str, int] = {}
        self._claimed: dict[str, str] = {}  # the version_info a type's first request came with
        self._legacy: set[str] = set()  # types whose wildcard came from a first request without names
        self._limit = names
        self._nonce = 0
        self._started = False
        self.sent = 0  # resources; removals are not sent

    @property
    def idle(self) -> bool:
        """Whether everything that was offered has been sent and answered."""
        return all(one.idle for one in self._books.values())

    def books(self) -> Iterator[ledger.Ledger]:
        """The ledgers of all types, in sending order."""
        return iter(self._books.values())

    def receive(self, content: bytes) -> request.Received:
        """Take in a serialized DiscoveryRequest. Raises `MalformedError`, `TooManyError`."""
        message = request.parse(discovery_pb2.DiscoveryRequest(), content)
        book = request.book(self._books, message.type_url)
        first = not book.asked and not message.response_nonce  # an answer to what was pushed begins nothing
        book.asked |= first or bool(message.resource_names)
        if first and message.version_info:
            self._claimed[message.type_url] = message.version_info
        node = None
        if not self._started:
            self._started = True
            node = request.Node(id=message.node.id, zone=message.node.locality.zone)
        nonce = request.nonce(message.response_nonce)
        known = nonce in book.flying
        refused: ledger.Refusal | None = None
        acknowledged = 0
        if known and message.HasField("error_detail"):
            isolate = message.type_url not in kinds.WHOLE
            refused = book.refuse(nonce, message.error_detail.message, isolate=isolate)
        elif known:
            acknowledged = book.acknowledge(nonce)
        wanted: list[str] = []
        dropped: list[str] = []
        wildcard: bool | None = None
        if not nonce or nonce == self._latest.get(message.type_url, nonce):
            repeated = not first and not known and not message.HasField("error_detail")
            wanted, dropped, wildcard = self._interest(book, message, first=first, repeated=repeated)
        return request.Received(
            type_url=message.type_url, node=node, wanted=tuple(wanted), dropped=tuple(dropped),
            wildcard=wildcard, acknowledged=acknowledged, acked=known and refused is None, refusal=refused,
        )  # fmt: skip

    def offer(self, type_url: str, name: str) -> None:
        """The resource may have changed. Nothing happens for names that the client is not to have."""
        book = self._books.get(type_url)
        if book is not None and book.interested(name):
            book.offer(name)

    def list_names(self, type_url: str, names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What the client's wildcard of this type stands for now: the names that come and those that go."""
        book = self._books.get(type_url)
        return book.list_names(names) if book is not None else (frozenset(), frozenset())

    def push(self, type_url: str, name: str) -> bool:
        """The client is to have this without asking, as long as the stream lives; False if it was so."""
        book = request.book(self._books, type_url)
        if name in book.unasked:
            return False
        book.unasked.add(name)
        return True

    def respond(self, lookup: state.Lookup) -> bytes | None:
        """The next response, serialized; None when there is nothing to send now."""
        for book in self._books.values():
            if not (book.dirty or book.leaving or book.greet):
                continue
            claimed = self._claimed.pop(book.type_url, "")
            if claimed and self._as_claimed(book, lookup, claimed):
                continue
            response = self._whole(book, lookup) if book.type_url in kinds.WHOLE else self._part(book, lookup)
            if response is not None:
                return response
        return None

    def _part(self, book: ledger.Ledger, lookup: state.Lookup) -> bytes | None:
        chunk = book.take(lookup, delta.SIZE)
        while book.leaving:
            name, _ = book.leaving.popitem(last=False)
            book.forced.discard(name)
            book.held.pop(name, None)
        if not chunk and not book.greet:
            return None
        return self._compose(book, dict(chunk), dict(chunk))

    def _whole(self, book: ledger.Ledger, lookup: state.Lookup) -> bytes | None:
        if book.wildcard and book.listed is None:
            return None
        changed = dict(book.take(lookup, _UNBOUNDED))
        missing = bool(book.leaving)
        for name in book.leaving:
            book.forced.discard(name)
            book.held.pop(name, None)
        book.leaving.clear()
        if not (changed or missing or book.greet):
            return None
        return self._compose(book, self._all(book, lookup), changed)

    def _all(self, book: ledger.Ledger, lookup: state.Lookup) -> dict[str, encoded.Bytes]:
        """Everything of the type that exists for the client."""
        found: dict[str, encoded.Bytes] = {}
        for name in sorted({*book.explicit, *book.unasked, *(book.listed or ())}):
            try:
                value = book.look(name, lookup)
            except ledger.UnavailableError:
                continue
            if value is not None:
                found[name] = value
        return found

    def _compose(
        self, book: ledger.Ledger, shown: dict[str, encoded.Bytes], changed: dict[str, encoded.Bytes]
    ) -> bytes:
        self._nonce += 1
        self.sent += len(shown)
        self._latest[book.type_url] = self._nonce
        version = _digest(_after(book, shown))
        book.record(self._nonce, {name: value.version for name, value in changed.items()})
        anys = (value.any for value in shown.values())
        return wire.sotw_response(book.type_url, str(self._nonce), version, anys)

    def _as_claimed(self, book: ledger.Ledger, lookup: state.Lookup, claimed: str) -> bool:
        """Whether the client has all of it from an earlier stream; then nothing is due."""
        shown = self._all(book, lookup)
        versions = {name: value.version for name, value in shown.items()}
        if (book.wildcard and book.listed is None) or _digest(versions) != claimed:
            return False
        book.held = {name: ledger.Held(version) for name, version in versions.items()}
        book.dirty.clear()
        book.leaving.clear()
        book.forced.clear()
        book.greet = False
        return True

    def _interest(
        self, book: ledger.Ledger, message: discovery_pb2.DiscoveryRequest, *, first: bool, repeated: bool
    ) -> tuple[list[str], list[str], bool | None]:
        """Take the list of names. `repeated`: the request answers nothing, so it asks again."""
        names = set(message.resource_names)
        legacy = not names and (first or book.type_url in self._legacy)
        (self._legacy.add if legacy else self._legacy.discard)(book.type_url)
        wildcard = legacy or kinds.WILDCARD in names
        names.discard(kinds.WILDCARD)
        request.check_count(self._books, len(names - book.explicit), self._limit)
        began = ended = False
        dropped: list[str] = []
        if book.wildcard and not wildcard:
            dropped += book.stop_wildcard()
            ended = True
        elif wildcard and not book.wildcard:
            book.start_wildcard()
            began = True
        added = names - book.explicit
        if not first and (ended or book.explicit - names):
            self._claimed.pop(book.type_url, None)  # what is dropped now may be asked for anew
        for name in book.explicit - names:
            book.explicit.discard(name)
            if not book.interested(name):
                book.forget(name)
                dropped.append(name)
        if repeated and not added and not began and book.type_url not in kinds.WHOLE:
            added = names
        book.explicit |= added
        book.forced |= added
        return sorted(added), dropped, True if began else False if ended else None


def _after(book: ledger.Ledger, shown: dict[str, encoded.Bytes]) -> dict[str, str]:
    """What the client has for certain once it has taken over a response."""
    has = {name: value.version for name, value in shown.items()}
    if book.type_url not in kinds.WHOLE:
        for name, held in book.held.items():
            if held.good and name not in has and book.interested(name):
                has[name] = held.good
    return has


def _digest(versions: dict[str, str]) -> str:
    """One version for a set of resources, whoever computes it and when."""
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(versions):
        total.update(f"{name}\0{versions[name]}\0".encode())
    return total.hexdigest()
