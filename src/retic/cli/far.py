"""Asking the agents of a mesh on a cluster, for `top`, `tap` and `explain response`; and saying who was not asked."""

import asyncio
import logging
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from retic.cli import cluster, failure, ps_cluster
from retic.explain.response import told

if TYPE_CHECKING:
    from retic.answers import containers, traffic
    from retic.sources.api import Api

Answer = TypeVar("Answer")
_SHOWN, _LONGEST = 5, 500  # names in a note, letters of a reason


class Unasked:
    """Proxies that could not be asked, and why."""

    def __init__(self) -> None:
        self._new: dict[str, list[str]] = defaultdict(list)
        self._told: set[str] = set()

    def note(self, name: str, reason: str) -> None:
        """One more; told with those of the same reason."""
        if name not in self._new[reason]:
            self._new[reason].append(name)

    def lines(self) -> list[str]:
        """What was not told yet."""
        made = []
        for reason, names in self._new.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            made.append(f"{', '.join(sorted(names)[:_SHOWN])}{more}: {told.plain(reason, most=_LONGEST)}")
        self._new.clear()
        return made

    def tell(self) -> None:
        """On the error stream."""
        for line in self.lines():
            say(f"not asked: {line}")

    def once(self, text: str) -> None:
        """Say something, the first time."""
        if text not in self._told:
            self._told.add(text)
            say(text)


class Far(msgspec.Struct, frozen=True):
    """A mesh on a cluster: its objects, as they may be seen, and its agents. `news` is notified of changed objects."""

    api: "Api"
    traffic: "traffic.Traffic"
    agents: "containers.Containers"
    unasked: Unasked
    unseen: tuple[str, ...]
    news: asyncio.Condition

    def heard(self) -> None:
        """Say which proxies were not asked. Raises Failure when nobody has answered for that reason."""
        if self.agents.answered:
            self.unasked.tell()
        elif lines := self.unasked.lines():
            raise failure.Failure(f"no proxy can be asked: {'; '.join(lines)}")


def run(target: cluster.Target, namespace: str, work: Callable[[Far], Awaitable[Answer]]) -> Answer:
    """What `work` returns. Raises Failure, also where no mesh is installed or no pod may be read."""
    import structlog

    from retic.answers import containers
    from retic.control import service
    from retic.wiring import remote, tasks

    # What following objects logs, is said in other words.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def connected(api: "Api") -> Answer:
        news, unasked = asyncio.Condition(), Unasked()
        mesh, settings = await remote.see(api, namespace, tasks.Notifier(news))
        if settings.installed is False:
            raise failure.Failure(ps_cluster.not_installed(api))
        ps_cluster.refuse_blind(mesh)
        agents = containers.Containers(api, mesh.traffic.gateways, unasked.note)
        try:
            return await work(Far(api, mesh.traffic, agents, unasked, mesh.unseen, news))
        except service.Refused as error:
            raise failure.Failure(str(error)) from error
        finally:
            await agents.aclose()

    return cluster.run(target, connected)


def say(text: str) -> None:
    """On the error stream, at once."""
    print(text, file=sys.stderr, flush=True)
