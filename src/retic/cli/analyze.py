"""`retic analyze`: what is wrong with manifests, without running them, or with the objects of a mesh."""

import datetime
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from retic import findings
from retic.cli import cluster, failure, ps, ps_cluster, running, show, which
from retic.control import model
from retic.explain import places

if TYPE_CHECKING:
    from retic.explain.request import world as explained
    from retic.sources import model as sources
    from retic.sources.api import Api

_NODE = re.compile(r"node-[1-9][0-9]{0,2}")


def of_mesh(options: which.Options, chosen: ps.Choice, *, as_json: bool) -> int:
    """Print the findings of the objects of a mesh that runs; 1 when one of them is an error, else 0. Raises Failure."""
    where = which.mesh(options)
    if not isinstance(where, cluster.Target):
        return _local(where, chosen, as_json=as_json)
    from retic.answers import visible
    from retic.wiring import remote

    async def work(api: "Api") -> tuple[Sequence[findings.Finding], Sequence[str], Sequence[str]]:
        mesh, told = await remote.see(api, chosen.namespace or "")
        if told.installed is False:
            print(f"{ps_cluster.not_installed(api)}; judged as with its defaults", file=sys.stderr, flush=True)
        ps_cluster.refuse_blind(mesh)
        found, unjudged = mesh.findings(visible.Choice(chosen.namespace or "", chosen.everywhere))
        return found, mesh.unseen, unjudged

    found, unseen, unjudged = cluster.run(where, work)
    _show(found, as_json=as_json)
    ps_cluster.notes(unseen, unjudged)
    return _code(found)


def _local(path: pathlib.Path, chosen: ps.Choice, *, as_json: bool) -> int:
    """Of the mesh that runs on this machine."""
    ps.refuse(chosen)
    found = msgspec.convert(running.ask(path, model.AskFindings()), list[findings.Finding])
    _show(found, as_json=as_json)
    return _code(found)


def _show(found: Sequence[findings.Finding], *, as_json: bool) -> None:
    if as_json:
        show.json(tuple(found))
    else:
        show.print_findings(found)


def _code(found: Iterable[findings.Finding]) -> int:
    return int(any(one.severity is findings.Severity.ERROR for one in found))


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
    _show(found, as_json=as_json)
    if not loaded.objects and not _code(found):
        raise failure.Failure(f"no Kubernetes object in {', '.join(map(str, files))}")
    return _code(found)


def examine(loaded: "sources.Loaded") -> tuple[findings.Finding, ...]:
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


def world(loaded: "sources.Loaded") -> "explained.World":
    """What the manifests come to, for questions about requests: as controllers make it, with readiness unknown."""
    from retic import wiring
    from retic.explain.request import world as explained
    from retic.local import workloads

    given = workloads.identified(located.object for located in loaded.objects)
    objects = workloads.offline(given, nodes=_nodes(given)).listed(given)
    positions = {located.ref: located.position for located in loaded.objects}
    return explained.World(wiring.offline(objects.values()), objects, positions, running=False)


def _nodes(given: Iterable[findings.Ref]) -> tuple[str, ...]:
    """As many nodes as manifests name (node-1, node-2 ...), at least one."""
    numbers = [
        int(ref.name.removeprefix("node-"))
        for ref in given
        if ref.kind == "Node" and _NODE.fullmatch(ref.name)
    ]
    return tuple(f"node-{number}" for number in range(1, max(numbers, default=1) + 1))
