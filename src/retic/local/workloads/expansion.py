"""One pure function from manifests to the objects that a cluster's controllers would make of them.

`expand` is used with processes (whoever runs pods reports their statuses through `World`) and, as
`offline`, without: then readiness is "unknown". It reads no clock, starts nothing, and the same input gives
the same output.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from retic import findings
from retic.local.workloads import (
    accounts,
    bare,
    checks,
    cron,
    daemons,
    gateways,
    jobs,
    names,
    placing,
    pods,
    replicas,
    services,
    slices,
    stateful,
    statuses,
    world,
)
from retic.objects import meta
from retic.objects import pods as structs

_ROUNDS = 1000
replace = msgspec.structs.replace


def identified(values: Iterable[meta.Object]) -> dict[findings.Ref, Any]:
    """Manifest objects by reference, each with a uid, as `expand` wants them."""
    found: dict[findings.Ref, Any] = {}
    for value in values:
        key = pods.ref(value)
        uid = value.metadata.uid or names.uid(key)
        found[key] = replace(value, metadata=replace(value.metadata, uid=uid))
    return found


def expand(
    given: Mapping[findings.Ref, Any], previous: world.World, *, nodes: tuple[str, ...], now: float
) -> world.World:
    """The next world: what controllers make of `given`, starting from `previous`, until nothing moves.

    `now` is in seconds since 1970. Raises RuntimeError when controllers chase each other: a fault of ours.
    """
    bench = world.Bench(given, previous, nodes=nodes, now=now)
    accounts.defaults(bench)
    placing.nodes(bench)
    for _ in range(_ROUNDS):
        bench.changed = False
        bench.wake = None
        _collect(bench)
        for kind, control in _CONTROLLERS:
            for value in bench.every(kind):
                control(bench, value)
        gateways.gateways(bench)
        placing.place(bench)
        if not bench.changed:
            break
    else:
        raise RuntimeError("controllers do not come to rest")
    statuses.statuses(bench)
    services.services(bench)
    slices.slices(bench)
    checks.checks(bench)
    bare.checks(bench)
    return bench.result()


def _bare(bench: world.Bench, value: structs.Pod) -> None:
    if pods.ref(value) in bench.given:
        bare.pod(bench, bench.given[pods.ref(value)])


_CONTROLLERS: tuple[tuple[str, Callable[[world.Bench, Any], None]], ...] = (
    # First, so that a controller that takes such a pod makes one fewer.
    ("Pod", _bare),
    ("CronJob", cron.cron_job),
    ("Deployment", replicas.deployment),
    ("ReplicaSet", replicas.replica_set),
    ("StatefulSet", stateful.stateful_set),
    ("DaemonSet", daemons.daemon_set),
    ("Job", jobs.job),
)


def _collect(bench: world.Bench) -> None:
    """The garbage collector: what has lost its owner goes, pods by ending."""
    while True:
        living = {value.metadata.uid for value in (*bench.given.values(), *bench.made.values())}
        orphans = [
            (key, value)
            for key, value in bench.made.items()
            if (key.kind in ("ReplicaSet", "Job") and _orphan(value, living))
        ]
        for key, _ in orphans:
            bench.drop(key)
            bench.notes.pop(key, None)
        if not orphans:
            break
    for key, pod in [(key, value) for key, value in bench.made.items() if key.kind == "Pod"]:
        unwritten = pods.controller(pod) is None and key not in bench.given
        if unwritten or _orphan(pod, living):
            bench.end(pod)
    for key in [key for key in bench.notes if key not in bench.given and key not in bench.made]:
        del bench.notes[key]


def _orphan(value: meta.Object, living: set[str | None]) -> bool:
    owner = pods.controller(value)
    return owner is not None and owner.uid not in living


def offline(
    given: Mapping[findings.Ref, Any], *, nodes: tuple[str, ...] = ("node-1",), now: float = 0.0
) -> world.World:
    """The world once everything that can run runs, with readiness "unknown": for analysis without processes."""
    current = world.World()
    for _ in range(_ROUNDS):
        following = expand(given, current, nodes=nodes, now=now)
        grown = following
        for key, pod in following.pods.items():
            if pods.ending(pod):
                grown = grown.without(key, pod.metadata.uid or "")
            elif pod.status.pod_ip and not pods.ready(pod):
                status = pods.ready_replaced(pod, "Ready", status="True").status
                grown = grown.with_status(key, pod.metadata.uid or "", replace(status, phase="Running"))
        current = grown
        if grown == following:
            break
    for key, pod in current.pods.items():
        if pods.ready(pod):
            status = pods.ready_replaced(pod, "Ready", status="Unknown").status
            current = current.with_status(key, pod.metadata.uid or "", replace(status, phase="Pending"))
    return _unknown(given, current, nodes, now)


def _unknown(
    given: Mapping[findings.Ref, Any], current: world.World, nodes: tuple[str, ...], now: float
) -> world.World:
    """The same pods, with slices written anew: a rollout must not start because readiness is unknown."""
    bench = world.Bench(given, current, nodes=nodes, now=now)
    statuses.forget(bench)
    slices.slices(bench)
    bench.faults = dict.fromkeys(current.faults)
    return bench.result()
