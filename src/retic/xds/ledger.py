"""What one client has of one resource type: interest, versions, outstanding responses, refusals.

Both protocol variants keep their books here. Names and versions only: no bytes are held, nothing is sent.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from retic.xds import encoded, kinds, refusal

GONE = ""
"""The version of a resource that does not exist."""

T = TypeVar("T", bound=encoded.Bytes)


class UnavailableError(LookupError):
    """Nothing is known of the resource now, not even that it does not exist; it is offered again later."""


class Refused(msgspec.Struct, frozen=True):
    """A resource that the client rejected, and what it said of it."""

    name: str
    version: str
    message: str


class Refusal(msgspec.Struct, frozen=True):
    """One NACK. `resources` is empty when it is not known yet which of several was bad: each of them is then
    sent once more in a response of its own, and the bad ones are refused by name."""

    type_url: str
    message: str
    resources: tuple[Refused, ...]


class Held:
    """What a client has under one name. `sent` is the version last sent, `good` the one last acknowledged,
    both None before the first; `nonce` is the outstanding response's that carried `sent`, else 0."""

    __slots__ = ("good", "nonce", "sent")

    def __init__(self, version: str | None = None) -> None:
        self.sent = version
        self.good = version
        self.nonce = 0


class Ledger:
    """One type's books on one stream."""

    __slots__ = (
        "alone", "asked", "dirty", "explicit", "flying", "forced", "greet", "held", "leaving", "listed",
        "refused", "type_url", "unasked", "wildcard",
    )  # fmt: skip

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.asked = False  # whether the client ever sent a request for this type
        self.wildcard = False
        self.listed: frozenset[str] | None = None  # what the wildcard stands for; None: not known yet
        self.explicit: set[str] = set()
        self.unasked: set[str] = set()
        self.held: dict[str, Held] = {}
        self.flying: dict[int, dict[str, str]] = {}
        self.forced: set[str] = set()  # to be answered whatever the client has
        self.alone: set[str] = set()  # to be sent in a response of its own
        self.refused: dict[str, Refused] = {}
        self.dirty: OrderedDict[str, None] = OrderedDict()
        self.leaving: OrderedDict[str, None] = OrderedDict()
        self.greet = False  # an empty response is due: the client waits for the first one

    @property
    def idle(self) -> bool:
        """Whether everything has been sent and answered."""
        return not (self.dirty or self.leaving or self.flying or self.greet)

    def interested(self, name: str) -> bool:
        """Whether the client is to have the resource of that name."""
        return name in self.explicit or name in self.unasked or (
            self.wildcard and self.listed is not None and name in self.listed
        )  # fmt: skip

    def pending(self) -> set[str]:
        """Names that have not been sent, or not been answered. Without those refused: they are settled."""
        return {*self.dirty, *self.leaving, *(name for sent in self.flying.values() for name in sent)}

    def offer(self, name: str) -> None:
        """The resource of that name may have another value than before."""
        self.leaving.pop(name, None)
        self.dirty[name] = None

    def start_wildcard(self) -> None:
        """The client asks for everything. What this is `list_names` says."""
        self.wildcard = True
        self.listed = None
        self.greet = not self.held

    def stop_wildcard(self) -> tuple[str, ...]:
        """The client asks no longer for everything; the names that it has lost interest in."""
        before, self.listed, self.wildcard, self.greet = self.listed or (), None, False, False
        lost = tuple(name for name in {*before, *self.held} if not self.interested(name))
        for name in lost:
            self.forget(name)
        return lost

    def list_names(self, names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
        """What the wildcard stands for now; the names that it brings and those that nobody needs any more.

        The latter are sent as removed. Nothing happens when the client has no wildcard subscription.
        """
        if not self.wildcard:
            return frozenset(), frozenset()
        before, added = self.listed, names
        if before is None:
            before = frozenset(self.held)
            added |= self._adopt(before - names)
        else:
            added -= before
        self.listed = names
        lost = frozenset(name for name in before - names if not self.interested(name))
        for name in lost:
            self.offer(name)
        return added, lost

    def _adopt(self, names: frozenset[str]) -> frozenset[str]:
        """Clusters that the client brought along, pushed unasked on an earlier stream: they stay as long as
        they exist, for the route that needs them may come later than this list."""
        if self.type_url != kinds.CLUSTER:
            return frozenset()
        adopted = frozenset(name for name in names if not self.interested(name))
        self.unasked |= adopted
        return adopted

    def forget(self, name: str) -> None:
        """The client has dropped the resource; what is on the way to it does not count."""
        self.held.pop(name, None)
        self.forced.discard(name)
        self.alone.discard(name)
        self.refused.pop(name, None)
        self.dirty.pop(name, None)
        self.leaving.pop(name, None)
        for sent in self.flying.values():
            sent.pop(name, None)

    def due(self, name: str, version: str) -> bool:
        """Whether this version, `GONE` for none, has to be sent. A refused one is not, until it changes."""
        if name in self.forced:
            return True
        refused = self.refused.get(name)
        if refused is not None:
            if refused.version == version:
                return False
            del self.refused[name]
        held = self.held.get(name)
        if held is None or held.sent is None:
            return version != GONE
        return held.sent != version

    def look(self, name: str, lookup: Callable[[str, str], T | None]) -> T | None:
        """The resource as it is now for this client. Raises `UnavailableError`."""
        return lookup(self.type_url, name) if self.interested(name) else None

    def take(self, lookup: Callable[[str, str], T | None], size: int) -> list[tuple[str, T]]:
        """The next additions that are due, of together about `size` bytes; removals go to `leaving`."""
        chunk: list[tuple[str, T]] = []
        while self.dirty and size > 0:
            name, _ = self.dirty.popitem(last=False)
            try:
                value = self.look(name, lookup)
            except UnavailableError:
                continue
            if not self.due(name, GONE if value is None else value.version):
                continue
            if value is None:
                self.leaving[name] = None
            elif name not in self.alone:
                chunk.append((name, value))
                size -= len(value.resource)
            elif chunk:
                self.dirty[name] = None
                self.dirty.move_to_end(name, last=False)
                break
            else:
                return [(name, value)]
        return chunk

    def record(self, nonce: int, sent: dict[str, str]) -> None:
        """These versions have gone out under this nonce."""
        self.flying[nonce] = sent
        self.greet = False
        for name, version in sent.items():
            held = self.held.get(name)
            if held is None:
                held = self.held[name] = Held()
            held.sent = version
            held.nonce = nonce
            self.forced.discard(name)
            self.alone.discard(name)
            self.refused.pop(name, None)

    def acknowledge(self, nonce: int) -> int:
        """ACK; the number of resources that it answers for, 0 for an unknown nonce."""
        sent = self.flying.pop(nonce, {})
        for name, version in sent.items():
            self._accept(nonce, name, version)
        return len(sent)

    def refuse(self, nonce: int, message: str, *, isolate: bool = True) -> Refusal:
        """NACK. The client keeps what it had; what is refused is not sent again until it changes.

        Which resources were bad is read from the message; the others are sent again. Where it does not say,
        or where the type is one that Envoy applies up to the first fault, each is sent again alone. Without
        `isolate`, for responses that must be whole, nothing is sent again: what is not named was taken over.
        """
        sent = self.flying.pop(nonce, {})
        changed = {name: version for name, version in sent.items() if version != GONE}
        known = {} if isolate else {name: one.version for name, one in self.refused.items()}
        candidates = {**known, **changed}
        bad = refusal.named(message, candidates)
        if not bad and len(changed) == 1:
            bad = frozenset(changed)
        trusted = bool(bad) and (self.type_url in kinds.WHOLE or not isolate or len(changed) == 1)
        if not trusted:
            bad = frozenset() if isolate else frozenset(changed)
        for name, version in sent.items():
            if version == GONE or (not isolate and name not in bad):
                self._accept(nonce, name, version)
            elif name not in bad and self._revert(nonce, name):
                self.offer(name)
                if not trusted:
                    self.alone.add(name)
        return self._reject(nonce, message, candidates, bad)

    def _accept(self, nonce: int, name: str, version: str) -> None:
        held = self.held.get(name)
        if held is None:
            return
        held.good = version
        if held.nonce == nonce:
            held.nonce = 0
            if version == GONE and not self.interested(name):
                del self.held[name]

    def _reject(self, nonce: int, message: str, versions: dict[str, str], bad: Iterable[str]) -> Refusal:
        resources = tuple(Refused(name=name, version=versions[name], message=message) for name in sorted(bad))
        for one in resources:
            if self._revert(nonce, one.name):
                self.refused[one.name] = one
        return Refusal(type_url=self.type_url, message=message, resources=resources)

    def _revert(self, nonce: int, name: str) -> bool:
        """The client has again what it had before; False when something newer is on the way to it."""
        held = self.held.get(name)
        if held is None or held.nonce != nonce:
            return False
        held.nonce = 0
        held.sent = held.good
        return True
