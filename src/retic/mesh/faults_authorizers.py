"""Faults of AuthorizationProviders, and those that they make in CUSTOM policies."""

from collections.abc import Iterator

from retic import findings, graph
from retic.mesh import authorizers, policies, policy, scopes, service, services, tables
from retic.objects import authorizers as objects
from retic.objects import core, security


@graph.query
def of(db: graph.Db, name: str) -> tuple[findings.Fault, ...]:
    """The faults of a provider: whom it names cannot be asked."""
    ref = findings.Ref("AuthorizationProvider", "", name)
    found = db.get(tables.PROVIDERS, tables.Key("", name))
    said = authorizers.said(found.spec) if found else None
    if found is None or said is None:
        return ()
    field = "envoyExtAuthzHttp" if isinstance(said, objects.HttpAuthorizer) else "envoyExtAuthzGrpc"
    known = db.ask(authorizers.of, name)
    if known is None:
        return (
            findings.Fault(
                "RT0452", ref, f"spec.{field}.service",
                f"{said.service} is no Service of this cluster: what policies with this provider match is refused",
                "name a Service as NAME.NAMESPACE.svc.cluster.local",
            ),
        )
    asked = db.ask(services.resolved, known.at.service)
    if asked is None:
        return (
            findings.Fault(
                "RT0452", ref, f"spec.{field}.service",
                f"there is no Service {known.at.namespace}/{known.at.name}: nobody answers",
                "create it or correct the name",
            ),
        )
    if all(port.number != known.at.port for port in asked.ports):
        have = ", ".join(str(port.number) for port in asked.ports) or "none"
        return (
            findings.Fault(
                "RT0452", ref, f"spec.{field}.port",
                f"Service {known.at.namespace}/{known.at.name} has no port {known.at.port}: nobody answers",
                f"use one of its ports: {have}",
            ),
        )
    return ()


def of_policy(db: graph.Db, ref: findings.Ref, value: policy.Policy) -> tuple[findings.Fault, ...]:
    """The faults of a CUSTOM policy that its provider makes."""
    if value.action is not policy.Action.CUSTOM or not value.provider:
        return ()
    if db.get(tables.PROVIDERS, tables.Key("", value.provider)) is None:
        return (
            findings.Fault(
                "RT0451", ref, "spec.provider.name",
                f"there is no AuthorizationProvider {value.provider}: what the policy matches is refused",
                "create it (retic.dev/v1alpha1) or correct the name",
            ),
        )
    if value.dry_run:
        return ()
    answer = list(_others(db, ref, value))
    known = db.ask(authorizers.of, value.provider)
    if known is not None and known.http is not None:
        answer += [_connection(ref, value, where, port) for where, port in _opaque(db, ref, value)]
    return tuple(answer)


def _others(db: graph.Db, ref: findings.Ref, value: policy.Policy) -> Iterator[findings.Fault]:
    """Policies that ask another provider about everything that this one matches, wherever it is."""
    mine = db.get(tables.POLICIES, tables.Key(ref.namespace, ref.name))
    for key in scopes.around(db, tables.POLICIES_BY_NAMESPACE, ref.namespace):
        found, meaning = db.get(tables.POLICIES, key), db.ask(policies.of, key)
        if mine is None or found is None or meaning is None or key == tables.Key(ref.namespace, ref.name):
            continue
        other = meaning.value
        if other.action is not policy.Action.CUSTOM or other.dry_run or other.provider in ("", value.provider):
            continue
        if _wherever(found.spec, mine.spec) and any(rule == policy.Rule(rule.number) for rule in other.rules):
            yield findings.Fault(
                "RT0454", ref, "spec.provider.name",
                f"AuthorizationPolicy {key.namespace}/{key.name} asks {other.provider} about every request: what both "
                "match is refused, since one authorizer is asked about a request",
                "name one provider in both, or let the other's rules leave out what is meant here",
            )


def _wherever(wide: security.AuthorizationPolicySpec, narrow: security.AuthorizationPolicySpec) -> bool:
    """Whether the one is for every pod that the other is for."""
    if scopes.targets(wide) or (scopes.targets(narrow) and wide.selector and wide.selector.match_labels):
        return False
    labels = wide.selector.match_labels if wide.selector else {}
    return labels.items() <= (narrow.selector.match_labels if narrow.selector else {}).items()


def _connection(ref: findings.Ref, value: policy.Policy, where: tables.Key, port: int) -> findings.Fault:
    return findings.Fault(
        "RT0453", ref, "spec.rules",
        f"{value.provider} can be asked about requests only, and port {port} of Service {where.namespace}/{where.name} "
        "carries TCP: every connection to it that the rules may mean is refused",
        "say in the rules which ports are meant (to.operation.ports), or use a gRPC provider",
    )


def _opaque(db: graph.Db, ref: findings.Ref, value: policy.Policy) -> Iterator[tuple[tables.Key, int]]:
    """The ports of Services of the policy's namespace that carry no HTTP and that it is for."""
    found = db.get(tables.POLICIES, tables.Key(ref.namespace, ref.name))
    if found is None:
        return
    wanted = found.spec.selector.match_labels if found.spec.selector else {}
    named = {target.name for target in scopes.targets(found.spec) if target.kind == "Service"}
    for key in sorted(db.find(tables.SERVICES_BY_NAMESPACE, ref.namespace)):
        one = db.get(tables.SERVICES, key)
        if one is None or not one.spec.selector:
            continue
        meant = key.name in named if scopes.targets(found.spec) else wanted.items() <= one.spec.selector.items()
        for port in one.spec.ports if meant else ():
            if services.protocol(port) is service.Protocol.OPAQUE and _may_hold(value, port):
                yield key, port.port


def _may_hold(value: policy.Policy, port: core.ServicePort) -> bool:
    """Whether a rule may hold for a connection to that port; a name stands for any number."""
    number = str(port.target_port or port.port)
    return any(
        not rule.operations or any(all(_takes(test, number) for test in row) for row in rule.operations)
        for rule in value.rules
    )


def _takes(test: policy.Test, number: str) -> bool:
    if test.subject is not policy.Subject.PORT or not number.isdecimal():
        return True
    return any(pattern.text == number for pattern in test.patterns) is not test.negated
