"""Faults of an AuthorizationPolicy by itself: what is well formed and does not say what its author expects."""

from collections.abc import Iterator

from retic import findings
from retic.mesh import scopes
from retic.objects import gateway, security


def of(ref: findings.Ref, found: security.AuthorizationPolicy, *, closed: bool) -> tuple[findings.Fault, ...]:
    """The faults of the object as it stands. `closed`: some of it could not be read, which is told already."""
    spec = found.spec
    answer = [*targets(ref, spec.selector, spec.target_ref, spec.target_refs)]
    if spec.action == "CUSTOM" and not closed and (spec.provider is None or not spec.provider.name):
        answer.append(
            findings.Fault(
                "RT0404", ref, "spec.provider", "a CUSTOM policy says no provider: what it is for is refused",
                "name whom to ask in spec.provider.name",
            )
        )
    if spec.action not in (None, "ALLOW") and not spec.rules and not closed:
        answer.append(
            findings.Fault(
                "RT0401", ref, "spec.rules", f"a {spec.action} policy without rules matches nothing",
                "write rules: [{}] to match every request, or remove the policy",
            )
        )
    answer += _empty(ref, spec)
    return tuple(answer)


def _empty(ref: findings.Ref, spec: security.AuthorizationPolicySpec) -> Iterator[findings.Fault]:
    for number, rule in enumerate(spec.rules):
        path = f"spec.rules[{number}]"
        for i, source in enumerate(rule.from_):
            if source.unread:
                continue
            if source.source is None or source.source == security.Source():
                yield _matches_all(ref, f"{path}.from[{i}]", "source")
        for i, to in enumerate(rule.to):
            if to.unread:
                continue
            if to.operation is None or to.operation == security.Operation():
                yield _matches_all(ref, f"{path}.to[{i}]", "operation")
        for i, condition in enumerate(rule.when):
            if not condition.unread and not condition.values and not condition.not_values:
                yield findings.Fault(
                    "RT0401", ref, f"{path}.when[{i}]", f"{condition.key} has neither values nor notValues: the rule "
                    "lets nobody in, or refuses whatever else it says", "write values or notValues",
                )


def _matches_all(ref: findings.Ref, path: str, what: str) -> findings.Fault:
    return findings.Fault(
        "RT0401", ref, path, f"an empty {what} matches everything",
        f"say something in {what}, or leave the whole entry out if everything is meant",
    )


def targets(
    ref: findings.Ref,
    selector: security.WorkloadSelector | None,
    one: security.TargetReference | None,
    several: tuple[security.TargetReference, ...],
) -> Iterator[findings.Fault]:
    """Whether the object says for whom it is in one way, and one that is understood."""
    given = [("spec.targetRef", one)] if one else []
    given += [(f"spec.targetRefs[{i}]", target) for i, target in enumerate(several)]
    if selector is not None and given:
        yield findings.Fault(
            "RT0405", ref, "spec.selector", "there are both a selector and targetRefs: the selector is not looked at",
            "keep one of them",
        )
    for path, target in given:
        if target.unread:
            continue
        if scopes.kind(target) not in scopes.TARGETS:
            closed = f"; until it is mended, it is against all callers in namespace {ref.namespace}"
            yield findings.Fault(
                "RT0405", ref, path, f"a {target.kind} of the group {target.group or '(core)'} can be no target"
                + (closed if scopes.is_misnamed(target) else ""),
                f'name a Service (group: ""), or a Gateway (group: {gateway.GROUP})',
            )
        elif target.namespace not in (None, "", ref.namespace):
            yield findings.Fault(
                "RT0405", ref, f"{path}.namespace", f"{target.kind} {target.namespace}/{target.name} is in another "
                "namespace than the policy", "put the policy where its target is",
            )
