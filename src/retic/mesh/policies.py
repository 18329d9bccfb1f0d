"""AuthorizationPolicies: what one means (`of`), and which of them apply to a workload or a gateway.

A policy of the mesh's own namespace applies everywhere, any other in its namespace; a selector or targetRefs narrow
it (AuthorizationPolicy, selector and targetRefs). A Service as target stands for the pods that it selects, on the
ports that it leads to.
"""

import msgspec

from retic import findings, graph
from retic.mesh import faults_policy, network, policy, policy_rules, scopes, tables, workloads
from retic.objects import security


class Meaning(msgspec.Struct, frozen=True):
    """A policy's value before it is known for whom, and the faults in it."""

    value: policy.Policy
    faults: tuple[findings.Fault, ...]


@graph.query
def of(db: graph.Db, key: tables.Key) -> Meaning | None:
    """What the policy says, whomever it is for; None when there is none of that name."""
    found = db.get(tables.POLICIES, key)
    if found is None:
        return None
    ref = findings.Ref("AuthorizationPolicy", key.namespace, key.name)
    settings = db.ask(workloads.settings, tables.ONE)
    notes = policy_rules.Reading(ref, settings.trust_domains, _trusted(db, settings, found))
    action = policy.Action(found.spec.action or "ALLOW")
    rules = tuple(notes.rule(rule, number) for number, rule in enumerate(found.spec.rules))
    value = policy.Policy(
        origin=ref,
        action=action,
        rules=rules,
        dry_run=found.metadata.annotations.get(tables.DRY_RUN) == "true",
        provider=found.spec.provider.name if found.spec.provider else "",
    )
    return Meaning(value, (*notes.faults, *faults_policy.of(ref, found)))


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
        scope = scopes.Scope(name, found.spec.selector, scopes.targets(found.spec))
        ports = scopes.pod_ports(db, scope, key, labels)
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
        if scopes.takes_gateway(db, scopes.Scope(name, found.spec.selector, scopes.targets(found.spec)), key):
            answer.append(meaning.value)
    return tuple(answer)
