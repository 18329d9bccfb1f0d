"""Issuers' keys into the graph: what RequestAuthentications name is fetched, and what came of it becomes rows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from retic import graph
from retic.mesh import jwks, tables, token_rules, tokens
from retic.sources import keys

# Before proxies are served: those that had keys would lose them until they are fetched again.
_FIRST_SECONDS = 10.0


@contextlib.asynccontextmanager
async def fetched(
    db: graph.Graph, news: Callable[[], None], closed: Iterable[str] = (), resolve: keys.Resolve | None = None
) -> AsyncIterator["asyncio.Task[None]"]:
    """Entered once the keys that are named were fetched, or could not be within seconds; gives the task that goes on.

    `news` is called after every change, `closed` are networks (CIDRs) that nothing is fetched from, `resolve` finds
    names instead of the machine.
    """

    def report(uri: str, outcome: keys.Outcome | None) -> None:
        key = tables.Uri(uri)
        change: graph.Change = graph.Delete(tables.KEY_SETS, key)
        if outcome is not None:
            change = graph.Set(tables.KEY_SETS, key, tables.KeySet(outcome.text, outcome.reason))
        db.commit([change])
        news()

    fetcher = keys.Fetcher(_usable(keys.over_https(keys.Limits(tuple(closed)), resolve=resolve)), report)
    with db.watch(tokens.uris, tables.ONE) as named:
        fetcher.want({each.uri: each.seconds for each in named.latest})
        following = asyncio.create_task(_follow(named, fetcher), name="keys")
        try:
            await fetcher.first(_FIRST_SECONDS)
            yield following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await fetcher.close()


def _usable(get: keys.Fetch) -> keys.Fetch:
    """Documents without a key that can be used are none: what was fetched before them stands."""

    async def fetch(uri: str, seconds: float) -> keys.Document:
        document = await get(uri, seconds)
        found = jwks.read(document.text)
        if not found.text:
            raise keys.FetchError(f"the document has no key that can be used: {found.problems[0].message}")
        return document

    return fetch


async def _follow(named: "graph.Watch[tuple[token_rules.Wanted, ...]]", fetcher: keys.Fetcher) -> None:
    async for wanted in named:
        fetcher.want({each.uri: each.seconds for each in wanted})
