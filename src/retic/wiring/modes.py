"""Changes of PeerAuthentications on their way: servers hear of them before callers go by them, and after.

Between plaintext and the mesh's TLS a change has three steps: ports take both; callers change over; ports take only
what they shall. Each of the first two lasts `SECONDS`, longer than news take to a proxy that is there. Where callers
go on as before (STRICT and PERMISSIVE), there are no steps. Keeps nothing across a restart.
"""

import asyncio
import datetime

import msgspec

from retic import findings, graph, objects
from retic.identity import clock
from retic.mesh import tables
from retic.objects import security
from retic.sources import store

SECONDS = 5.0
"""How long a step lasts."""

_MOST = 4  # states remembered of one policy that is changed again and again


class Changes:
    """Wraps `rows` of the store. What is told before `begin` has been so all along."""

    def __init__(
        self, db: graph.Graph, rows: store.Rows = tables.changes, time: clock.Clock | None = None
    ) -> None:
        self._db = db
        self._rows = rows
        self._time = time or clock.System()
        self._known: dict[tables.Key, security.PeerAuthentication] = {}
        self._former: dict[tables.Key, tables.Former] = {}
        self._due: dict[tables.Key, datetime.datetime] = {}
        self._news = asyncio.Event()
        self._begun = False

    def begin(self) -> None:
        """The whole list is known: from now on a change is one."""
        self._begun = True

    def rows(self, ref: findings.Ref, value: objects.Object | None) -> list[graph.Change]:
        """What an object, or its absence (None), changes."""
        changes = self._rows(ref, value)
        if ref.kind != "PeerAuthentication":
            return changes
        key = tables.Key(ref.namespace, ref.name)
        old = self._known.pop(key, None)
        if isinstance(value, security.PeerAuthentication):
            self._known[key] = value
        if self._begun and _spec(old) != _spec(value):
            changes.append(self._remember(key, old))
        return changes

    def _remember(self, key: tables.Key, old: security.PeerAuthentication | None) -> graph.Change:
        row = self._former.get(key)
        if row is None:
            was: tuple[security.PeerAuthentication | None, ...] = (old,)
        else:
            # Callers go by the latest of `was` still, or have just been told what `old` says.
            was = row.was if row.is_told else (*row.was, old)[-_MOST:]
        return self._set(key, tables.Former(was, is_told=True))

    def _set(self, key: tables.Key, row: tables.Former) -> graph.Change:
        self._former[key] = row
        self._due[key] = self._time.now() + datetime.timedelta(seconds=SECONDS)
        self._news.set()
        return graph.Set(tables.FORMER, key, row)

    async def run(self) -> None:
        """Bring each change to its end in time, until cancelled."""
        while True:
            if not self._due:
                self._news.clear()
                await self._news.wait()
                continue
            # Steps are of one length, so nothing that comes meanwhile is due before this.
            now, first = self._time.now(), min(self._due.values())
            if first > now:
                await self._time.sleep((first - now).total_seconds())
                continue
            self._db.commit([self._further(key) for key, due in sorted(self._due.items()) if due <= now])

    def _further(self, key: tables.Key) -> graph.Change:
        row = self._former[key]
        if row.is_told:
            return self._set(key, msgspec.structs.replace(row, is_told=False))
        del self._former[key], self._due[key]
        return graph.Delete(tables.FORMER, key)


def _spec(value: objects.Object | None) -> security.PeerAuthenticationSpec | None:
    return value.spec if isinstance(value, security.PeerAuthentication) else None
