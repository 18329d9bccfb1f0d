"""What each thing that may be switched on costs: processor time per request, and Envoy's memory per further pod.

Every case (`cases`) has a client, a server and a Service of its own, alike and on one node, so that one Envoy is the
proxy of both; they are measured in interleaved rounds, and each is held against the mesh as it comes. Memory is that of
a node with pods that only sleep: with a case and without it in turn.
"""

import pathlib
import random
import statistics
import sys
from collections.abc import Mapping, Sequence

import msgspec
from tools.bench import cases, collector, generators, manifests, mesh, options, ports, spread, table

from retic.testing import wait

_HTTP1 = ports.Protocol.HTTP1
_NODE = "node-1"
_ASK = [ports.PYTHON, "-S", "-m", "tools.bench.ask", "first"]
_TIMES = 6
SLEEPERS = cases.Ends(service="far", callers="sleeper", called="sleeper")


class Cost(msgspec.Struct):
    """A case's rounds: loads, and bytes more of memory for each pod."""

    saturated: list[generators.Load] = msgspec.field(default_factory=list)
    steady: list[generators.Load] = msgspec.field(default_factory=list)
    bytes: list[float] = msgspec.field(default_factory=list)


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """All cases in one mesh, then their memory in another. RuntimeError when a manifest of theirs is not in order."""
    costs = {case.name: Cost() for case in cases.CASES}
    collector.built()
    beside = collector.objects(folder / "costs-collector")
    with mesh.up(folder / "costs", [*objects(), *beside]) as retic:
        _in_order(retic)
        _loads(retic, costs, given)
    with mesh.up(folder / "costs-memory", sleepers(1, *beside)) as retic:
        _memory(retic, costs, given, beside)
    return [_processor(costs), _grown(costs, given.pods[-1])]


def objects() -> list[manifests.Object]:
    """A client, a server and a Service for each case, and what switches it on."""
    found: list[manifests.Object] = []
    for number, case in enumerate(cases.CASES):
        client, server = f"client-{number}", f"server-{number}"
        found += [
            manifests.pod(client, _NODE, [manifests.container("sleep", manifests.SLEEP)]),
            manifests.pod(server, _NODE, [manifests.container("server", _HTTP1.server())]),
            manifests.service(server, server, _HTTP1),
            *case.made(cases.Ends(service=server, callers=client, called=server)),
        ]
    return found


def sleepers(count: int, *more: manifests.Object) -> list[manifests.Object]:
    """Pods that only sleep, one beside them that asks, and on the other node whom it asks."""
    asking = manifests.pod("client", _NODE, [manifests.container("sleep", manifests.SLEEP)])
    far = manifests.pod("far", "node-2", [manifests.container("server", _HTTP1.server())])
    return [asking, far, manifests.service("far", "far", _HTTP1), manifests.sleepers(count, _NODE), *more]


def _in_order(retic: mesh.Mesh) -> None:
    if faults := retic.faults():
        raise RuntimeError(f"the bench's own manifests have faults: {'; '.join(faults)[:500]}")


def _loads(retic: mesh.Mesh, costs: dict[str, Cost], given: options.Options) -> None:
    """Every case in each round, in an order of its own; the first round warms up."""
    pods, addresses, envoy, others = retic.pods(), retic.services(), retic.envoys()[_NODE], retic.others(_NODE)
    paths = {
        case.name: generators.Path(
            case.name, pods["default", f"client-{number}"], addresses[f"server-{number}"], (envoy,), others
        )
        for number, case in enumerate(cases.CASES)
    }
    order = random.Random(1)
    for number in range(-1, given.rounds):
        for case in order.sample(cases.CASES, len(cases.CASES)):
            with case.on(retic):
                load = generators.saturate(paths[case.name], _HTTP1, given.seconds)
            if number >= 0:
                costs[case.name].saturated.append(load)
        for case in order.sample(cases.CASES, len(cases.CASES)) if number >= 0 else ():
            with case.on(retic):
                costs[case.name].steady.append(generators.steady(paths[case.name], _HTTP1, given.seconds))
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)


def _memory(
    retic: mesh.Mesh, costs: dict[str, Cost], given: options.Options, beside: Sequence[manifests.Object]
) -> None:
    """Without a case and with it in turn. What pods take as they come is against one pod."""
    count, order = given.pods[-1], random.Random(2)
    first, *others = cases.CASES
    one = _allocated(retic, 1)
    retic.edit(sleepers(count, *beside))
    costs[first.name].bytes.append((_allocated(retic, count) - one) / (count - 1))
    for number in range(max(1, given.rounds // 2)):
        for case in order.sample(others, len(others)):
            retic.edit(sleepers(count, *beside))
            bare = _allocated(retic, count)
            retic.edit(sleepers(count, *beside, *case.made(SLEEPERS)))
            _in_order(retic)
            with case.on(retic):
                costs[case.name].bytes.append((_allocated(retic, count) - bare) / count)
        print(f"memory, round {number + 1}", file=sys.stderr, flush=True)


def _allocated(retic: mesh.Mesh, count: int) -> int:
    """Bytes of the node's Envoy, with so many sleepers. One pod has asked for what is fetched on demand, often enough
    to have a connection from each thread; the sleepers have none: each is larger than what is measured here."""
    wait.until(lambda: _sleeping(retic, count), f"{count} pods that sleep", 120)
    address, client = retic.services()["far"], retic.pods()["default", "client"]
    for _ in range(_TIMES):
        client.run([*_ASK, address, str(_HTTP1.port)], seconds=60)
    return retic.allocated(_NODE)


def _sleeping(retic: mesh.Mesh, count: int) -> bool:
    """Whether so many sleepers are ready, and no more are there."""
    found = {key for key in retic.pods() if key[1].startswith("sleeper-")}
    return len(found) == count and found <= retic.ready()


def _processor(costs: Mapping[str, Cost]) -> table.Table:
    base = costs[cases.CASES[0].name]
    rows = []
    for name, cost in costs.items():
        cells: list[str] = [name]
        for found, to in ((cost.saturated, base.saturated), (cost.steady, base.steady)):
            ratio = spread.ratios(_cpu(found), _cpu(to))
            compared = ("", "") if cost is base else (ratio.text(3), spread.against_one(ratio))
            cells += [f"{spread.of(_cpu(found)).median:.1f}", *compared]
        # Of little time the clock's steps are a large part: the mean has them evened out.
        cells.append(f"{statistics.fmean(one.others_us for one in cost.steady):.1f}")
        rows.append(tuple(cells))
    head = (
        "case", "CPU µs/request", "ratio to the first: median (least; quartiles)", "verdict",
        f"at {generators.RATE:g}/s", "ratio to the first", "verdict", "agent and control plane, at that rate: mean",
    )  # fmt: skip
    return table.Table("What is switched on (HTTP/1 over mTLS, both pods on one node)", head, tuple(rows))


def _cpu(loads: Sequence[generators.Load]) -> list[float]:
    return [one.cpu_us for one in loads]


def _grown(costs: Mapping[str, Cost], pods: int) -> table.Table:
    rows = []
    for number, (name, cost) in enumerate(costs.items()):
        kilobytes = spread.of([one / 1000 for one in cost.bytes])
        rows.append((name, kilobytes.text(1), "" if number == 0 else "more than the first"))
    head = ("case", "kB for each pod: median (least; quartiles)", "")
    return table.Table(f"Memory that a node's Envoy has allocated, {pods} pods", head, tuple(rows))
