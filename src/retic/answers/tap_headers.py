"""Which headers a tap may show: none that is a credential, and those that proxies report, or can be told to."""

from typing import Protocol

from retic import ads, graph
from retic.control import model, service
from retic.mesh import observing, tables
from retic.telemetry import redaction, words

_PATIENCE = 3.0  # seconds until it begins without a proxy that is late
Names = frozenset[str]


class Headers(Protocol):
    """For all who tap at the same time. `whose` tells them apart; `namespaces` are those whose proxies tell."""

    def check(self, namespaces: Names, asked: model.AskTap) -> None:
        """service.Refused when the headers that are asked for cannot be shown."""
        ...

    async def want(self, whose: object, namespaces: Names, asked: model.AskTap) -> None:
        """Have them reported from now on; return when proxies have heard of it, or soon."""
        ...

    def forget(self, whose: object) -> None:
        """Have nothing reported any more for it."""
        ...


def named(asked: model.AskTap) -> Names:
    """The headers that are shown or compared."""
    return frozenset((*asked.wanted.headers, *asked.shown.headers))


def _harmless(asked: model.AskTap) -> None:
    for name in sorted(named(asked)):
        if reason := redaction.unreported(name, asked.shown.secret):
            raise service.Refused(reason)


class Noted:
    """Proxies are told what to note, by `discovery`: where a control plane asks."""

    def __init__(self, db: graph.Graph, discovery: ads.Server) -> None:
        self._db = db
        self._discovery = discovery
        self._wanted: dict[object, dict[str, Names]] = {}

    def check(self, namespaces: Names, asked: model.AskTap) -> None:
        """None is a credential, and there is room for all."""
        _harmless(asked)
        noted = {name for every in self._wanted.values() for each in every.values() for name in each}
        if len(named(asked) | noted) > words.MOST_HEADERS:
            raise service.Refused(f"all who tap may look at {words.MOST_HEADERS} headers together, not more")

    async def want(self, whose: object, namespaces: Names, asked: model.AskTap) -> None:
        """By what routes and slots of the namespaces note."""
        names = named(asked)
        if self._change(whose, dict.fromkeys(namespaces, names) if names else {}):
            await self._discovery.settled(_PATIENCE)

    def forget(self, whose: object) -> None:
        """Proxies are told, and not waited for."""
        self._change(whose, {})

    def _change(self, whose: object, now: dict[str, Names]) -> bool:
        """From now on `whose` wants these, by namespace; whether anything changes."""
        before = self._wanted.pop(whose, {})
        if now:
            self._wanted[whose] = now
        if now == before:
            return False
        changes: list[graph.Change] = []
        for namespace in {*before, *now}:
            some = frozenset(name for each in self._wanted.values() for name in each.get(namespace, ()))
            key = tables.Key("", namespace)
            row = tables.Observed(tuple(sorted(some)))
            changes.append(graph.Set(tables.OBSERVED, key, row) if some else graph.Delete(tables.OBSERVED, key))
        self._db.commit(changes)
        return True


class Reported:
    """Nobody tells proxies what to note: of requests only those are shown which a Telemetry has them report anyway."""

    def __init__(self, db: graph.Graph) -> None:
        self._db = db

    def check(self, namespaces: Names, asked: model.AskTap) -> None:
        """None is a credential, and all are reported. Of answers the same are everywhere (words)."""
        _harmless(asked)
        names = (named(asked) - set(words.REPORTED_RESPONSE_HEADERS)) | set(asked.wanted.headers)
        for namespace in sorted(namespaces):
            for name in sorted(names - set(self._db.ask(observing.headers, namespace))):
                raise service.Refused(
                    f"proxies of namespace {namespace} do not report the header {name} of requests, and on a cluster a "
                    f"command does not change what they do: write a Telemetry with request.headers['{name}'] in the "
                    f"expression of an access log (docs/tap.md); of answers they report "
                    f"{', '.join(words.REPORTED_RESPONSE_HEADERS)}"
                )

    async def want(self, whose: object, namespaces: Names, asked: model.AskTap) -> None:
        """They are, or are not."""

    def forget(self, whose: object) -> None:
        """There is nothing to forget."""
