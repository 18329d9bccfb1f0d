"""The service of global rate limits, from settings: where it counts, what it knows, and what becomes of failures."""

from collections.abc import Callable

from retic import graph
from retic.counting import embedded, place, redis_store, service, store
from retic.mesh import limit, limits_asked, tables


def opened(
    db: graph.Graph, where: place.Place | None, owner: str, identify: service.Identify, changed: Callable[[], None]
) -> service.Service:
    """Counts in Redis, or, without a place, in memory. `owner` tells meshes apart that share a Redis; `changed` is
    called when it stops counting and when it begins again."""
    counting: store.Store = embedded.Embedded() if where is None else redis_store.Redis(where, owner)

    def failing(reason: str) -> None:
        db.commit([graph.Set(tables.COUNTING, tables.ONE, reason)])
        changed()

    def known(proxy: str, name: str) -> limit.Limit | None:
        return db.ask(limits_asked.asked, limits_asked.Question(proxy, name))

    return service.Service(counting, known, identify, failing)
