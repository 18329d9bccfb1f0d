"""The sink of a source: objects become rows of the graph, their positions and findings are kept beside it.

What rows an object becomes is given (`rows`), so that nothing here knows a table. Positions never enter the
graph: a comment that shifts lines must recompute nothing.
"""

from collections.abc import Callable, Iterable, Mapping

from retic import findings, graph, objects
from retic.sources import model, stream

Rows = Callable[[findings.Ref, objects.Object | None], list[graph.Change]]


class Store:
    """Implements `stream.Sink`. `news` is called after every change, on the caller's thread."""

    def __init__(self, mesh: graph.Graph, rows: Rows, news: Callable[[], None] = lambda: None) -> None:
        self._mesh = mesh
        self._rows = rows
        self._news = news
        self._objects: dict[findings.Ref, objects.Object] = {}
        self._positions: dict[findings.Ref, model.Position] = {}
        self._listeners: list[Callable[[tuple[findings.Ref, ...]], None]] = []
        self.found: tuple[findings.Finding, ...] = ()
        self.is_synced = False

    @property
    def objects(self) -> Mapping[findings.Ref, objects.Object]:
        """All objects as they are now, whole."""
        return self._objects

    @property
    def positions(self) -> Mapping[findings.Ref, model.Position]:
        """Where they were written; objects that no file holds have none."""
        return self._positions

    def listen(self, told: Callable[[tuple[findings.Ref, ...]], None]) -> None:
        """Have `told` called with what each commit concerned, once the graph has taken it in."""
        self._listeners.append(told)

    def apply(self, changes: Iterable[stream.Change]) -> None:
        """One commit for changes that belong together."""
        rows: list[graph.Change] = []
        refs: list[findings.Ref] = []
        for change in changes:
            ref = findings.Ref(change.kind, change.namespace, change.name)
            refs.append(ref)
            if change.object is None:
                self._objects.pop(ref, None)
            else:
                self._objects[ref] = change.object
            if change.position is None:
                self._positions.pop(ref, None)
            else:
                self._positions[ref] = change.position
            rows.extend(self._rows(ref, change.object))
        self._mesh.commit(rows)
        for told in self._listeners:
            told(tuple(refs))
        self._news()

    def report(self, found: tuple[findings.Finding, ...]) -> None:
        """The source's own findings, instead of those before."""
        self.found = found
        self._news()

    def synced(self) -> None:
        """The store holds a whole list."""
        self.is_synced = True
        self._news()
