"""Which pods' every request is reported: runtime keys in the agent's Envoys, set over the admin socket.

An Envoy that starts has none; so they are set again whenever one connects. What an admin page refuses is tried again
with the next change or connection: nothing else depends on it.
"""

import asyncio
import collections
import contextlib
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator

import structlog

from retic.node import admin
from retic.telemetry import words

_log = structlog.get_logger("retic.node")


class Switches:
    """`sockets` are the admin sockets of the Envoys that there are."""

    def __init__(self, sockets: Callable[[], Iterable[pathlib.Path]]) -> None:
        self._sockets = sockets
        self._wanted: collections.Counter[str] = collections.Counter()
        self._set: dict[pathlib.Path, frozenset[str]] = {}
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def on(self, pod_uids: Iterable[str]) -> Iterator[None]:
        """Every request of these pods is reported meanwhile; `settled` waits until Envoy knows."""
        keys = [words.switch(uid) for uid in pod_uids]
        self._wanted.update(keys)
        try:
            yield
        finally:
            self._wanted.subtract(keys)
            self._wanted += collections.Counter()  # forgets what nobody wants any more
            self._soon()

    async def settled(self) -> None:
        """Tell the Envoys, and return when they have answered."""
        async with self._lock:
            wanted = frozenset(self._wanted)
            there = set(self._sockets())
            self._set = {path: keys for path, keys in self._set.items() if path in there}
            for path in there:
                had = self._set.get(path, frozenset())
                if had == wanted:
                    continue
                change = {**dict.fromkeys(had - wanted, ""), **dict.fromkeys(wanted, "100")}
                try:
                    query = urllib.parse.urlencode(change)
                    await admin.get(path, f"/runtime_modify?{query}", method="POST")
                    self._set[path] = wanted
                except admin.AdminError as error:
                    _log.warning("Envoy is not told what to report", reason=str(error))

    def again(self) -> None:
        """An Envoy has come or gone: what was said to it may be forgotten."""
        self._set.clear()
        if self._wanted:
            self._soon()

    def _soon(self) -> None:
        task = asyncio.create_task(self.settled(), name="switches")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave the Envoys without keys, as far as they answer."""
        self._wanted.clear()
        await self.settled()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
