"""Throughput, processor time and latency of the paths with and without Retic, interleaved."""

import contextlib
import pathlib
import random
import sys
from collections.abc import Iterator, Sequence

import msgspec
from tools.bench import generators, handmade, manifests, mesh, options, ports, spread, table

AIM = 1.1
"""Processor time per request, at most this many times that of the pair configured by hand."""

PLACES = ("near", "far")
Key = tuple[str, ports.Protocol]


class Series(msgspec.Struct):
    """What one path gave with one protocol, a value per round."""

    saturated: list[generators.Load] = msgspec.field(default_factory=list)
    steady: list[generators.Load] = msgspec.field(default_factory=list)


Measured = dict[Key, Series]


def objects() -> list[manifests.Object]:
    """A client, and a server on its node and on the other."""
    everything = tuple(ports.Protocol)
    return [
        manifests.pod("client", "node-1", [manifests.container("sleep", manifests.SLEEP)]),
        manifests.server("near", "node-1"),
        manifests.server("far", "node-2"),
        manifests.service("near", "near", *everything),
        manifests.service("far", "far", *everything),
    ]


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Measure and compare."""
    with all_paths(folder) as paths:
        measured = rounds(paths, given)
    return [_levels(measured), _against_pair(measured), _against_nothing(measured)]


@contextlib.contextmanager
def all_paths(folder: pathlib.Path) -> Iterator[list[generators.Path]]:
    """Six paths; the pairs have as many worker threads in all as Retic's Envoys between the same places."""
    with mesh.up(folder / "paths", objects()) as retic:
        of_retic = retic.paths()
        near, far = (max(1, sum(map(mesh.workers, path.proxies)) // 2) for path in of_retic)
        with handmade.started(folder, handmade.PODS) as bench:
            yield [*handmade.paths(bench, near=near, far=far), *of_retic]


def rounds(paths: Sequence[generators.Path], given: options.Options) -> Measured:
    """Every path with every protocol in each round, in an order of its own; the first round warms up."""
    measured: Measured = {(path.name, protocol): Series() for path in paths for protocol in ports.Protocol}
    order = random.Random(1)
    for protocol in ports.Protocol:
        for path in paths:
            generators.saturate(path, protocol, 1)
    for number in range(given.rounds):
        for protocol in ports.Protocol:
            for path in order.sample(paths, len(paths)):
                load = generators.saturate(path, protocol, given.seconds)
                measured[path.name, protocol].saturated.append(load)
            for path in order.sample(paths, len(paths)):
                load = generators.steady(path, protocol, given.seconds)
                measured[path.name, protocol].steady.append(load)
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
    return measured


def _levels(measured: Measured) -> table.Table:
    rows = []
    for (name, protocol), series in sorted(measured.items(), key=lambda item: item[0][1].port):
        middle = {
            "rate": spread.of([x.rate for x in series.saturated]).median,
            "cpu": spread.of([x.cpu_us for x in series.saturated]).median,
            "slow": spread.of([x.cpu_us for x in series.steady]).median,
            "p50": spread.of([x.p50 for x in series.steady]).median,
            "p99": spread.of([x.p99 for x in series.steady]).median,
        }
        rows.append((
            protocol.title, name, f"{middle['rate']:,.0f}", f"{middle['cpu']:.0f}", f"{middle['slow']:.0f}",
            f"{middle['p50']:.2f}", f"{middle['p99']:.2f}",
        ))  # fmt: skip
    head = (
        "protocol", "path", "requests/s", "CPU µs/request",
        f"CPU µs/request at {generators.RATE:.0f}/s", "p50 ms", "p99 ms",
    )  # fmt: skip
    return table.Table("Paths: medians of all rounds", head, tuple(rows))


def _against_pair(measured: Measured) -> table.Table:
    rows: list[tuple[str, ...]] = []
    missed = []
    for protocol in ports.Protocol:
        for place in PLACES:
            ours = measured[f"Retic, {place}", protocol]
            theirs = measured[f"{handmade.PAIR}, {place}", protocol]
            cpu = spread.ratios([x.cpu_us for x in ours.saturated], [x.cpu_us for x in theirs.saturated])
            verdict = spread.against(cpu, AIM)
            if verdict == spread.MISSED:
                missed.append(
                    f"CPU per request, {protocol.title}, {place}: {cpu.median:.2f} times the pair's; "
                    f"the aim is at most {AIM}"
                )
            rows.append((protocol.title, place, f"CPU per request (aim: at most {AIM})", cpu.text(), verdict))
            rows.extend((protocol.title, place, *rest) for rest in _others(ours, theirs))
    head = ("protocol", "place", "Retic / hand-written pair", "median (least; quartiles)", "verdict")
    return table.Table("Retic against the hand-written pair", head, tuple(rows), tuple(missed))


def _against_nothing(measured: Measured) -> table.Table:
    rows: list[tuple[str, ...]] = []
    for protocol in ports.Protocol:
        for place in PLACES:
            ours = measured[f"Retic, {place}", protocol]
            none = measured[f"{handmade.PLAIN}, {place}", protocol]
            rows.extend((protocol.title, place, *rest) for rest in _others(ours, none))
    head = ("protocol", "place", "Retic / no mesh", "median (least; quartiles)", "verdict")
    return table.Table("Retic against no mesh", head, tuple(rows))


def _others(ours: Series, theirs: Series) -> Iterator[tuple[str, str, str]]:
    pairs = {
        "requests/s": ([x.rate for x in ours.saturated], [x.rate for x in theirs.saturated]),
        "p50": ([x.p50 for x in ours.steady], [x.p50 for x in theirs.steady]),
        "p99": ([x.p99 for x in ours.steady], [x.p99 for x in theirs.steady]),
    }
    for name, (mine, other) in pairs.items():
        ratio = spread.ratios(mine, other)
        yield name, ratio.text(), spread.against_one(ratio)
