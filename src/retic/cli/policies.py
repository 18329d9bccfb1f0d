"""`retic policies`: authorization policies, for whom each is, and what those that only count have counted."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from retic.cli import cluster, failure, ps, ps_cluster, running, show, which
from retic.control import model

if TYPE_CHECKING:
    from retic.sources.api import Api


def run(options: which.Options, chosen: ps.Choice, *, as_json: bool) -> None:
    """Print it. Raises Failure."""
    where = which.mesh(options)
    unseen: tuple[str, ...] = ()
    if isinstance(where, cluster.Target):
        found, unseen = _cluster(where, chosen)
    else:
        raw = running.ask(where, model.AskPolicies(), seconds=60.0)
        every = msgspec.convert(raw, tuple[model.Policy, ...])
        found = tuple(one for one in every if chosen.namespace in (None, one.namespace))
    if as_json:
        show.json(found)
    else:
        _table(found)
        for one in found:
            _unread(one)
    ps_cluster.notes(unseen)


def _cluster(target: cluster.Target, chosen: ps.Choice) -> tuple[tuple[model.Policy, ...], tuple[str, ...]]:
    from retic.answers import proxies, visible
    from retic.envoy import counters
    from retic.wiring import remote

    async def work(api: "Api") -> tuple[tuple[model.Policy, ...], tuple[str, ...]]:
        mesh, told = await remote.see(api, chosen.namespace or "")
        if told.installed is False:
            raise failure.Failure(ps_cluster.not_installed(api))
        ps_cluster.refuse_blind(mesh)
        stats, failed = await proxies.stats(api, mesh.counting())
        for reason in failed:
            print(f"not counted: {reason}", file=sys.stderr, flush=True)
        counts = counters.read(stats) if stats or not failed else None
        return mesh.policies(visible.Choice(chosen.namespace or "", chosen.everywhere), counts), mesh.unseen

    return cluster.run(target, work)


def _table(found: Iterable[model.Policy]) -> None:
    first = ("namespace", "name", "action", "dry run", "provider", "pods", "gateways")
    counted = ("matched", "would deny", "would allow")
    rows = [
        (p.namespace, p.name, p.action, p.dry_run, p.provider, p.pods, p.gateways, *_counts(p))
        for p in found
    ]
    if not rows:
        print("no authorization policies", flush=True)
    show.table("", (*first, *counted), rows)


def _unread(one: model.Policy) -> None:
    if one.unread or one.closed:
        follows = "it refuses every call to whom it is for" if one.closed else "that counts against the caller"
        where = ", ".join(one.unread) or "its target"
        print(f"{one.namespace}/{one.name}: {where} cannot be read: {follows}", flush=True)


def _counts(one: model.Policy) -> tuple[int | None, ...]:
    return one.matched, one.would_deny, one.would_allow
