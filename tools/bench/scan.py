"""What a pod that scans does to its node: a neighbour's latency meanwhile, and what the proxy grows by.

Three cases in each round, in an order that changes: nobody scans; a pod scans that has used up what it may
reach for, so that the kernel refuses all of it; a pod scans that has reached for nothing yet. The second tells
what the scanner itself takes of the shared processors, whatever the mesh does.
"""

import pathlib
import random
import subprocess
import sys
from collections.abc import Sequence

import msgspec
from tools.bench import generators, manifests, memory, mesh, options, places, ports, spread, table

RATE, ADDRESSES, PORTS = 1000, 100, 100
_CALM, _REFUSED, _SCAN = "nobody scans", "scan, all of it refused", "scan, first of its pod"
_SCANNER = [ports.PYTHON, "-m", "retic.testing.scan"]
# Enough to fill a pod's set of destinations at the pace at which new ones are let through.
_FILL = ["10.96.200.1", "100", "60", "150", "40"]


class Case(msgspec.Struct):
    """One case's rounds: p99 in ms, growth of the proxy in MB."""

    p99: list[float] = msgspec.field(default_factory=list)
    grown: list[float] = msgspec.field(default_factory=list)


def objects(scanners: int) -> list[manifests.Object]:
    """A client and a server, and pods of which each scans once; all of them on one node."""
    http1 = ports.Protocol.HTTP1
    sleep = [manifests.container("sleep", manifests.SLEEP)]
    return [
        manifests.pod("client", "node-1", sleep),
        manifests.server("near", "node-1"),
        manifests.service("near", "near", http1),
        *(manifests.pod(_pod(number), "node-1", sleep) for number in range(scanners + 1)),
    ]


def _pod(number: int) -> str:
    return f"scanner-{number}"


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """All rounds in one mesh. RuntimeError when a neighbour's request fails."""
    seconds = given.scan_seconds
    with mesh.up(folder / "scan", objects(given.rounds)) as retic:
        pods, pid = retic.pods(), retic.envoys()["node-1"]
        client = pods["default", "client"]
        path = generators.Path("near", client, retic.services()["near"], (pid,))
        spent = pods["default", _pod(given.rounds)]
        spent.run([*_SCANNER, *_FILL], seconds=90)
        cases = {name: Case() for name in (_CALM, _REFUSED, _SCAN)}
        order = random.Random(1)
        for number in range(given.rounds):
            fresh = pods["default", _pod(number)]
            scanners = {_CALM: None, _REFUSED: spent, _SCAN: fresh}
            for name in order.sample(list(cases), len(cases)):
                _round(cases[name], path, scanners[name], number, seconds)
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
    return [_table(cases, seconds)]


def _round(case: Case, path: generators.Path, scanner: places.Place | None, number: int, seconds: int) -> None:
    before = memory.of(path.proxies[0]).resident
    with places.Crew() as crew:
        if scanner is not None:
            words = [f"10.96.{100 + number}.1", str(ADDRESSES), str(PORTS), str(RATE), str(seconds + 1)]
            crew.add(scanner.popen([*_SCANNER, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        load = generators.steady(path, ports.Protocol.HTTP1, seconds)
    case.p99.append(load.p99)
    case.grown.append(memory.of(path.proxies[0]).resident - before)


def _table(cases: dict[str, Case], seconds: int) -> table.Table:
    rows = []
    for name, case in cases.items():
        ratio: Sequence[str] = ("", "", "", "")
        if name != _CALM:
            calm = spread.ratios(case.p99, cases[_CALM].p99)
            ratio = (calm.text(), spread.against_one(calm), "", "")
        if name == _SCAN:
            mere = spread.ratios(case.p99, cases[_REFUSED].p99)
            ratio = (*ratio[:2], mere.text(), spread.against_one(mere))
        rows.append((name, spread.of(case.p99).text(), *ratio, f"{spread.of(case.grown).median:.1f}"))
    head = (
        "case", "p99 ms of a neighbour", "to nobody scanning", "verdict", "to the refused scan", "verdict",
        "MB more in the proxy",
    )  # fmt: skip
    title = f"A pod scans {min(ADDRESSES * PORTS, RATE * (seconds + 1)):,} destinations, {RATE:,} a second"
    return table.Table(title, head, tuple(rows))
