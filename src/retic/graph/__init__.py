"""The incremental query engine: inputs, pure questions over them, and answers kept up to date.

    PODS = graph.table("pods", str, Pod)
    BY_NODE = graph.index(PODS, by_node)         # def by_node(key, pod): return [pod.node]

    @graph.query
    def pods_of(db: graph.Db, node: str) -> tuple[str, ...]:
        return tuple(sorted(db.find(BY_NODE, node)))

    g = graph.Graph()
    g.commit([graph.Set(PODS, "a", Pod(node="n1"))])
    g.ask(pods_of, "n1")                         # ("a",)

What an answer read is recorded while it is made: rows, absences, index look-ups, other answers. A commit
marks the readers of what changed; those that are watched are made anew, and where an answer comes out
equal nothing behind it moves. Whole tables cannot be read. It knows nothing of meshes, does no I/O, and
keeps no value across a restart.
"""

from retic.graph.declared import Change, Db, Delete, Index, Query, Set, Table, index, query, table
from retic.graph.engine import Counters, Graph
from retic.graph.errors import Call, Cycle, Misuse, TooDeep
from retic.graph.evaluate import DEPTH
from retic.graph.trace import Input, Kind, Read
from retic.graph.watch import Watch

__all__ = [
    "DEPTH",
    "Call",
    "Change",
    "Counters",
    "Cycle",
    "Db",
    "Delete",
    "Graph",
    "Index",
    "Input",
    "Kind",
    "Misuse",
    "Query",
    "Read",
    "Set",
    "Table",
    "TooDeep",
    "Watch",
    "index",
    "query",
    "table",
]
