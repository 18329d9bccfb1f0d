"""Localities: what a localityLbSetting says, and endpoints in the order in which a zone's callers call them.

A zone belongs to one region, which its Nodes' labels say; sub-zones are not told apart (Kubernetes: zones are strict
subsets of regions, and no two have the same name).
"""

import collections
from collections.abc import Callable, Iterable

import msgspec

from retic import graph
from retic.mesh import destination, nodes, service, tables
from retic.objects import core
from retic.objects import destination as objects

REGION = "topology.kubernetes.io/region"
ZONE = nodes.ZONE
_FINE = 1000
"""Shares in a hundred are parted among localities by whole numbers: so many times finer."""

Wrong = tuple[str, str, str]
"""A field below the setting, what is wrong there, what to write."""


def _by_zone(_: tables.Key, node: core.Node) -> Iterable[str]:
    zone = node.metadata.labels.get(ZONE)
    return [zone] if zone else []


NODES_BY_ZONE = graph.index(tables.NODES, _by_zone, name="nodes.by_zone")


@graph.query
def region(db: graph.Db, zone: str) -> str:
    """The region of a zone, "" when no Node of it says one."""
    found = (db.get(tables.NODES, key) for key in sorted(db.find(NODES_BY_ZONE, zone)))
    return next((said for node in found if node is not None and (said := node.metadata.labels.get(REGION))), "")


def of(said: objects.LocalitySetting) -> tuple[destination.Localities, list[Wrong]]:
    """The setting as values. What cannot be told apart is left out, and said."""
    wrong: list[Wrong] = []
    shares = [s for i, each in enumerate(said.distribute) if (s := _share(each, f"distribute[{i}]", wrong))]
    failover: list[tuple[str, str]] = []
    for i, pair in enumerate(said.failover):
        if "/" in f"{pair.from_}{pair.to}":
            message = "fails over from region to region: one of the two is more than a region, so the entry is left out"
            wrong.append((f"failover[{i}]", message, "write regions: from: eu-west, to: eu-north"))
        else:
            failover.append((pair.from_ or "", pair.to or ""))
    value = destination.Localities(
        is_preferred=said.enabled is not False,
        shares=tuple(shares),
        by_region=said.enabled is True or bool(said.failover),
        failover=tuple(failover),
        labels=_labels(said.failover_priority, wrong),
    )
    return (destination.Localities(is_preferred=False) if said.enabled is False else value), wrong


def _share(said: objects.Distribute, path: str, wrong: list[Wrong]) -> destination.Share | None:
    caller = _pattern(said.from_ or "")
    to = [(_pattern(text), share) for text, share in said.to.items()]
    if caller is None or any(pattern is None for pattern, _ in to):
        message = "sub-zones are not told apart, so the entry is left out: its callers' own zone goes first"
        wrong.append((path, message, "write REGION/ZONE or REGION/*"))
        return None
    known = [(pattern, share) for pattern, share in to if pattern is not None]
    # Who is named by a pattern and by a narrower one belongs to the narrower one.
    return destination.Share(caller, tuple(sorted(known, key=lambda one: (not one[0].region, not one[0].zone, one))))


def _pattern(text: str) -> destination.Locality | None:
    """REGION, REGION/ZONE or REGION/ZONE/*, with * for any; None for one that names a sub-zone."""
    parts = ["" if part == "*" else part for part in text.split("/")]
    whole, subzone = parts[:2], parts[2:]
    return None if any(subzone) else destination.Locality(*whole)


def _labels(said: tuple[str, ...], wrong: list[Wrong]) -> tuple[tuple[str, str], ...]:
    pairs = [(name, value) for name, _, value in (text.partition("=") for text in said)]
    for i, (name, value) in enumerate(pairs):
        if not value and name not in (REGION, ZONE):
            message = f"callers of a zone are not told apart by their label {name}, so failoverPriority is left out"
            fix = f"write {name}=VALUE, {REGION} or {ZONE}"
            wrong.append((f"failoverPriority[{i}]", message, fix))
    return () if any(field.startswith("failoverPriority") for field, _, _ in wrong) else tuple(pairs)


class Placed(msgspec.Struct, frozen=True):
    """An endpoint, where it is, and its pod's labels where somebody asks for labels."""

    endpoint: service.Endpoint
    at: destination.Locality
    labels: dict[str, str] = {}


def grouped(
    said: destination.Localities, caller: destination.Locality, placed: list[Placed]
) -> tuple[destination.Group, ...]:
    """The endpoints in groups, as callers in a locality call them."""
    share = next((each for each in said.shares if each.caller.covers(caller)), None)
    if share is not None:
        return _distributed(share, placed)
    order = _order(said, caller)
    ranks = {rank: number for number, rank in enumerate(sorted({order(each) for each in placed}))}
    return tuple(
        destination.Group(zone, priority, len(members), members)
        for (priority, zone, _), members in _alike(placed, lambda each: ranks[order(each)])
    )


def _alike(
    placed: list[Placed], priority: Callable[[Placed], int]
) -> list[tuple[tuple[int, str, bool], tuple[service.Endpoint, ...]]]:
    found: dict[tuple[int, str, bool], list[service.Endpoint]] = collections.defaultdict(list)
    for each in placed:
        found[priority(each), each.endpoint.zone, each.endpoint.secured].append(each.endpoint)
    return [(key, tuple(sorted(members))) for key, members in sorted(found.items())]


def _distributed(share: destination.Share, placed: list[Placed]) -> tuple[destination.Group, ...]:
    """Each endpoint has its part of the first share that names its locality; the others are not called."""
    named = [pattern for pattern, _ in share.to]
    whose = {id(each): next((i for i, p in enumerate(named) if p.covers(each.at)), None) for each in placed}
    count = collections.Counter(whose.values())
    answer = []
    for i, (_, percent) in enumerate(share.to):
        own = [each for each in placed if whose[id(each)] == i]
        for (_, zone, _), members in _alike(own, lambda _: 0):
            weight = max(1, round(_FINE * percent * len(members) / count[i]))
            answer.append(destination.Group(zone, 0, weight, members))
    return tuple(sorted(answer, key=lambda g: (g.zone, g.endpoints)))


def _order(said: destination.Localities, caller: destination.Locality) -> Callable[[Placed], int]:
    """What is called first has the smallest number."""
    if not said.is_preferred or not (caller.zone or caller.region):
        return lambda each: 0
    if said.labels:
        return lambda each: len(said.labels) - _matched(said.labels, caller, each)
    if not said.by_region:
        return lambda each: int(bool(each.at.zone) and each.at.zone != caller.zone)
    following = dict(reversed(said.failover)).get(caller.region)
    return lambda each: _distance(caller, each.at, following)


def _distance(caller: destination.Locality, at: destination.Locality, following: str | None) -> int:
    if at.zone == caller.zone and at.region == caller.region:
        return 0
    if at.region == caller.region:
        return 1
    return 2 if following is not None and at.region == following else 3


def _matched(labels: tuple[tuple[str, str], ...], caller: destination.Locality, each: Placed) -> int:
    """How many of the labels, from the first on, the endpoint has."""
    own = {REGION: caller.region, ZONE: caller.zone}
    there = {**each.labels, REGION: each.at.region, ZONE: each.at.zone}
    number = 0
    for name, value in labels:
        if there.get(name) != (value or own.get(name)):
            break
        number += 1
    return number
