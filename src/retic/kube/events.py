"""Events (events.k8s.io/v1) on objects that have an error: what `kubectl describe` shows beside the status.

One event for each error of each object, however often it is found again; one that lasts is renewed, since API
servers forget events after an hour. Only the leader writes them.
"""

import datetime
import hashlib
from collections.abc import Iterable
from typing import Any

import structlog

from retic import findings, graph
from retic.findings import catalogue
from retic.identity import clock
from retic.kube import leading, settings, work
from retic.mesh import faults, gateways, governed, tables, verdicts
from retic.objects import KINDS, gateway, routes
from retic.sources import api, store

Json = dict[str, Any]
log = structlog.get_logger(__name__)

RENEWED = 1800.0
"""Seconds after which an error that lasts is told again."""
AGAIN = 60.0
"""Seconds between two looks at a policy that has not changed."""
_LONGEST_NOTE = 1000
_LONGEST_NAME = 200


class Events:
    """Follows objects of the kinds that have a status."""

    def __init__(
        self, client: leading.Client, mesh: graph.Graph, kept: store.Store, time: clock.Clock, told: settings.Settings
    ) -> None:
        self._api, self._mesh, self._kept, self._time, self._told = client, mesh, kept, time, told
        self._watches: dict[findings.Ref, graph.Watch[faults.Faults]] = {}
        self._said: dict[str, datetime.datetime] = {}
        self._count: dict[str, int] = {}
        self._rate = work.Rate(5, 25, time)
        self.queue = work.Queue("events", self._write, time, workers=2)

    def follow(self, refs: Iterable[findings.Ref]) -> None:
        """These objects have changed, have come or have gone."""
        for ref in refs:
            if ref.kind not in governed.WITH_STATUS:
                continue
            if ref not in self._kept.objects:
                watch = self._watches.pop(ref, None)
                if watch is not None:
                    watch.close()
                continue
            if ref not in self._watches and ref.kind not in governed.POLICIES:
                self._watches[ref] = self._mesh.watch(faults.of, ref, ready=self._ready(ref))
            self.queue.add(ref)

    def _ready(self, ref: findings.Ref) -> Any:
        def ready(_: Any) -> None:
            self.queue.add(ref)

        return ready

    def close(self) -> None:
        """Watch nothing any more."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    async def _write(self, ref: findings.Ref) -> None:
        value = self._kept.objects.get(ref)
        if value is not None and ref.kind in governed.POLICIES:
            self.queue.after(ref, AGAIN)
        if value is None or not value.metadata.uid or not self._ours(ref, value):
            return
        lasting = False
        for fault in self._mesh.ask(faults.of, ref):
            code = catalogue.CODES[fault.code]
            if code.severity is findings.Severity.ERROR:
                lasting = True
                await self._tell(fault, code, value.metadata.uid)
        if lasting:
            self.queue.after(ref, RENEWED)

    def _ours(self, ref: findings.Ref, value: Any) -> bool:
        if isinstance(value, gateway.Gateway):
            return self._mesh.ask(gateways.ours, value.spec.gateway_class_name)
        if isinstance(value, gateway.GatewayClass):
            return value.spec.controller_name == tables.CONTROLLER
        if isinstance(value, routes.HTTPRoute | routes.GRPCRoute):
            return bool(self._mesh.ask(verdicts.parents, ref))
        return self._mesh.ask(governed.is_concerned, ref)

    async def _tell(self, fault: findings.Fault, code: catalogue.Code, uid: str) -> None:
        content = f"{uid}/{fault.code}/{fault.path}/{fault.message}"
        name = f"{fault.object.name[:_LONGEST_NAME]}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        now = self._time.now()
        last = self._said.get(name)
        if last is not None and (now - last).total_seconds() < RENEWED:
            return
        await self._rate.take()
        space = fault.object.namespace or "default"
        path = f"/apis/events.k8s.io/v1/namespaces/{space}/events"
        try:
            await self._api.create(path, self._event(fault, code, uid, name, now))
        except api.ApiError as error:
            if error.status == 404 or error.reason == "NotFound" or "being terminated" in error.message:
                return  # the namespace is going
            if error.status != 409:
                raise
            await self._again(f"{path}/{name}", name, now)
        self._said[name] = now
        if len(self._said) > 10_000:
            self._said = {k: v for k, v in self._said.items() if (now - v).total_seconds() < RENEWED}
            self._count = {k: v for k, v in self._count.items() if k in self._said}

    async def _again(self, path: str, name: str, now: datetime.datetime) -> None:
        """The event is there, of ours or of a leader before; the count is this leader's own."""
        count = self._count[name] = self._count.get(name, 1) + 1
        await self._api.patch(path, {"series": {"count": count, "lastObservedTime": _micro(now)}})

    def _event(
        self, fault: findings.Fault, code: catalogue.Code, uid: str, name: str, now: datetime.datetime
    ) -> Json:
        space = fault.object.namespace or "default"
        regarding = {
            "apiVersion": KINDS[fault.object.kind].api_versions[0], "kind": fault.object.kind,
            "name": fault.object.name, "uid": uid, "fieldPath": fault.path,
        }  # fmt: skip
        if fault.object.namespace:
            regarding["namespace"] = fault.object.namespace
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": space},
            "eventTime": _micro(now),
            "type": "Warning",
            "reason": fault.code,
            "action": "Analyze",
            "note": f"{fault.path}: {fault.message}: {fault.fix} ({code.url})"[:_LONGEST_NOTE],
            "reportingController": tables.CONTROLLER,
            "reportingInstance": self._told.pod[:128],
            "regarding": regarding,
        }  # fmt: skip


def _micro(when: datetime.datetime) -> str:
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
