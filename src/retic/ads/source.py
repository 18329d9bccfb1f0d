"""Where resources come from: queries over the graph, and how a stream watches them."""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import msgspec
import structlog

from retic import graph, xds
from retic.xds import kinds, state

log = structlog.get_logger(__name__)

Scope = Callable[[str, str, xds.Client], Hashable]
"""From type URL, name and client to the key of the resource: clients with one key share its bytes."""

Companions = tuple[tuple[str, str], ...]
"""Type URL and name of what a client is to have, unasked, before the resource that they accompany."""


class Source(msgspec.Struct, frozen=True):
    """The queries behind discovery: `resource` and `companions` by `scope`, `names` by `listing`."""

    store: graph.Graph
    resource: graph.Query[Any, xds.Encoded | None]
    names: graph.Query[Any, frozenset[str]]
    scope: Scope
    listing: Callable[[str, xds.Client], Hashable]
    companions: graph.Query[Any, Companions] | None = None


class Watches:
    """The watches of one stream. They tell the stream's state which names may have changed, and `wake`."""

    __slots__ = ("_client", "_companions", "_lists", "_resources", "_source", "_state", "_wake", "failed")

    def __init__(
        self, source: Source, client: xds.Client, protocol: state.Server, wake: Callable[[], None]
    ) -> None:
        self._source = source
        self._client = client
        self._state = protocol
        self._wake = wake
        self._resources: dict[tuple[str, str], graph.Watch[xds.Encoded | None]] = {}
        self._companions: dict[tuple[str, str], graph.Watch[Companions]] = {}
        self._lists: dict[str, graph.Watch[frozenset[str]]] = {}
        self.failed = 0

    def __len__(self) -> int:
        return len(self._resources) + len(self._companions) + len(self._lists)

    def open(self, type_url: str, name: str) -> None:
        """Watch a resource and its companions, these first, and offer it to the stream."""
        todo = [(type_url, name)]
        while todo:
            one = todo.pop()
            key = self._source.scope(*one, self._client)
            missing = self._accompany(one, key)
            if missing:
                todo += [one, *reversed(missing)]
                continue
            if one not in self._resources:
                ready = functools.partial(self._changed, *one)
                self._resources[one] = self._source.store.watch(self._source.resource, key, ready=ready)
            self._state.offer(*one)
        self._wake()

    def close(self, type_url: str, name: str) -> None:
        """Watch the resource no longer."""
        for watches in (self._resources, self._companions):
            watch = watches.pop((type_url, name), None)
            if watch is not None:
                watch.close()

    def open_list(self, type_url: str) -> None:
        """Watch what the client's wildcard of this type stands for."""
        if type_url not in self._lists:
            ready = functools.partial(self._listed, type_url)
            key = self._source.listing(type_url, self._client)
            self._lists[type_url] = self._source.store.watch(self._source.names, key, ready=ready)
        self._listed(type_url, self._lists[type_url])

    def close_list(self, type_url: str) -> None:
        """The wildcard subscription has ended."""
        watch = self._lists.pop(type_url, None)
        if watch is not None:
            watch.close()

    def close_all(self) -> None:
        """Unsubscribe from everything."""
        for watches in (self._resources, self._companions, self._lists):
            for watch in watches.values():
                watch.close()
            watches.clear()

    def lookup(self, type_url: str, name: str) -> xds.Encoded | None:
        """The resource as the graph has it now; `xds.UnavailableError` while it has only an exception."""
        watch = self._resources.get((type_url, name))
        if watch is None:
            return None
        try:
            return watch.latest
        except Exception as error:
            self.failed += 1
            log.warning("no answer for a resource", type_url=type_url, name=name, error=repr(error))
            raise xds.UnavailableError(name) from error

    def _accompany(self, one: tuple[str, str], key: Hashable) -> list[tuple[str, str]]:
        """The companions of a resource that the stream does not have yet."""
        if self._source.companions is None or one in self._companions or one[0] in kinds.LEAVES:
            return []
        ready = functools.partial(self._accompanied, *one)
        watch = self._source.store.watch(self._source.companions, key, ready=ready)
        self._companions[one] = watch
        return self._missing(watch)

    def _missing(self, watch: graph.Watch[Companions]) -> list[tuple[str, str]]:
        try:
            return [one for one in watch.latest if self._state.push(*one)]
        except Exception as error:
            self.failed += 1
            log.warning("companions unknown", client=self._client.id, error=repr(error))
            return []

    def _changed(self, type_url: str, name: str, _: graph.Watch[xds.Encoded | None]) -> None:
        self._state.offer(type_url, name)
        self._wake()

    def _accompanied(self, type_url: str, name: str, watch: graph.Watch[Companions]) -> None:
        try:
            for one in self._missing(watch):
                self.open(*one)
        except Exception as error:  # of `scope`: the commit that led here is not to blame
            self.failed += 1
            log.warning("companions not watched", type_url=type_url, name=name, error=repr(error))

    def _listed(self, type_url: str, watch: graph.Watch[frozenset[str]]) -> None:
        try:
            added, lost = self._state.list_names(type_url, watch.latest)
            for name in sorted(added):
                self.open(type_url, name)
        except Exception as error:
            self.failed += 1
            log.warning("no answer for a list of names", type_url=type_url, error=repr(error))
            return
        for name in lost:
            self.close(type_url, name)
        self._wake()
