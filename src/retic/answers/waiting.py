"""Waiting on a cluster until what is told is live: a reflector of kinds with a status, looked at after each change."""

import asyncio
from collections.abc import Sequence

from retic import findings, graph
from retic.answers import statuses
from retic.sources import store
from retic.sources.api import Api, kinds, reflect

_ANOTHERS = "it is not Retic's to serve: see its parents, its class, or its namespace's label"


class Waiting:
    """Until what is wanted is live.

    `wanted`: these objects; none: every one that is Retic's to serve, of `namespace` if that is not "".
    """

    def __init__(
        self, db: graph.Graph, kept: store.Store, wanted: Sequence[findings.Ref], namespace: str = ""
    ) -> None:
        self._db = db
        self._kept = kept
        self._wanted = tuple(wanted)
        self._namespace = namespace

    def state(self) -> tuple[statuses.Progress, ...]:
        """How far each is; one that is not there, or somebody else's, is not done."""
        if not self._wanted:
            every = statuses.every(self._db, self._kept.objects)
            return tuple(one for one in every if self._namespace in ("", one.ref.namespace))
        return tuple(map(self._one, self._wanted))

    def _one(self, ref: findings.Ref) -> statuses.Progress:
        value = self._kept.objects.get(ref)
        if value is None:
            return statuses.Progress(ref, False, "it does not exist")
        found = statuses.of(self._db, ref, value)
        return found or statuses.Progress(ref, False, _ANOTHERS)

    async def until(self, api: Api, reads: Sequence[kinds.Read], news: asyncio.Event) -> tuple[statuses.Progress, ...]:
        """Follow the kinds until all is done. `news` is set at each change of the store."""
        following = asyncio.create_task(reflect(api, reads, self._kept))
        try:
            while True:
                news.clear()
                if self._kept.is_synced and all(one.done for one in self.state()):
                    return self.state()
                waiting = asyncio.create_task(news.wait())
                await asyncio.wait({waiting, following}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if following.done():
                    following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
