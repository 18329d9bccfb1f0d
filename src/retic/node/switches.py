"""Which pods' every request is reported: runtime keys in the agent's Envoys, set over the admin socket.

An Envoy that starts has none; so they are set again whenever one connects. One that an earlier agent left may have
some that nobody wants any more: those are taken away. What an admin page refuses is tried again
with the next change or connection: nothing else depends on it.
"""

import asyncio
import collections
import contextlib
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator

import msgspec
import structlog

from retic.node import admin
from retic.telemetry import words

_log = structlog.get_logger("retic.node")


class _Value(msgspec.Struct):
    final_value: str = ""


class _Runtime(msgspec.Struct):
    entries: dict[str, _Value] = {}


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
            there = {path for path in self._sockets() if path.exists()}  # one that starts has none yet
            self._set = {path: keys for path, keys in self._set.items() if path in there}
            for path in there:
                try:
                    had = self._set[path] if path in self._set else await _found(path)
                    change = {**dict.fromkeys(had - wanted, ""), **dict.fromkeys(wanted - had, "100")}
                    if change:
                        query = urllib.parse.urlencode(change)
                        await admin.get(path, f"/runtime_modify?{query}", method="POST")
                    self._set[path] = wanted
                except admin.AdminError as error:
                    # Where nothing is wanted, an Envoy that comes or goes need not be told anything.
                    say = _log.warning if wanted or path in self._set else _log.debug
                    say("Envoy is not told what to report", reason=str(error))

    def again(self) -> None:
        """An Envoy has come or gone: what was said to it may be forgotten."""
        self._set.clear()
        self._soon()

    def _soon(self) -> None:
        task = asyncio.create_task(self.settled(), name="switches")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave the Envoys without keys, as far as they answer."""
        self._wanted.clear()
        if any(self._set.values()):
            await self.settled()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _found(path: pathlib.Path) -> frozenset[str]:
    """The keys that an Envoy has."""
    try:
        values = msgspec.json.decode(await admin.get(path, "/runtime"), type=_Runtime).entries
    except msgspec.MsgspecError as error:
        raise admin.AdminError(f"{path}: /runtime is not as expected: {error}") from error
    return frozenset(key for key, value in values.items() if key.startswith(words.SWITCHES) and value.final_value)
