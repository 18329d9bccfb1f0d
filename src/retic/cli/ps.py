"""`retic ps`: what runs and what is wrong."""

from collections.abc import Sequence

import msgspec

from retic.cli import running, show
from retic.control import model


def run(*, name: str, as_json: bool) -> None:
    """Print it. Raises Failure."""
    path = running.folder(name)
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
    shown = False
    for title, columns, rows in (
        (
            "PODS", ("namespace", "name", "ready", "status", "restarts", "node", "ip", "service account"),
            [
                (p.namespace, p.name, p.ready, p.status, p.restarts, p.node, p.ip, p.service_account)
                for p in state.pods
            ],
        ),
        (
            "SERVICES", ("namespace", "name", "type", "address", "ports"),
            [(s.namespace, s.name, s.type, s.address, [_port(p) for p in s.ports]) for s in state.services],
        ),
        (
            "GATEWAYS", ("namespace", "name", "port", "reached at"),
            [(g.namespace, g.name, one.port, one.address) for g in state.gateways for one in g.listeners],
        ),
    ):
        if rows:
            if shown:
                print(flush=True)
            show.table(title, columns, rows)
            shown = True
    if not shown:
        print("no pods and no services", flush=True)
    if state.findings:
        print("\nPROBLEMS", flush=True)
        show.print_findings(state.findings)


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
