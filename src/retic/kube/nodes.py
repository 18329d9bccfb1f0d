"""The ConfigMap `retic-nodes`: the last report of each node, for people and for `retic check`.

One key for each node. Written when a report says something new, else once a minute, and never more often than every
few seconds: a node's report does not make a write of its own. Numbers of pods, not their names: it has to fit.
"""

import datetime
from collections.abc import Callable, Iterable

import msgspec
import structlog

from retic.identity import clock, report
from retic.sources import api

log = structlog.get_logger(__name__)

NAME = "retic-nodes"
EVERY, ANYWAY = 5.0, 60.0
_MOST_LISTED = 50


class Nodes:
    """`there` gives the names of the nodes that exist; others' keys go (`prune`)."""

    def __init__(
        self, client: api.Api, namespace: str, time: clock.Clock, there: Callable[[], Iterable[str]]
    ) -> None:
        self._api, self._namespace, self._time, self._there = client, namespace, time, there
        self._due: dict[str, tuple[datetime.datetime, report.Report]] = {}
        self._written: dict[str, tuple[datetime.datetime, report.Report]] = {}

    def report(self, node: str, said: report.Report) -> None:
        """Take in what an agent says."""
        now = self._time.now()
        before = self._written.get(node)
        if before is None or before[1] != said or (now - before[0]).total_seconds() >= ANYWAY:
            self._due[node] = (now, said)

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            await self._time.sleep(EVERY)
            due, self._due = self._due, {}
            if not due:
                continue
            try:
                await self._patch({node: _text(when, said) for node, (when, said) in due.items()})
                self._written.update(due)
            except (api.Error, OSError) as error:
                log.info("reports of nodes not written", reason=str(error))
                self._due = {**due, **self._due}

    async def prune(self) -> None:
        """Remove the keys of nodes that are gone; the leader's."""
        try:
            found = await self._api.get(self._path)
        except api.ApiError as error:
            if error.status == 404:
                return
            raise
        gone = set(found.get("data") or {}) - set(self._there())
        if gone:
            await self._patch(dict.fromkeys(gone))

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps/{NAME}"

    async def _patch(self, data: dict[str, str | None] | dict[str, str]) -> None:
        try:
            await self._api.patch(self._path, {"data": data})
        except api.ApiError as error:
            if error.status != 404:
                raise
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data}
            await self._api.create(self._path.rpartition("/")[0], body)


def _text(when: datetime.datetime, said: report.Report) -> str:
    return msgspec.json.encode(
        {
            "time": when.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "captured": len(said.captured),
            "leaving": len(said.released),
            "plaintext": said.plaintext[:_MOST_LISTED],
            "refusable": sorted(said.refusable, key=lambda one: one.last, reverse=True)[:_MOST_LISTED],
            "envoy": said.envoy,
            "retic": said.retic,
            **({} if said.cni is None else {"cni": said.cni}),
            **({} if said.kernel is None else {"kernel": said.kernel}),
        }
    ).decode()
