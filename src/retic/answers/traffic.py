"""What passes through a mesh on a cluster, for those who may see its objects: what `top`, `tap` and `explain response`
are told beside what the agents say.
"""

import asyncio

from retic import findings, graph
from retic.answers import questions, responses, tap_headers, taps
from retic.answers.agents import Agents
from retic.mesh import gateways
from retic.objects import gateway
from retic.sources import store
from retic.sources.api import Api, kinds, reflect, scope

_FOLLOWED = ("Pod", "Service", "Gateway")
_REFUSED = "RT0610"  # a kind that may not be watched


class Traffic:
    """`seen` says which objects `kept` has all of."""

    def __init__(self, db: graph.Graph, kept: store.Store, seen: scope.Scope) -> None:
        self._db = db
        self._kept = kept
        self._seen = seen

    @property
    def only(self) -> str:
        """The one namespace that may be looked at; "" where it is more."""
        return self._seen.namespace

    @property
    def unfollowed(self) -> tuple[str, ...]:
        """Why changes of objects are not seen, in words; nothing where they are."""
        return tuple(found.message for found in self._kept.found if found.code == _REFUSED)

    def gateways(self) -> tuple[str, ...]:
        """The proxies of the Gateways that there are now, as gateway/NS/NAME."""
        return tuple(
            f"gateway/{ref.namespace}/{ref.name}"
            for ref, value in sorted(self._kept.objects.items())
            if isinstance(value, gateway.Gateway) and self._db.ask(gateways.ours, value.spec.gateway_class_name)
        )

    def has_pod(self, namespace: str, name: str) -> bool:
        """Whether it is known."""
        return findings.Ref("Pod", namespace, name) in self._kept.objects

    def check_namespace(self, name: str) -> None:
        """service.Refused for one that there is certainly not."""
        if self._seen.sees(findings.Ref("Namespace", "", name)):
            questions.check_namespace(self._kept, name)

    def responses(self, agents: Agents) -> responses.Responses:
        """What became of requests."""
        asked = questions.Questions(self._db, self._kept)
        return responses.Responses(agents, asked.world, "--context")

    def taps(self, agents: Agents, news: asyncio.Condition) -> taps.Taps:
        """Requests as they pass. `news` is notified of changes of the store."""
        return taps.Taps(agents, self._db, self._kept, tap_headers.Reported(self._db), news)

    async def follow(self, api: Api) -> None:
        """Keep pods, Services and Gateways as they are, until cancelled; one kind that may not be watched stays as it
        was."""
        reads: tuple[kinds.Read, ...] = tuple(read for read in self._seen.reads if read.kind in _FOLLOWED)
        await reflect(api, reads, self._kept)
