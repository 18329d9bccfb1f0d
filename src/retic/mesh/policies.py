"""AuthorizationPolicies: what one means (`of`), and which of them apply to a workload or a gateway.

A policy of the mesh's own namespace applies everywhere, any other in its namespace; a selector or targetRefs narrow
it (AuthorizationPolicy, selector and targetRefs). A Service as target stands for the pods that it selects, on the
ports that it leads to. One of which more cannot be read than parts of its rules denies everything to whom it is for.
"""

import re

import msgspec

from retic import findings, graph
from retic.mesh import faults_policy, network, policy, policy_rules, scopes, tables, workloads
from retic.objects import guarded, security

_IN_RULE = re.compile(r"spec\.rules\[\d+\].")


class Meaning(msgspec.Struct, frozen=True):
    """A policy's value before it is known for whom, the faults in it, and the fields that could not be read."""

    value: policy.Policy
    faults: tuple[findings.Fault, ...]
    unread: tuple[str, ...] = ()


@graph.query
def of(db: graph.Db, key: tables.Key) -> Meaning | None:
    """What the policy says, whomever it is for; None when there is none of that name."""
    found = db.get(tables.POLICIES, key)
    if found is None:
        return None
    ref = findings.Ref("AuthorizationPolicy", key.namespace, key.name)
    settings = db.ask(workloads.settings, tables.ONE)
    notes = policy_rules.Reading(ref, settings.trust_domains, _trusted(db, settings, found))
    rules = tuple(notes.rule(rule, number) for number, rule in enumerate(found.spec.rules))
    unread = tuple(guarded.paths(found))
    closed = scopes.is_unread(found) or not all(map(_IN_RULE.match, unread))
    value = policy.Policy(
        origin=ref,
        action=policy.Action.DENY if closed else policy.Action(found.spec.action or "ALLOW"),
        rules=(policy.Rule(0),) if closed else rules,
        dry_run=found.metadata.annotations.get(tables.DRY_RUN) == "true",
        provider=found.spec.provider.name if found.spec.provider and not closed else "",
        closed=closed,
    )
    return Meaning(value, (*notes.faults, *faults_policy.of(ref, found, closed=closed)), unread)


def _trusted(
    db: graph.Db, settings: network.Settings, found: security.AuthorizationPolicy
) -> tuple[str, ...]:
    """The gateways' identities, for policies that ask where a request was first sent from."""
    if not policy_rules.asks_remote(found.spec):
        return ()
    return tuple(
        identity
        for account in sorted(db.ask(workloads.gateway_accounts, tables.ONE))
        for identity in network.identities(settings, account.namespace, account.name)
    )


@graph.query
def applying(db: graph.Db, key: tables.Key) -> tuple[policy.Policy, ...]:
    """The policies of a pod, by namespace and name; none when there is no such pod."""
    labels = db.ask(workloads.pod_labels, key)
    if labels is None:
        return ()
    answer = []
    for name in scopes.around(db, tables.POLICIES_BY_NAMESPACE, key.namespace):
        found, meaning = db.get(tables.POLICIES, name), db.ask(of, name)
        if found is None or meaning is None:
            continue
        ports = scopes.pod_ports(db, scopes.of(name, found), key, labels)
        if ports is not None:
            answer.append(msgspec.structs.replace(meaning.value, ports=ports))
    return tuple(answer)


@graph.query
def at_gateway(db: graph.Db, key: tables.Key) -> tuple[policy.Policy, ...]:
    """The policies of a Gateway, by namespace and name."""
    answer = []
    for name in scopes.around(db, tables.POLICIES_BY_NAMESPACE, key.namespace):
        found, meaning = db.get(tables.POLICIES, name), db.ask(of, name)
        if found is None or meaning is None:
            continue
        if scopes.takes_gateway(db, scopes.of(name, found), key):
            answer.append(meaning.value)
    return tuple(answer)
