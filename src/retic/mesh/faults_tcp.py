"""Rules of AuthorizationPolicies that ask for HTTP where a port carries TCP: there they are decided against the caller.

Only ports that Services declare to carry TCP count. One that says nothing may carry either, and is judged call by call.
"""

from collections.abc import Iterator

import msgspec

from retic import findings, graph
from retic.mesh import declared, policies, policy, scopes, services, tables, workloads
from retic.mesh.policy import Action, Subject


class Place(msgspec.Struct, frozen=True):
    """A pod's port that a Service declares to carry TCP."""

    pod: tables.Key
    port: int
    service: tables.Key


def of(db: graph.Db, ref: findings.Ref) -> Iterator[findings.Fault]:
    """The faults of one policy: for each rule at most one."""
    key = tables.Key(ref.namespace, ref.name)
    found, meaning = db.get(tables.POLICIES, key), db.ask(policies.of, key)
    if found is None or meaning is None:
        return
    asking = [rule for rule in meaning.value.rules if any(row_of_http(rule))]
    if not asking:
        return
    places = list(_places(db, scopes.of(key, found)))
    for rule in asking:
        meant = ((place, test) for place in places for test in row_of_http(rule) if _made_to(rule, test, place.port))
        first = next(meant, None)
        if first is not None:
            yield _fault(ref, meaning.value, *first)


def row_of_http(rule: policy.Rule) -> Iterator[policy.Test]:
    """The tests of a rule that no TCP connection can be judged by."""
    rows = (*rule.sources, *rule.operations, rule.conditions)
    return (
        test
        for row in rows
        for test in row
        if test.subject in policy.HTTP_ONLY and not any(p.how is policy.How.NOTHING for p in test.patterns)
    )


def _made_to(rule: policy.Rule, asking: policy.Test, port: int) -> bool:
    """Whether the test is looked at for what is made to a port: no test of ports beside it says otherwise."""
    # A test of a source or condition stands beside whichever operation holds.
    operations = [row for row in rule.operations if asking in row] or rule.operations
    return _takes(rule.conditions, port) and (not operations or any(_takes(row, port) for row in operations))


def _takes(row: policy.Tests, port: int) -> bool:
    ports = [test for test in row if test.subject is Subject.PORT]
    return all((str(port) in {p.text for p in test.patterns}) is not test.negated for test in ports)


def _places(db: graph.Db, scope: scopes.Scope) -> Iterator[Place]:
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    for service in sorted(db.find(services.OPAQUE, True)):
        if scope.name.namespace not in (service.namespace, root):
            continue
        for pod in sorted(db.find(tables.PODS_BY_NAMESPACE, service.namespace)):
            labels = db.ask(workloads.pod_labels, pod)
            opaque = db.ask(declared.tcp_behind, declared.Backing(pod, service))
            ports = scopes.pod_ports(db, scope, pod, labels) if labels is not None and opaque else None
            if ports is not None:
                yield from (Place(pod, port, service) for port in opaque if not ports or port in ports)


def _fault(ref: findings.Ref, of_policy: policy.Policy, place: Place, test: policy.Test) -> findings.Fault:
    follows = "lets nobody in there" if of_policy.action is Action.ALLOW else "is taken to hold there"
    if of_policy.action is Action.AUDIT:
        follows = "counts every connection there"
    return findings.Fault(
        "RT0406", ref, test.field,
        f"port {place.port} of Pod {place.pod.namespace}/{place.pod.name} carries TCP (Service {place.service.name}), "
        f"where no {test.subject.value} is known: the rule {follows}",
        "say in to.operation.ports of this rule which ports carry HTTP; for the others write a rule by principals, "
        "namespaces, ipBlocks or ports",
    )
