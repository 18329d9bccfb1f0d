"""`retic analyze`: what is wrong with manifests, without running them."""

import datetime
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from retic import findings
from retic.cli import failure, show
from retic.explain import places

if TYPE_CHECKING:
    from retic.sources import model

_NODE = re.compile(r"node-[1-9][0-9]{0,2}")


def run(files: Sequence[pathlib.Path], *, as_json: bool) -> int:
    """Print the findings; 1 when one of them is an error, else 0.

    Raises Failure for a missing path, and, as `kubectl apply` fails then, when no object was found and nothing
    printed says why.
    """
    from retic.sources import manifests, paths

    missing = [str(path) for path in paths.absent(files)]
    if missing:
        raise failure.Failure(f"{', '.join(missing)}: no such file or folder", code=2)
    loaded = manifests.load(files)
    found = examine(loaded)
    if as_json:
        show.json({"findings": found})
    else:
        show.print_findings(found)
    wrong = any(one.severity is findings.Severity.ERROR for one in found)
    if not loaded.objects and not wrong:
        raise failure.Failure(f"no Kubernetes object in {', '.join(map(str, files))}")
    return int(wrong)


def examine(loaded: "model.Loaded") -> tuple[findings.Finding, ...]:
    """The faults of form, of what controllers make of the objects, and of meaning, in the files' order."""
    from retic import wiring
    from retic.local import workloads
    from retic.mesh import faults
    from retic.sources import certificates

    given = workloads.identified(located.object for located in loaded.objects)
    world = workloads.offline(given, nodes=_nodes(given))
    objects = world.listed(given)
    mesh = wiring.offline(objects.values())
    meant = [fault for ref in objects for fault in mesh.ask(faults.of, ref)]
    positions = {located.ref: located.position for located in loaded.objects}
    lapsed = certificates.lapsed(given, positions, datetime.datetime.now(datetime.UTC))
    return places.ordered([*loaded.findings, *lapsed, *places.located([*world.faults, *meant], positions)])


def _nodes(given: Iterable[findings.Ref]) -> tuple[str, ...]:
    """As many nodes as manifests name (node-1, node-2 ...), at least one."""
    numbers = [
        int(ref.name.removeprefix("node-"))
        for ref in given
        if ref.kind == "Node" and _NODE.fullmatch(ref.name)
    ]
    return tuple(f"node-{number}" for number in range(1, max(numbers, default=1) + 1))
