"""AuthorizationPolicies as `retic policies` shows them: for whom each is, and what was counted."""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from retic import findings, graph
from retic.control import model
from retic.envoy import counters
from retic.mesh import gateways, policies, policy, tables, workloads
from retic.objects import gateway, pods
from retic.sources import store


class _Scope(msgspec.Struct):
    """The pods' uids and the gateways (NS/NAME) that a policy is for."""

    pods: set[str] = msgspec.field(default_factory=set)
    gateways: set[str] = msgspec.field(default_factory=set)


def listed(db: graph.Graph, kept: store.Store, counts: counters.Counts | None) -> tuple[model.Policy, ...]:
    """By namespace and name."""
    scopes = _scopes(db, kept)
    answer = []
    for ref in sorted(kept.objects):
        if ref.kind != "AuthorizationPolicy":
            continue
        meaning = db.ask(policies.of, tables.Key(ref.namespace, ref.name))
        if meaning is not None:
            answer.append(_shown(ref, meaning, scopes[ref], counts, kept))
    return tuple(answer)


def proxies(db: graph.Graph, kept: store.Store) -> tuple[str, ...]:
    """The proxies that count for a policy: nodes by name, gateways as gateway/NS/NAME."""
    found = set()
    for owner, at_gateway, applying in _owners(db, kept):
        if any(map(_counts, applying)):
            node = None if at_gateway else db.ask(workloads.by_uid, owner)
            found.add(node.node if node is not None else f"gateway/{owner}")
    return tuple(sorted(found))


def _counts(value: policy.Policy) -> bool:
    return value.dry_run or value.action in (policy.Action.AUDIT, policy.Action.CUSTOM)


def _scopes(db: graph.Graph, kept: store.Store) -> dict[findings.Ref, _Scope]:
    found: dict[findings.Ref, _Scope] = defaultdict(_Scope)
    for owner, at_gateway, applying in _owners(db, kept):
        for each in applying:
            (found[each.origin].gateways if at_gateway else found[each.origin].pods).add(owner)
    return found


def _owners(db: graph.Graph, kept: store.Store) -> Iterator[tuple[str, bool, tuple[policy.Policy, ...]]]:
    for ref, value in kept.objects.items():
        key = tables.Key(ref.namespace, ref.name)
        if isinstance(value, pods.Pod):
            found = db.ask(workloads.workload, key)
            if found is not None and found.served:
                yield found.uid, False, db.ask(policies.applying, key)
        elif isinstance(value, gateway.Gateway) and db.ask(gateways.ours, value.spec.gateway_class_name):
            yield f"{ref.namespace}/{ref.name}", True, db.ask(policies.at_gateway, key)


def _shown(
    ref: findings.Ref, meaning: policies.Meaning, scope: _Scope, counts: counters.Counts | None, kept: store.Store
) -> model.Policy:
    place, value = kept.positions.get(ref), meaning.value
    shown = model.Policy(
        ref.namespace, ref.name, value.action.value, value.dry_run, value.provider,
        len(scope.pods), len(scope.gateways),
        file=place.file if place else "", line=place.line if place else 0,
        closed=value.closed, unread=meaning.unread,
    )  # fmt: skip
    if counts is None:
        return shown
    name = f"{ref.namespace}/{ref.name}"
    if value.action is policy.Action.ALLOW and value.dry_run:
        refused = sum(map(counts.of_owner, (*scope.pods, *scope.gateways)))
        return msgspec.structs.replace(shown, would_allow=counts.allowed.get(name, 0), would_deny=refused)
    matched = counts.matched.get(name, 0)
    if value.action is policy.Action.DENY:
        return msgspec.structs.replace(shown, would_deny=matched) if value.dry_run else shown
    return shown if value.action is policy.Action.ALLOW else msgspec.structs.replace(shown, matched=matched)
