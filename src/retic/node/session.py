"""One discovery stream of Envoy, as state: what it watches, what it has, what is on its way to it.

Without I/O but for the disk cache. Where an answer comes from: Secrets of this node from `secrets`, the
listeners' shares of the connections from `shares`; at the first request of a type (endpoints excepted, which
age fast), and whenever the control plane is away, from the cache; everything else from upstream. What
upstream sent is acknowledged upstream when Envoy has acknowledged it, never before; a NACK goes up as it is.
Nothing is removed from Envoy because upstream failed to answer.

Listeners of pods whose network namespace is not there yet wait here: Envoy would refuse them for good. Those that
are passed on have the ports that this Envoy uses; the cache and the control plane know the first set only. Those of
a pod that goes are withdrawn at once (`withdraw`), and those of a pod that is being taken out of the mesh stay until
then, whatever upstream says: rules in the pod still lead to them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
import structlog
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from retic import xds
from retic.node import cache, places, ports, secrets, shares

REFUSED = "refused"  # told upstream as the version of what Envoy refused and may have kept all the same
_log = structlog.get_logger("retic.node")


class Ticket(msgspec.Struct, frozen=True):
    """A response of upstream: on which of its streams, of which type, with which nonce."""

    stream: int
    type_url: str
    nonce: str


class Upstream(Protocol):
    """What a session needs of the stream to the control plane."""

    @property
    def live(self) -> bool: ...

    def ask(self, type_url: str, more: Iterable[str], less: Iterable[str]) -> None: ...

    def ack(self, ticket: Ticket) -> None: ...

    def nack(self, ticket: Ticket, detail: status_pb2.Status) -> None: ...

    def restart(self) -> None: ...


class Watch:
    """One type: the names asked for, whether everything is, and the versions that Envoy has."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self.held: dict[str, str] = {}


class _Sent(msgspec.Struct, frozen=True):
    type_url: str
    rows: tuple[cache.Row, ...]
    removed: tuple[str, ...]
    ticket: Ticket | None
    late: bool = False  # acknowledged upstream long ago


class Session:
    """`out` is what Envoy is to be sent; None ends the stream. `connections` are shared among listeners (`shares`);
    with 0 none has a bound. `loaded` are clusters that Envoy is to have from the beginning, unasked. `taken` is called
    when Envoy has a Secret that is answered here, or wants none. `keeps` says of a namespace's path whether listeners
    in it must stay for now."""

    def __init__(
        self, kept: cache.Cache, own: secrets.Secrets, upstream: Upstream, *, connections: int = 0,
        at: ports.Ports = ports.FIRST, loaded: Iterable[str] = (), taken: Callable[[], None] = lambda: None,
        keeps: Callable[[str], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        self.out: asyncio.Queue[discovery_pb2.DeltaDiscoveryResponse | None] = asyncio.Queue()
        self._cache = kept
        self._secrets = own
        self._upstream = upstream
        self._watches: dict[str, Watch] = {}
        self._asked: set[str] = set()  # types that Envoy has asked for; others may come unasked
        self._sent: dict[str, _Sent] = {}
        self._local: dict[str, str] = {}  # Secrets answered here: name to version, "" when gone or awaited
        self._taken: dict[str, str] = {}  # the versions of them that Envoy has
        self._tell_taken = taken
        self._waiting: dict[str, cache.Row] = {}
        self._keeps = keeps
        self._paths: dict[str, str] = {}  # of listeners that Envoy has, by name
        self._overdue: set[str] = set()  # listeners that upstream has removed and that stay for now
        self._connections = connections
        self._at = at
        self._loaded = tuple(loaded)
        self._listeners: set[str] = set()  # those that have a share
        self._count = 0

    @property
    def is_decided(self) -> bool:
        """Whether Envoy has all by which it decides about connections: no listener is on its way, and no filter that it
        has asked for. Until a filter is there, its place refuses everything."""
        watch = self._watches.get(xds.FILTER, Watch())
        on_the_way = any(sent.type_url in (xds.LISTENER, xds.FILTER) for sent in self._sent.values())
        return watch.names <= watch.held.keys() and not on_the_way

    def watches(self) -> dict[str, Watch]:
        """What upstream is to be asked for, by type."""
        return {url: watch for url, watch in self._watches.items() if watch.names or watch.wildcard}

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """A message of Envoy: an ACK or NACK, a change of what it watches, or both."""
        sent = self._sent.pop(request.response_nonce, None) if request.response_nonce else None
        if sent:
            if request.HasField("error_detail"):
                self._refused(sent, request.error_detail)
            else:
                self._accepted(sent)
        if request.type_url == shares.TYPE_URL:
            if shares.NAME in request.resource_names_subscribe:
                self._asked.add(shares.TYPE_URL)
                self._send_shares()
            return
        more, less = list(request.resource_names_subscribe), list(request.resource_names_unsubscribe)
        first = request.type_url not in self._asked and not request.response_nonce
        if not first and not more and not less:
            return
        self._asked.add(request.type_url)
        watch = self._watches.setdefault(request.type_url, Watch())
        if first:
            watch.held.update(request.initial_resource_versions)
            if request.type_url == xds.LISTENER:
                self._share_among(request.initial_resource_versions, ())
                known = self._cache.get(xds.LISTENER, request.initial_resource_versions)
                self._paths.update((row.name, places.path(row.body)) for row in known)
        if request.type_url == xds.SECRET:
            self._subscribe_local(more, less, request.initial_resource_versions)
            more = [name for name in more if not secrets.ours(name)]
            less = [name for name in less if not secrets.ours(name)]
            for name in self._local:
                watch.held.pop(name, None)
        elif first and not more:
            more = [xds.WILDCARD]  # xDS protocol, "Wildcard subscriptions": nothing named means everything
            if request.type_url == xds.CLUSTER:
                more += self._loaded
        self._subscribe(request.type_url, watch, more, less, first)

    def respond(self, response: discovery_pb2.DeltaDiscoveryResponse, ticket: Ticket) -> None:
        """An answer of upstream: on to Envoy, whatever it says."""
        self._watches.setdefault(ticket.type_url, Watch())
        rows = [
            cache.Row(
                one.name, one.version, one.SerializeToString(), self._unasked(ticket.type_url, one.name)
            )
            for one in response.resources
        ]
        removed = list(response.removed_resources)
        if ticket.type_url == xds.LISTENER:
            staying = {name for name in removed if name in self._paths and self._keeps(self._paths[name])}
            self._overdue = (self._overdue | staying) - {row.name for row in rows}
            rows = self._openable(rows, removed)
            removed = [name for name in removed if name not in staying]
        self._send(ticket.type_url, rows, removed, ticket)

    def arrived(self) -> None:
        """A pod's network namespace has come: its listeners need wait no longer."""
        for row in [row for row in self._waiting.values() if places.there(row.body)]:
            del self._waiting[row.name]
            self._send(xds.LISTENER, [row], [], None, late=True)

    def withdraw(self, path: str) -> None:
        """Close the listeners in that namespace now; `arrived` opens again those that upstream still has."""
        names = [name for name, where in self._paths.items() if where == path]
        for name in names:
            row = self._latest(name)
            if row is not None and name not in self._overdue:
                self._waiting[name] = row
        self._overdue.difference_update(names)
        if names:
            self._send(xds.LISTENER, [], names, None, late=True)

    def _latest(self, name: str) -> cache.Row | None:
        for sent in reversed(self._sent.values()):
            for row in sent.rows:
                if sent.type_url == xds.LISTENER and row.name == name:
                    return row
        return next(iter(self._cache.get(xds.LISTENER, [name])), None)

    def _openable(self, rows: list[cache.Row], removed: list[str]) -> list[cache.Row]:
        for name in (*removed, *(row.name for row in rows)):
            self._waiting.pop(name, None)
        self._waiting.update({row.name: row for row in rows if not places.there(row.body)})
        return [row for row in rows if row.name not in self._waiting]

    def identity_changed(self, name: str) -> None:
        """A Secret answered here has come, changed or gone."""
        if name in self._local:
            self._answer_local(name)

    def goes_by(self, name: str, version: str) -> bool:
        """Whether Envoy has that version of a Secret answered here, or has not asked for any."""
        return name not in self._local or self._taken.get(name) == version

    def end(self) -> None:
        """End Envoy's stream."""
        self.out.put_nowait(None)

    def _subscribe(
        self, type_url: str, watch: Watch, more: list[str], less: list[str], first: bool
    ) -> None:
        if xds.WILDCARD in more:
            watch.wildcard = True
        if xds.WILDCARD in less:
            watch.wildcard = False
        asked = [name for name in more if name != xds.WILDCARD]
        watch.names.update(asked)
        for name in less:
            watch.names.discard(name)
            if not watch.wildcard:
                watch.held.pop(name, None)
        if not self._upstream.live or (first and type_url != xds.ENDPOINTS):
            self._answer_from_cache(type_url, watch, asked, xds.WILDCARD in more)
        if more or less:
            self._upstream.ask(type_url, more, less)

    def _answer_from_cache(self, type_url: str, watch: Watch, names: list[str], wildcard: bool) -> None:
        rows = self._cache.get(type_url, names)
        if wildcard:
            rows += [row for row in self._cache.unasked(type_url) if row.name not in watch.names]
        empty = wildcard and not watch.held and not rows and self._cache.answered(type_url)
        rows = [row for row in rows if watch.held.get(row.name) != row.version]
        if type_url == xds.LISTENER:  # one by one: one that is of no use any more must not spoil the others
            openable = self._openable(rows, [])
            self._share_among((row.name for row in openable), ())
            for row in openable:
                self._send(type_url, [row], [], None)
        elif rows:
            self._send(type_url, rows, [], None)
        if empty:
            self._send(type_url, [], [], None)
        watch.held.update((row.name, row.version) for row in rows)

    def _subscribe_local(self, more: list[str], less: list[str], versions: Mapping[str, str]) -> None:
        for name in less:
            self._local.pop(name, None)
            self._taken.pop(name, None)
        for name in more:
            if secrets.ours(name):
                self._local[name] = self._taken[name] = versions.get(name, "")
                self._answer_local(name)
        self._tell_taken()

    def _answer_local(self, name: str) -> None:
        answer = self._secrets.answer(name)
        if isinstance(answer, secrets.Held):
            if self._local[name] != answer.version:
                self._local[name] = answer.version
                row = cache.Row(name, answer.version, answer.resource, False)
                self._send(xds.SECRET, [row], [], None)
        elif answer is secrets.Answer.GONE:
            self._local[name] = ""
            self._send(xds.SECRET, [], [name], None)

    def _send(
        self, type_url: str, rows: list[cache.Row], removed: list[str], ticket: Ticket | None,
        *, late: bool = False,
    ) -> None:  # fmt: skip
        if type_url == xds.LISTENER:
            self._share_among((row.name for row in rows), removed)
            self._paths.update((row.name, places.path(row.body)) for row in rows)
            for name in removed:
                self._paths.pop(name, None)
        self._count += 1
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=str(self._count), removed_resources=removed
        )
        for row in rows:
            body = ports.moved(row.body, self._at) if type_url == xds.LISTENER else row.body
            response.resources.add().MergeFromString(body)
        self._sent[response.nonce] = _Sent(type_url, tuple(rows), tuple(removed), ticket, late)
        self.out.put_nowait(response)

    def _share_among(self, come: Iterable[str], gone: Iterable[str]) -> None:
        """Before they are opened, listeners have their share."""
        before = frozenset(self._listeners)
        self._listeners.difference_update(gone)
        self._listeners.update(come)
        if shares.TYPE_URL in self._asked and self._listeners != before:
            self._send_shares()

    def _send_shares(self) -> None:
        made = shares.resource(self._listeners if self._connections else (), self._connections)
        row = cache.Row(made.name, made.version, made.SerializeToString(), False)
        self._send(shares.TYPE_URL, [row], [], None)

    def _accepted(self, sent: _Sent) -> None:
        if sent.ticket is None and not sent.late:
            if sent.type_url == xds.SECRET:
                self._taken.update((row.name, row.version) for row in sent.rows if row.name in self._local)
                self._tell_taken()
            return
        watch = self._watches[sent.type_url]
        watch.held.update((row.name, row.version) for row in sent.rows)
        for name in sent.removed:
            watch.held.pop(name, None)
        if sent.rows or sent.removed:
            self._cache.put(sent.type_url, sent.rows, sent.removed)
        if watch.wildcard:
            self._cache.set_answered(sent.type_url)
        if sent.ticket:
            self._upstream.ack(sent.ticket)

    def _refused(self, sent: _Sent, detail: status_pb2.Status) -> None:
        names = [row.name for row in sent.rows]
        _log.warning("Envoy refused resources", type=sent.type_url, names=names[:20], reason=detail.message)
        if sent.type_url == shares.TYPE_URL:
            return
        if sent.type_url == xds.SECRET and sent.ticket is None and any(map(secrets.ours, names)):
            return
        watch = self._watches[sent.type_url]
        for row in sent.rows:
            if sent.ticket is None or row.name not in watch.held:
                watch.held[row.name] = REFUSED
        if sent.ticket:
            self._upstream.nack(sent.ticket, detail)
        else:  # what was good once is no longer: forget it, and have upstream send its own
            self._cache.put(sent.type_url, (), names)
            self._upstream.restart()

    def _unasked(self, type_url: str, name: str) -> bool:
        watch = self._watches.get(type_url)
        return watch is not None and watch.wildcard and name not in watch.names
