"""AuthorizationPolicies as they decide about a request or a connection, and why each does or does not.

Order: AUDIT counts, CUSTOM asks, DENY, ALLOW. What cannot be decided is decided against the caller (`policy.Policy`).
"""

from collections.abc import Iterable

import msgspec

from retic.explain.request import matching, tests
from retic.mesh import plain_requests, policy

Action = policy.Action

_ORDER = (Action.AUDIT, Action.CUSTOM, Action.DENY, Action.ALLOW)


class Said(msgspec.Struct, frozen=True):
    """What one policy says. `rule`: the place in spec.rules of the rule that holds, None when none does; `field`: of
    the policy, what the text is about."""

    policy: policy.Policy
    rule: int | None
    text: str
    field: str = ""


class Missed(msgspec.Struct, frozen=True):
    """Why a rule does not hold, and by which field of the policy."""

    text: str
    field: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """`by` is what decided; None when nothing did, and the caller is let in."""

    allowed: bool
    by: Said | None
    said: tuple[Said, ...]


def verdict(policies: Iterable[policy.Policy], call: tests.Call) -> Verdict:
    """What all policies of a workload come to."""
    given = [each for each in policies if not each.ports or call.port in each.ports]
    every = tuple(policies)
    said: list[Said] = []
    decided: Said | None = None
    allowed = True
    for action in _ORDER:
        found = [_said(each, call) for each in given if each.action is action]
        said += found
        if action is Action.DENY and decided is None:
            decided = next((one for one in found if one.rule is not None and not one.policy.dry_run), None)
            if decided is None and (unread := _unreadable(every, call)):
                decided = unread
                said.append(unread)
            allowed = decided is None
        if action is Action.ALLOW and decided is None:
            enforced = [one for one in found if not one.policy.dry_run]
            decided = next((one for one in enforced if one.rule is not None), None)
            if decided is None and enforced:
                allowed, decided = False, enforced[0]
    return Verdict(allowed, decided, tuple(said))


def _unreadable(policies: tuple[policy.Policy, ...], call: tests.Call) -> Said | None:
    """The refusal of what has two readings, where a policy that is enforced compares it (mesh.plain_requests)."""
    request = call.request
    if request is None:
        return None
    values = {
        policy.Subject.PATH: request.path, policy.Subject.HOST: request.authority,
        policy.Subject.METHOD: request.method,
    }  # fmt: skip
    enforced = [each for each in policies if not each.dry_run and each.action is not Action.AUDIT]
    for wanted in plain_requests.of(policies):
        if wanted.ports and call.port not in wanted.ports:
            continue
        if not matching.full(wanted.readable, values[wanted.subject]):
            concerned = next(each for each in enforced if plain_requests.compared(each, wanted.subject))
            what = wanted.subject.value
            return Said(concerned, None, f"it compares the {what}, and this one can be read in two ways: refused")
    return None


def _said(of: policy.Policy, call: tests.Call) -> Said:
    missed = Missed("it has no rule, so it matches nothing")
    for rule in of.rules:
        found = _missed(rule, call, strict=of.action is Action.ALLOW)
        if found is None:
            return Said(of, rule.number, _words(of, rule), "" if of.closed else f"spec.rules[{rule.number}]")
        missed = found
    return Said(of, None, f"{of.action} does not match: {missed.text}", missed.field)


def _words(of: policy.Policy, rule: policy.Rule) -> str:
    what = {Action.AUDIT: "counted", Action.DENY: "refused", Action.ALLOW: "allowed"}.get(of.action, "asked about")
    what = f"dry run, would be {what}" if of.dry_run else what
    if of.closed:
        return f"it cannot be read, so that it stands against everybody: {what}"
    matches = f"{of.action} rule {rule.number + 1} matches{_undecided(rule)}: "
    if of.action is Action.CUSTOM:
        return f"{matches}the proxy asks {of.provider or 'its provider'}, whose answer nobody knows before"
    return matches + what


def _undecided(rule: policy.Rule) -> str:
    """The fields of a rule that holds which were taken to hold, since nobody can compare them."""
    rows = (*rule.sources, *rule.operations, rule.conditions)
    fields = [test.field for row in rows for test in row if tests.is_unreadable(test)]
    return f" ({', '.join(fields)} cannot be read, and counts against the caller)" if fields else ""


def _missed(rule: policy.Rule, call: tests.Call, *, strict: bool) -> Missed | None:
    """Why the rule does not hold; None when it does."""
    for what, rows in (("from", rule.sources), ("to", rule.operations), ("when", (rule.conditions,))):
        missed = [_row(row, call, strict=strict) for row in rows]
        first = next(iter(missed), None)
        if first is not None and None not in missed:
            more = f" (nor does any of {len(missed) - 1} more)" if len(missed) > 1 else ""
            return Missed(f"rule {rule.number + 1}, {what}: {first.text}{more}", first.field)
    return None


def _row(row: policy.Tests, call: tests.Call, *, strict: bool) -> Missed | None:
    """The first test that does not hold."""
    for test in row:
        name = test.field.rpartition(".")[2]
        if not tests.decidable(test, call):
            if strict:
                return Missed(f"{name} cannot be decided here", test.field)
        elif not tests.holds(test, call, strict=strict):
            return Missed(f"{name} does not hold for {tests.looked_at(test, call)}", test.field)
    return None
