"""RequestAuthentications: what one means (`of`), which apply to a pod or a Gateway, and whose keys are to be fetched.

For whom one is: as for policies (`scopes`). Where several speak of one issuer, the nearest counts: one with targetRefs
or a selector before its namespace's, a namespace's before the mesh's, then by name. One that does not say readably for
whom it is goes before all others of its namespace, and takes no token.
"""

import re

import msgspec

from retic import findings, graph
from retic.mesh import faults_policy, scopes, tables, token, token_rules, workloads
from retic.objects import guarded, security

_IN_RULE = re.compile(r"spec\.jwtRules\[\d+\].")


class Meaning(msgspec.Struct, frozen=True):
    """An object's values before it is known for whom, the URIs that it names, and the faults in it."""

    issuers: tuple[token.Issuer, ...]
    wanted: tuple[token_rules.Wanted, ...]
    faults: tuple[findings.Fault, ...]


@graph.query
def of(db: graph.Db, key: tables.Key) -> Meaning | None:
    """What the object says, whomever it is for; None when there is none of that name."""
    found = db.get(tables.REQUEST_AUTHENTICATIONS, key)
    if found is None:
        return None
    ref = findings.Ref("RequestAuthentication", key.namespace, key.name)
    spec = found.spec
    closed = scopes.is_unread(found) or not all(map(_IN_RULE.match, guarded.paths(found)))
    reading = token_rules.Reading(ref, lambda uri: db.get(tables.KEY_SETS, tables.Uri(uri)), closed=closed)
    issuers = reading.rules(spec.jwt_rules)
    scope = faults_policy.targets(ref, spec.selector, spec.target_ref, spec.target_refs)
    return Meaning(issuers, tuple(reading.wanted), (*reading.faults, *scope))


@graph.query
def applying(db: graph.Db, key: tables.Key) -> tuple[token.Issuer, ...]:
    """The issuers of a pod, the nearest first; none when there is no such pod."""
    labels = db.ask(workloads.pod_labels, key)
    if labels is None:
        return ()
    answer = []
    for name, found, meaning in _around(db, key.namespace):
        ports = scopes.pod_ports(db, scopes.of(name, found), key, labels)
        if ports is not None:
            answer += [msgspec.structs.replace(each, ports=ports) for each in meaning.issuers]
    return tuple(answer)


@graph.query
def at_gateway(db: graph.Db, key: tables.Key) -> tuple[token.Issuer, ...]:
    """The issuers of a Gateway, the nearest first."""
    answer: list[token.Issuer] = []
    for name, found, meaning in _around(db, key.namespace):
        if scopes.takes_gateway(db, scopes.of(name, found), key):
            answer += meaning.issuers
    return tuple(answer)


def _around(
    db: graph.Db, namespace: str
) -> list[tuple[tables.Key, security.RequestAuthentication, Meaning]]:
    answer = []
    for name in scopes.around(db, tables.REQUEST_AUTHENTICATIONS_BY_NAMESPACE, namespace):
        found, meaning = db.get(tables.REQUEST_AUTHENTICATIONS, name), db.ask(of, name)
        if found is not None and meaning is not None:
            answer.append((name, found, meaning))
    return sorted(answer, key=lambda each: (each[0].namespace != namespace, *_order(each[1]), each[0]))


def _order(found: security.RequestAuthentication) -> tuple[bool, bool]:
    return not scopes.is_unread(found), not _narrow(found.spec)


def _narrow(spec: security.RequestAuthenticationSpec) -> bool:
    return bool(scopes.targets(spec)) or bool(spec.selector and spec.selector.match_labels)


@graph.query
def uris(db: graph.Db, key: tables.One) -> tuple[token_rules.Wanted, ...]:
    """All URIs that are named, each with the shortest time that some rule gives it."""
    answer: dict[str, float] = {}
    for name in sorted(db.find(tables.REQUEST_AUTHENTICATIONS_WITH_URIS, key)):
        meaning = db.ask(of, name)
        for each in meaning.wanted if meaning else ():
            answer[each.uri] = min(each.seconds, answer.get(each.uri, each.seconds))
    return tuple(token_rules.Wanted(uri, seconds) for uri, seconds in sorted(answer.items()))


def faults(db: graph.Db, key: tables.Key) -> tuple[findings.Fault, ...]:
    """The faults of one object, also those that it has only beside others."""
    meaning, found = db.ask(of, key), db.get(tables.REQUEST_AUTHENTICATIONS, key)
    if meaning is None or found is None:
        return ()
    answer = list(meaning.faults)
    for name, earlier, other in _around(db, key.namespace) if not scopes.is_unread(found) else ():
        if name.namespace != key.namespace or name >= key or _scope(earlier.spec) != _scope(found.spec):
            continue
        before = {each.issuer: each for each in other.issuers}
        for each in meaning.issuers:
            if each.issuer in before and not token.alike(before[each.issuer], each):
                answer.append(
                    findings.Fault(
                        "RT0413", each.origin, f"spec.jwtRules[{each.number}].issuer",
                        f"RequestAuthentication {name.namespace}/{name.name} is for the issuer {each.issuer!r} of the "
                        "same pods too: this rule is not looked at", "put both into one rule",
                    )
                )
    return tuple(answer)


def _scope(
    spec: security.RequestAuthenticationSpec,
) -> tuple[dict[str, str], tuple[security.TargetReference, ...]]:
    return spec.selector.match_labels if spec.selector else {}, scopes.targets(spec)


def asked_in_vain(
    db: graph.Db, ref: findings.Ref, spec: security.AuthorizationPolicySpec
) -> tuple[findings.Fault, ...]:
    """What a policy asks of tokens where no RequestAuthentication can apply: there is no valid token."""
    root = db.ask(workloads.settings, tables.ONE).system_namespace
    near = {ref.namespace, root} if ref.namespace != root else set()
    if not near or any(db.find(tables.REQUEST_AUTHENTICATIONS_BY_NAMESPACE, each) for each in near):
        return ()
    asked = [
        f"spec.rules[{number}].from[{i}].source.{field}"
        for number, rule in enumerate(spec.rules)
        for i, each in enumerate(rule.from_)
        for field, said in (
            ("requestPrincipals", each.source and each.source.request_principals),
            ("notRequestPrincipals", each.source and each.source.not_request_principals),
        )
        if said
    ]
    asked += [
        f"spec.rules[{number}].when[{i}].key"
        for number, rule in enumerate(spec.rules)
        for i, each in enumerate(rule.when)
        if each.key.startswith("request.auth.")
    ]
    return tuple(
        findings.Fault(
            "RT0419", ref, path, f"no RequestAuthentication is in {ref.namespace} or {root}: no token counts as valid",
            "add a RequestAuthentication that names the issuer of the tokens",
        )
        for path in asked
    )
