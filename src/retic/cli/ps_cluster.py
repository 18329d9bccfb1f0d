"""`retic ps` for a cluster: pods with how they stand with the mesh, services, gateways, nodes, problems."""

import datetime
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure, ps, show
from retic.control import model

if TYPE_CHECKING:
    from retic.answers import cluster as answers
    from retic.sources.api import Api

_SHOWN = 5  # names in a note


def run(target: cluster.Target, chosen: ps.Choice, *, as_json: bool) -> None:
    """Print it, once all of it is there. Raises Failure, also where no mesh is installed or no pod may be read."""
    from retic.answers import asides, visible
    from retic.wiring import remote

    async def work(api: "Api") -> model.ClusterPs:
        mesh, told = await remote.see(api, chosen.namespace or "")
        if told.installed is False:
            raise failure.Failure(not_installed(api))
        refuse_blind(mesh)
        state = mesh.ps(visible.Choice(chosen.namespace or "", chosen.everywhere))
        pods = [pod for pod in state.pods if isinstance(pod, model.MeshPod)]
        return msgspec.structs.replace(state, reasons=await asides.reasons(api, pods))

    state = cluster.run(target, work)
    if as_json:
        show.json(state)
        return
    tables(state, datetime.datetime.now(datetime.UTC))
    notes(state.unseen, state.unjudged)


def not_installed(api: "Api") -> str:
    """For whoever asks about a mesh that is not there."""
    return f"Retic is not installed on this cluster ({api.origin}): retic install does so"


def refuse_blind(mesh: "answers.Cluster") -> None:
    """Raises Failure where nothing can be said, for lack of rights."""
    if mesh.is_blind:
        raise failure.Failure(
            f"you may not {'; '.join(mesh.unseen)}: choose with -n a namespace that you may read, or ask for rights"
        )


def tables(state: model.ClusterPs, now: datetime.datetime) -> None:
    """Print one table a list, then what events and findings say."""
    columns = ("namespace", "name", "ready", "status", "mesh", "plaintext", "restarts", "node", "service account")
    pods = [
        (p.namespace, p.name, p.ready, p.status, _mesh(p), _plain(p), p.restarts, p.node, p.service_account)
        for p in state.pods if isinstance(p, model.MeshPod)
    ]  # fmt: skip
    reached = [
        (g.namespace, g.name, one.port, one.address, g.progress)
        for g in state.gateways if isinstance(g, model.MeshGateway)
        for one in g.listeners
    ]  # fmt: skip
    nodes = [(n.name, n.retic, n.envoy, n.captured, n.plaintext or "", _ago(n.time, now)) for n in state.nodes]
    shown = ps.sections(
        ("PODS", columns, pods),
        ps.services(state.services),
        ("GATEWAYS", ("namespace", "name", "port", "reached at", "progress"), reached),
        ("NODES", ("name", "retic", "envoy", "captured", "plaintext", "heard"), nodes),
    )
    if not state.pods and not state.services:
        before = "\n" if shown else ""
        print(f"{before}no pods and no services in namespaces of the mesh: "
              "kubectl label namespace NAME retic.dev/mesh=enabled takes one in, -A shows all", flush=True)  # fmt: skip
    if state.reasons:
        print("\nEVENTS", flush=True)
    for reason in state.reasons:
        print(reason, flush=True)
    ps.problems(state.findings)


def _mesh(pod: model.MeshPod) -> str:
    if pod.mesh == "over":
        return ""
    return f"{pod.mesh} ({pod.why})" if pod.why else pod.mesh


def _plain(pod: model.MeshPod) -> str:
    return "?" if pod.plaintext is None else str(pod.plaintext or "")


def _ago(time: str, now: datetime.datetime) -> str:
    """As kubectl's AGE has it: 40s, 3m, 2h, 4d."""
    try:
        seconds = int((now - datetime.datetime.fromisoformat(time)).total_seconds())
    except ValueError:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit} ago"
    return f"{max(0, seconds)}s ago"


def notes(unseen: Iterable[str], unjudged: Iterable[str] = ()) -> None:
    """Say on the error stream what is not in the answer, and why."""
    rights, objects = list(unseen), list(unjudged)
    if rights:
        print(f"not everything is shown: you may not {'; '.join(rights)}", file=sys.stderr, flush=True)
    if objects:
        more = f" and {len(objects) - _SHOWN} more" if len(objects) > _SHOWN else ""
        print(f"not judged, since what they refer to may not be read: {', '.join(objects[:_SHOWN])}{more}",
              file=sys.stderr, flush=True)  # fmt: skip
