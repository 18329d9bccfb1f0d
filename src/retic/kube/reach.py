"""How far all proxies are with an object, those of the other replicas included; None while that is not known."""

import functools
import operator

from retic import findings
from retic.identity import clock
from retic.kube import live, peers, progress

_EVERYBODY = ("node/", "gateway/")


class Reach:
    """`grace`: for so many seconds after the start nobody being there means that nobody has come yet."""

    def __init__(self, own: progress.Progress, others: peers.Peers | None, time: clock.Clock, grace: float) -> None:
        self._own, self._others, self._time, self._grace = own, others, time, grace
        self._begun = time.now()

    def know(self, asked: peers.Asked) -> live.Live:
        """What this replica knows."""
        whole = asked.clients.endswith("/")

        def concerns(client: str) -> bool:
            return client.startswith(asked.clients) if whole else client == asked.clients

        return self._own.of(asked.object, asked.generation, concerns)

    async def far(self, ref: findings.Ref, generation: int, target: findings.Ref | None) -> live.Live | None:
        """How far the proxies are that a parent of the object concerns: its own for a Gateway, for a Service nodes'.
        Without a parent: all."""
        whose = _EVERYBODY if target is None else ("node/",)
        if target is not None and target.kind == "Gateway":
            whose = (f"gateway/{target.namespace}/{target.name}",)
        asked = [peers.Asked(ref, generation, clients) for clients in whose]
        found = [self.know(each) for each in asked]
        if self._others is not None:
            more = await self._others.ask(asked)
            if more is None:
                return None
            found += more
        together = functools.reduce(operator.add, found)
        early = (self._time.now() - self._begun).total_seconds() < self._grace
        return None if early and not together.total else together
