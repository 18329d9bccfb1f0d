"""`retic ps`: what runs and what is wrong."""

import pathlib
from collections.abc import Sequence

import msgspec

from retic import findings
from retic.cli import cluster, failure, running, show, which
from retic.control import model


class Choice(msgspec.Struct, frozen=True):
    """Which namespaces: one, or all, or (neither) those of the mesh."""

    namespace: str | None = None
    everywhere: bool = False


def run(options: which.Options, chosen: Choice, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    where = which.mesh(options)
    if isinstance(where, cluster.Target):
        from retic.cli import ps_cluster

        ps_cluster.run(where, chosen, as_json=as_json)
        return
    refuse(chosen)
    _local(where, as_json=as_json)


def refuse(chosen: Choice) -> None:
    """Raises Failure where namespaces cannot be chosen."""
    if chosen.namespace is not None or chosen.everywhere:
        raise failure.Failure("-n and -A are for clusters: of a mesh on this machine everything is shown", code=2)


def _local(path: pathlib.Path, *, as_json: bool) -> None:
    raw = running.ask(path, model.AskPs())
    if as_json:
        show.json(raw)
        return
    state = msgspec.convert(raw, model.Ps)
    tables(state)
    if not all(pod.ready for pod in state.pods):
        waiting(running.cluster(path, {"settle": 0})["reasons"])


def waiting(reasons: Sequence[str]) -> None:
    """Print why not every pod is ready; nothing when those that are not have done their work."""
    if reasons:
        print("\nNOT READY", flush=True)
    for reason in reasons:
        print(reason, flush=True)


def tables(state: model.Ps) -> None:
    """Print one table a list, then the problems as lines."""
    columns = ("namespace", "name", "ready", "status", "restarts", "node", "ip", "service account")
    rows = [
        (p.namespace, p.name, p.ready, p.status, p.restarts, p.node, p.ip, p.service_account) for p in state.pods
    ]
    reached = [(g.namespace, g.name, one.port, one.address) for g in state.gateways for one in g.listeners]
    shown = sections(
        ("PODS", columns, rows),
        services(state.services),
        ("GATEWAYS", ("namespace", "name", "port", "reached at"), reached),
    )
    if not shown:
        print("no pods and no services", flush=True)
    problems(state.findings)


Section = tuple[str, Sequence[str], Sequence[Sequence[object]]]
"""A table's title, columns and rows."""


def services(found: Sequence[model.Service]) -> Section:
    """The table of services."""
    rows = [(s.namespace, s.name, s.type, s.address, [_port(p) for p in s.ports]) for s in found]
    return "SERVICES", ("namespace", "name", "type", "address", "ports"), rows


def sections(*found: Section) -> bool:
    """Print the tables that have rows, with empty lines between; whether there was one."""
    shown = False
    for title, columns, rows in found:
        if rows:
            if shown:
                print(flush=True)
            show.table(title, columns, rows)
            shown = True
    return shown


def problems(found: Sequence[findings.Finding]) -> None:
    """Print the findings under a title of their own."""
    if found:
        print("\nPROBLEMS", flush=True)
        show.print_findings(found)


def count(pods: Sequence[model.Pod]) -> str:
    """How many are ready, and apart from them how many have ended: "14 pods ready, 1 completed"."""
    words = {"Succeeded": "completed", "Failed": "failed"}
    ended = [pod.phase for pod in pods if pod.phase in words]
    ready, lasting = sum(pod.ready for pod in pods), len(pods) - len(ended)
    said = f"{ready} pod{'' if ready == 1 else 's'} ready" if ready == lasting else f"{ready} of {lasting} pods ready"
    return ", ".join([said, *(f"{ended.count(one)} {word}" for one, word in words.items() if one in ended)])


def addresses(state: model.Ps) -> None:
    """Print where each gateway is reached from this machine."""
    for gateway in state.gateways:
        for one in gateway.listeners:
            where = f"gateway {gateway.namespace}/{gateway.name} port {one.port}"
            print(f"{where} is reached at {one.address}", flush=True)


def _port(port: model.Port) -> str:
    named = f"{port.name}:" if port.name else ""
    return f"{named}{port.port}" + ("" if port.protocol == "TCP" else f"/{port.protocol}")
