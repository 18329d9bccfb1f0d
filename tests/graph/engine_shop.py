"""A few tables and queries that the tests of the engine share."""

from typing import NamedTuple

from retic import graph


class Pod(NamedTuple):
    """A pod: where it is and whether it is ready."""

    node: str
    ready: bool


PODS = graph.table("pods", str, Pod)
NAMES = graph.table("names", str, str)
FLAGS = graph.table("flags", str, bool)


def by_node(key: str, pod: Pod) -> list[str]:
    if pod.node == "nowhere":
        raise ValueError(f"{key} is nowhere")
    return [pod.node]


BY_NODE = graph.index(PODS, by_node)


class Unready(Exception):  # noqa: N818
    """A pod that should be ready is not."""


@graph.query
def ready(db: graph.Db, key: str) -> bool:
    pod = db.get(PODS, key)
    return pod is not None and pod.ready


@graph.query
def ready_on(db: graph.Db, node: str) -> tuple[str, ...]:
    return tuple(key for key in sorted(db.find(BY_NODE, node)) if db.ask(ready, key))


@graph.query
def some_on(db: graph.Db, node: str) -> bool:
    return bool(db.ask(ready_on, node))


@graph.query
def summary(db: graph.Db, node: str) -> str:
    return "up" if db.ask(some_on, node) else "down"


@graph.query
def must_be_ready(db: graph.Db, key: str) -> str:
    if not db.ask(ready, key):
        raise Unready(key)
    return f"{key} is ready"


@graph.query
def greeting(db: graph.Db, key: str) -> str:
    return f"hello {db.get(NAMES, key) or 'nobody'}"


@graph.query
def even(db: graph.Db, number: int) -> bool:
    if db.get(FLAGS, "stop"):
        return True
    return not db.ask(odd, number)


@graph.query
def odd(db: graph.Db, number: int) -> bool:
    return not db.ask(even, number)


@graph.query
def patient(db: graph.Db, number: int) -> str:
    """Outside of the cycle, and catches it."""
    try:
        return str(db.ask(even, number))
    except graph.Cycle as error:
        return f"cycle of {len(error.path) - 1}"


@graph.query
def stubborn(db: graph.Db, number: int) -> bool:
    """A member of a cycle of its own that catches it: in vain."""
    try:
        return db.ask(stubborn, number)
    except graph.Cycle:
        return True


@graph.query
def below(db: graph.Db, depth: int) -> str:
    """As deep as its key: reads a name at the bottom. The generator costs interpreter stack on purpose."""
    if depth == 0:
        return db.get(NAMES, "bottom") or ""
    return "".join(db.ask(below, step) for step in (depth - 1,))
