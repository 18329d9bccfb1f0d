"""A node's proxy memory at growing numbers of pods that only sleep, each of which has made one request."""

import pathlib
import re

import msgspec
from tools.bench import manifests, mesh, options, places, ports, spread, table

AIM_MB = 0.3
"""Resident memory of one further pod, in MB (10**6 bytes)."""


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
    """Measure at each number of pods, the smallest first, in one Envoy."""
    found: dict[int, Memory] = {}
    asked: set[tuple[str, str]] = set()
    with mesh.up(folder / "memory", objects(given.pods[0])) as retic:
        address, pid = retic.services()["far"], retic.envoys()["node-1"]
        for count in given.pods:
            manifests.write(retic.file, objects(count))
            retic.settle(pods=count + 1)
            _ask_all(retic.pods(), asked, address)
            found[count] = of(pid)
    return [_table(found)]


def _ask_all(pods: dict[tuple[str, str], places.Place], asked: set[tuple[str, str]], address: str) -> None:
    new = {key: place for key, place in pods.items() if key not in asked and key[1].startswith("sleeper-")}
    command = [ports.PYTHON, "-S", "-m", "tools.bench.ask", "first", address, str(ports.Protocol.HTTP1.port)]
    for key, place in new.items():
        place.run(command, seconds=60)
        asked.add(key)


def _table(found: dict[int, Memory]) -> table.Table:
    rows, missed = [], []
    before: tuple[int, Memory] | None = None
    for count, memory in found.items():
        slope = ("", "", "")
        if before is not None:
            more = count - before[0]
            resident = (memory.resident - before[1].resident) / more
            anonymous = (memory.anonymous - before[1].anonymous) / more
            verdict = spread.MET if resident <= AIM_MB else spread.MISSED
            slope = (f"{resident:.3f}", f"{anonymous:.3f}", verdict)
            if verdict == spread.MISSED:
                missed.append(
                    f"proxy memory, {before[0]} to {count} pods: {resident:.3f} MB for each further pod; "
                    f"the aim is at most {AIM_MB}"
                )
        rows.append((str(count), f"{memory.resident:.1f}", f"{memory.anonymous:.1f}", *slope))
        before = (count, memory)
    head = (
        "pods", "resident MB", "anonymous MB", f"resident MB per further pod (aim: {AIM_MB})",
        "anonymous MB per further pod", "verdict",
    )  # fmt: skip
    return table.Table("Memory of a node's Envoy", head, tuple(rows), tuple(missed))
