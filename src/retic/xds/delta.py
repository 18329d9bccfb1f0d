"""The server's end of one delta stream (DeltaAggregatedResources), as a state machine without I/O.

Requests go in by `receive`, changed names by `offer`, `list_names` and `push`; responses come out of
`respond`, one at a time and composed at that moment, so that what waits is names, not bytes. Nothing waits
for a clock, and only listeners for an acknowledgement (`AFTER_ANOTHER`); refused bytes are not sent again until they
change.

Rules: "Incremental xDS" of Envoy's xDS protocol page. A subscribed name that does not exist is answered as
removed; one that is subscribed again, or unsubscribed while a wildcard covers it, is answered again.
"""

from collections.abc import Iterable, Iterator

from envoy.service.discovery.v3 import discovery_pb2

from retic.xds import encoded, kinds, ledger, request, state, warming, wire

SIZE = 1 << 20
"""Bytes of resources after which a response is closed; a single resource may be larger."""

AFTER_ANOTHER = 1 << 16
"""Bytes of listeners after which a response is closed; the next one waits for the answer to it.

Listeners ask for what belongs to them, and start with stand-ins until it comes. With those of a hundred pods in one
response Envoy has the stand-ins of all of them at once, and what it frees later lies between what stays: a fifth more
resident memory for each pod (docs/adr/0027-a-pods-memory.md)."""

REMOVALS = 10_000
"""How many names one response removes."""


class Delta:
    """One stream. `names` bounds how many resources it may ask for."""

    __slots__ = ("_books", "_limit", "_nonce", "_started", "sent")

    def __init__(self, *, names: int = request.NAMES) -> None:
        self._books: dict[str, ledger.Ledger] = {}
        self._limit = names
        self._nonce = 0
        self._started = False
        self.sent = 0  # resources, removals among them

    @property
    def idle(self) -> bool:
        """Whether everything that was offered has been sent and answered."""
        return all(one.idle for one in self._books.values())

    def books(self) -> Iterator[ledger.Ledger]:
        """The ledgers of all types, in sending order."""
        return iter(self._books.values())

    def receive(self, content: bytes) -> request.Received:
        """Take in a serialized DeltaDiscoveryRequest. Raises `MalformedError`, `TooManyError`."""
        message = request.parse(discovery_pb2.DeltaDiscoveryRequest(), content)
        book = request.book(self._books, message.type_url)
        first = not book.asked and not message.response_nonce  # an answer to what was pushed begins nothing
        book.asked |= first or bool(message.resource_names_subscribe)
        node = None
        if not self._started:
            self._started = True
            node = request.Node(id=message.node.id, zone=message.node.locality.zone)
        acked, acknowledged, refused = _answer(book, message)
        wanted, dropped, wildcard = self._interest(book, message, first=first)
        return request.Received(
            type_url=message.type_url, node=node, wanted=tuple(wanted), dropped=tuple(dropped),
            wildcard=wildcard, acknowledged=acknowledged, acked=acked, refusal=refused,
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
            one_by_one = book.type_url == kinds.LISTENER
            if one_by_one and book.flying:
                continue
            chunk = book.take(lookup, AFTER_ANOTHER if one_by_one else SIZE)
            if chunk or (book.greet and book.listed is not None and not book.leaving):
                nonce = self._record(book, {name: value.version for name, value in chunk})
                if book.type_url == kinds.CLUSTER:
                    self._warm(value for _, value in chunk)
                return wire.delta_response(book.type_url, nonce, (value.resource for _, value in chunk))
        for book in reversed(self._books.values()):
            removed = [book.leaving.popitem(last=False)[0] for _ in range(min(len(book.leaving), REMOVALS))]
            if removed:
                nonce = self._record(book, dict.fromkeys(removed, ledger.GONE))
                return wire.delta_response(book.type_url, nonce, removed=removed)
        return None

    def _record(self, book: ledger.Ledger, sent: dict[str, str]) -> str:
        self._nonce += 1
        self.sent += len(sent)
        book.record(self._nonce, sent)
        return str(self._nonce)

    def _warm(self, clusters: Iterable[encoded.Bytes]) -> None:
        """Send the endpoints of these clusters again where the client has asked for them before."""
        book = self._books.get(kinds.ENDPOINTS)
        if book is None or not book.held:
            return
        for cluster in clusters:
            name = warming.endpoints(cluster.any)
            if name is not None and name in book.held and book.interested(name):
                book.forced.add(name)
                book.offer(name)

    def _interest(
        self, book: ledger.Ledger, message: discovery_pb2.DeltaDiscoveryRequest, *, first: bool
    ) -> tuple[list[str], list[str], bool | None]:
        subscribe, unsubscribe = message.resource_names_subscribe, message.resource_names_unsubscribe
        request.check_count(self._books, len(set(subscribe) - book.explicit), self._limit)
        if first and message.initial_resource_versions:
            if len(message.initial_resource_versions) > self._limit:
                raise request.TooManyError(f"more than {self._limit} resources on one stream")
            for name, version in message.initial_resource_versions.items():
                book.held.setdefault(name, ledger.Held(version))
        wanted: list[str] = []
        dropped: list[str] = []
        wildcard: bool | None = None
        for name in unsubscribe:
            if name != kinds.WILDCARD:
                (wanted if _unsubscribe(book, name) else dropped).append(name)
            elif book.wildcard:
                dropped += book.stop_wildcard()
                wildcard = False
        legacy = first and not subscribe and not unsubscribe
        if (legacy or kinds.WILDCARD in subscribe) and not book.wildcard:
            book.start_wildcard()
            wildcard = True
        for name in subscribe:
            if name != kinds.WILDCARD:
                _subscribe(book, name, first=first)
                wanted.append(name)
        return wanted, dropped, wildcard


def _answer(
    book: ledger.Ledger, message: discovery_pb2.DeltaDiscoveryRequest
) -> tuple[bool, int, ledger.Refusal | None]:
    """What the request says about a response: ACK, resources acknowledged, NACK."""
    nonce = request.nonce(message.response_nonce)
    if nonce not in book.flying:
        return False, 0, None
    if message.HasField("error_detail"):
        return False, 0, book.refuse(nonce, message.error_detail.message)
    return True, book.acknowledge(nonce), None


def _subscribe(book: ledger.Ledger, name: str, *, first: bool) -> None:
    book.explicit.add(name)
    if not (first and name in book.held):
        book.forced.add(name)


def _unsubscribe(book: ledger.Ledger, name: str) -> bool:
    """Whether the client is to have the resource all the same; it has dropped it and is told anew."""
    book.explicit.discard(name)
    book.forget(name)
    if book.interested(name):
        book.forced.add(name)
        return True
    if book.wildcard:
        book.forced.add(name)
        book.offer(name)
    return False
