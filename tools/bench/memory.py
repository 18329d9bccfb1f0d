"""A node's proxy memory at several numbers of pods that only sleep, each of which has made one request."""

import pathlib
import re

import msgspec
from tools.bench import manifests, mesh, options, ports, spread, table

AIM_MB = 0.3
"""Resident memory of one further pod, in MB (10**6 bytes)."""

_ASK = [ports.PYTHON, "-S", "-m", "tools.bench.ask"]


class Memory(msgspec.Struct, frozen=True):
    """Of one process, in MB."""

    resident: float
    anonymous: float


def of(pid: int) -> Memory:
    """What /proc/PID/status says (proc(5))."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()

    def megabytes(field: str) -> float:
        found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None, f"no {field} in /proc/{pid}/status"
        return int(found[1]) * 1024 / 1e6

    return Memory(megabytes("VmRSS"), megabytes("RssAnon"))


def objects(count: int) -> list[manifests.Object]:
    """`count` sleepers on node 1; what they ask is on node 2."""
    return [
        manifests.server("far", "node-2"),
        manifests.service("far", "far", ports.Protocol.HTTP1),
        manifests.sleepers(count, "node-1"),
    ]


def run(folder: pathlib.Path, given: options.Options) -> list[table.Table]:
    """Measure each number of pods, each in a mesh of its own."""
    return [_table({count: _measure(folder / f"memory-{count}", count) for count in given.pods})]


def _measure(folder: pathlib.Path, count: int) -> Memory:
    with mesh.up(folder, objects(count)) as retic:
        address = retic.services()["far"]
        for (_, name), place in retic.pods().items():
            if name.startswith("sleeper-"):
                place.run([*_ASK, "first", address, str(ports.Protocol.HTTP1.port)], seconds=60)
        return of(retic.envoys()["node-1"])


def _table(found: dict[int, Memory]) -> table.Table:
    """Slopes are against the smallest mesh; the largest one's is held against the aim."""
    rows, missed = [], []
    (least, base), *_ = found.items()
    for count, memory in found.items():
        cells = ("", "", "")
        if count != least:
            further = _slope(base, memory, count - least)
            verdict = spread.MET if further.resident <= AIM_MB else spread.MISSED
            cells = (f"{further.resident:.3f}", f"{further.anonymous:.3f}", verdict if count == max(found) else "")
            if cells[-1] == spread.MISSED:
                missed.append(
                    f"proxy memory, {least} to {count} pods: {further.resident:.3f} MB for each further pod; "
                    f"the aim is at most {AIM_MB}"
                )
        rows.append((str(count), f"{memory.resident:.1f}", f"{memory.anonymous:.1f}", *cells))
    head = (
        "pods", "resident MB", "anonymous MB", f"resident MB per further pod (aim: {AIM_MB})",
        "anonymous MB per further pod", "verdict",
    )  # fmt: skip
    return table.Table("Memory of a node's Envoy", head, tuple(rows), tuple(missed))


def _slope(less: Memory, more: Memory, pods: int) -> Memory:
    return Memory((more.resident - less.resident) / pods, (more.anonymous - less.anonymous) / pods)
