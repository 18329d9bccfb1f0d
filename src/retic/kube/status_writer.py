"""Writes the status of Gateway API kinds and of policies: one writer, on the leader, and only what differs.

What is wanted comes from `status_*`, what stands there from the store. A write is preceded by a fresh read and
carries its resourceVersion: who wrote in between is not overwritten. Where somebody else writes the same fields
again and again, this writer gives way with growing pauses and says so.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from retic import findings, graph, objects
from retic.findings import catalogue
from retic.identity import clock
from retic.kube import (
    conditions,
    leading,
    live,
    paths,
    requests,
    status_class,
    status_gateway,
    status_policy,
    status_route,
    work,
)
from retic.mesh import gateways, governed, tables, verdicts, workloads
from retic.objects import gateway, routes
from retic.sources import api, store

Json = dict[str, Any]
log = structlog.get_logger(__name__)

_TRIES = 5
_OFTEN, _SELDOM = 0.5, 30.0
"""Seconds between two questions to the other replicas about an object that is not live everywhere."""
CONTESTED = 3
"""So many times in a row may somebody undo a write before it counts as a contest."""
AGAIN = 15.0
"""Seconds between two looks at a policy that has not changed: what it is for may have."""
FIRST, LONGEST = 5.0, 300.0
"""Seconds of pause in a contest."""


class Gateways(msgspec.Struct, frozen=True):
    """What is known of a Gateway's objects (gateway_writer.GatewayWriter)."""

    asked: Callable[[gateway.Gateway], requests.Asked | requests.Problem]
    addresses: Callable[[tables.Key], status_gateway.Addresses]


class _Contest(msgspec.Struct):
    """`undone`: how often in a row a write was undone; `last` is when, `not_before` when to write again."""

    written: bytes = b""
    undone: int = 0
    last: datetime.datetime = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    not_before: datetime.datetime | None = None


Far = Callable[[findings.Ref, int, findings.Ref | None], Awaitable["live.Live | None"]]
"""How far the proxies of a parent, or all of them, are with a generation of an object; None: not known yet."""


class StatusWriter:
    """`bundle` gives the version of the Gateway API's CRDs, None while it is not known."""

    def __init__(
        self, client: leading.Client, mesh: graph.Graph, kept: store.Store, made: Gateways, far: Far,
        bundle: Callable[[], str | None], time: clock.Clock,
    ) -> None:  # fmt: skip
        self._api, self._mesh, self._kept, self._made, self._far = client, mesh, kept, made, far
        self._bundle, self._time = bundle, time
        # Of their own: a cluster may have thousands of policies, and a Gateway is not to wait for them.
        self._rates = {False: work.Rate(20, 50, time), True: work.Rate(10, 50, time)}
        self._contests: dict[findings.Ref, _Contest] = {}
        self._watches: dict[findings.Ref, list[graph.Watch[Any]]] = {}
        self._open: dict[findings.Ref, datetime.datetime] = {}
        self.queue = work.Queue("status", self._write, time)
        self.policies = work.Queue("status of policies", self._write, time, workers=2)
        self.writes = 0

    @property
    def found(self) -> tuple[findings.Finding, ...]:
        """Objects whose status somebody else writes too."""
        return tuple(
            catalogue.finding(
                findings.Fault(
                    "RT0602", ref, "status",
                    "another controller keeps overwriting the status that Retic writes here",
                    "find it with `kubectl get -o yaml --show-managed-fields` and stop one of the two",
                ),
                "", 0,
            )
            for ref, contest in sorted(self._contests.items())
            if contest.undone >= CONTESTED
        )  # fmt: skip

    def follow(self, refs: Iterable[findings.Ref]) -> None:
        """These objects have changed, have come or have gone."""
        for ref in refs:
            if ref.kind not in governed.WITH_STATUS:
                continue
            if ref in self._kept.objects:
                self._watch(ref)
            else:
                for watch in self._watches.pop(ref, ()):
                    watch.close()
                self._contests.pop(ref, None)
                self._open.pop(ref, None)
            self._queue(ref).add(ref)

    async def run(self) -> None:
        """Write, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run())
            group.create_task(self.policies.run())

    def _queue(self, ref: findings.Ref) -> work.Queue[findings.Ref]:
        return self.policies if ref.kind in governed.POLICIES else self.queue

    def advanced(self, refs: Iterable[findings.Ref]) -> None:
        """Proxies are further with these objects, or with others that they were not through with."""
        for ref in {*refs, *(each for each in self._open if each.kind not in governed.POLICIES)}:
            self._queue(ref).add(ref)

    def close(self) -> None:
        """Watch nothing any more."""
        for watches in self._watches.values():
            for watch in watches:
                watch.close()
        self._watches.clear()

    def _watch(self, ref: findings.Ref) -> None:
        if ref in self._watches:
            return

        def ready(_: Any) -> None:
            self._queue(ref).add(ref)

        key = tables.Key(ref.namespace, ref.name)
        if ref.kind == "Gateway":
            found: list[graph.Watch[Any]] = [
                self._mesh.watch(gateways.resolved, key, ready=ready),
                self._mesh.watch(verdicts.listeners, key, ready=ready),
                self._mesh.watch(workloads.accounts_of_gateway, key, ready=ready),
            ]
        elif ref.kind == "GatewayClass":
            found = [self._mesh.watch(gateways.ours, ref.name, ready=ready)]
        elif ref.kind in governed.POLICIES:
            # Not its faults, which many pods may have a part in: they are looked at now and then.
            found = [self._mesh.watch(governed.is_concerned, ref, ready=ready)]
        else:
            found = [
                self._mesh.watch(verdicts.parents, ref, ready=ready),
                self._mesh.watch(status_route.faults, ref, ready=ready),
            ]
        self._watches[ref] = found

    async def _write(self, ref: findings.Ref) -> None:
        value = self._kept.objects.get(ref)
        if value is None or value.metadata.deletion_timestamp:
            return
        generation = value.metadata.generation or 0
        merge = await self._wanted(ref, value, generation)
        if merge is None:
            return
        present = getattr(value, "status", None) or {}
        made = merge(present)
        if made == present:
            return
        await self._put(ref, generation, merge)

    async def _put(self, ref: findings.Ref, generation: int, merge: Callable[[Mapping[str, Any]], Json]) -> None:
        for _ in range(_TRIES):
            path, fresh = await self._read(ref)
            if not path:
                return
            if fresh["metadata"].get("generation", 0) != generation:
                return  # the store will hear of it, and this is called again
            present = fresh.get("status") or {}
            made = merge(present)
            if made == present:
                return
            self._contend(ref, present, made)
            await self._rates[ref.kind in governed.POLICIES].take()
            try:
                await self._api.replace(f"{path}/status", {**fresh, "status": made})
            except api.ApiError as error:
                if error.status == 409:
                    continue
                if error.status == 404:
                    return
                raise
            self.writes += 1
            self._contests.setdefault(ref, _Contest()).written = _essence(made)
            return
        raise work.AgainError(work.FIRST)

    async def _read(self, ref: findings.Ref) -> tuple[str, Json]:
        """An object as it is now, and where; "" when it is gone. Older clusters serve older versions only."""
        for path in paths.of(ref):
            try:
                return path, await self._api.get(path)
            except api.ApiError as error:
                if error.status != 404:
                    raise
        return "", {}

    def _contend(self, ref: findings.Ref, present: Json, made: Json) -> None:
        """Whether a write was undone by somebody else; AgainError while it is not the time to try it again."""
        contest = self._contests.setdefault(ref, _Contest())
        now, wanted = self._time.now(), _essence(made)
        if contest.written != wanted or (now - contest.last).total_seconds() > 2 * LONGEST:
            contest.undone, contest.not_before = 0, None
        if contest.written != wanted or _essence(present) == wanted:
            return
        if contest.undone >= CONTESTED:
            pause = min(LONGEST, FIRST * 2 ** (contest.undone - CONTESTED))
            if contest.not_before is None:
                contest.not_before = now + datetime.timedelta(seconds=pause)
                log.warning("another controller writes this status too", object=str(ref), pause=pause)
            if now < contest.not_before:
                raise work.AgainError((contest.not_before - now).total_seconds())
            contest.not_before = None
        contest.undone, contest.last = contest.undone + 1, now

    async def _wanted(
        self, ref: findings.Ref, value: objects.Object, generation: int
    ) -> Callable[[Mapping[str, Any]], Json] | None:
        now = self._time.now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(value, gateway.GatewayClass):
            if value.spec.controller_name != tables.CONTROLLER:
                return None
            made = status_class.wanted(value, self._bundle())
            return lambda present: status_class.merged(present, made, generation=generation, now=now)
        if isinstance(value, gateway.Gateway):
            return await self._gateway(ref, value, generation, now)
        if isinstance(value, routes.HTTPRoute | routes.GRPCRoute):
            return await self._route(ref, generation, now)
        return await self._policy(ref, getattr(value, "status", None) or {}, generation, now)

    async def _gateway(
        self, ref: findings.Ref, value: gateway.Gateway, generation: int, now: str
    ) -> Callable[[Mapping[str, Any]], Json] | None:
        key = tables.Key(ref.namespace, ref.name)
        far = await self._far(ref, generation, ref)
        made = status_gateway.wanted(self._mesh, key, self._made.asked(value), self._made.addresses(key), far)
        if made is None:
            return None
        self._mark(ref, [far])
        return lambda present: status_gateway.merged(present, made, generation=generation, now=now)

    async def _route(self, ref: findings.Ref, generation: int, now: str) -> Callable[[Mapping[str, Any]], Json] | None:
        targets = {parent.target for parent in self._mesh.ask(verdicts.parents, ref)}
        far = {target: await self._far(ref, generation, target) for target in targets}
        entries = status_route.wanted(self._mesh, ref, far)
        self._mark(ref, far.values())

        def merge(present: Mapping[str, Any]) -> Json:
            if not entries and not present.get("parents"):
                return dict(present)  # nobody's of ours: a status of no entry is not begun
            return status_route.merged(
                present, entries, namespace=ref.namespace, generation=generation, now=now
            )

        return merge

    async def _policy(
        self, ref: findings.Ref, present: Json, generation: int, now: str
    ) -> Callable[[Mapping[str, Any]], Json]:
        made: tuple[conditions.Condition, ...] = ()
        if not self._mesh.ask(governed.is_concerned, ref):
            self._open.pop(ref, None)
        else:
            far = live.ALL if status_policy.is_live(present, generation) else await self._far(ref, generation, None)
            reported = [each for each in self._kept.found if each.object == str(ref)]
            made = status_policy.wanted(self._mesh, ref, reported, None if far is live.ALL else far)
            self._mark(ref, [far])
            self.policies.after(ref, AGAIN)
        return lambda present: status_policy.merged(present, made, generation=generation, now=now)

    def _mark(self, ref: findings.Ref, far: Iterable["live.Live | None"]) -> None:
        """Remember what the proxies are not through with: it is looked at again, less and less often."""
        if all(each is not None and each.total and each.live == each.total for each in far):
            self._open.pop(ref, None)
            return
        age = (self._time.now() - self._open.setdefault(ref, self._time.now())).total_seconds()
        self._queue(ref).after(ref, min(_SELDOM, max(_OFTEN, age / 4)))


def _essence(status: Mapping[str, Any]) -> bytes:
    """A status without times and messages, to tell a contest from progress."""

    def bare(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: bare(v) for k, v in value.items() if k not in ("lastTransitionTime", "message")}
        return [bare(each) for each in value] if isinstance(value, list) else value

    return msgspec.json.encode(bare(status), order="sorted")
