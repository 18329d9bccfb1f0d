"""What proxies report of requests beyond what they always do: the headers that somebody wants to see."""

from retic import graph
from retic.mesh import tables


@graph.query
def headers(db: graph.Db, namespace: str) -> tuple[str, ...]:
    """Request headers, in lower case and by name, of the namespace's pods and gateways. None of them is a credential:
    whoever asks for them sees to that."""
    found = db.get(tables.OBSERVED, tables.Key("", namespace))
    return tuple(sorted(set(found.headers))) if found else ()
