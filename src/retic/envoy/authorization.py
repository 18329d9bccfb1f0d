"""AuthorizationPolicies as Envoy's RBAC: which filters a chain's slot is filled with.

Order: DENY, then ALLOW; AUDIT counts before both. A rule becomes one RBAC policy (envoy.config.rbac.v3.Policy):
what is called in its permissions, who calls in its principals.
"""

from collections.abc import Iterable

import msgspec
from envoy.config.rbac.v3 import rbac_pb2

from retic.envoy import dispatch, rules_rbac
from retic.mesh import plain_requests, policy
from retic.telemetry import words

Action = policy.Action
RBAC = rbac_pb2.RBAC

# Names of RBAC policies that are no user's.
UNREADABLE, OTHER_PORTS, PROBES, ELSE = words.UNREADABLE, "other ports", "probes", words.NO_PROBE

_ACTIONS = {Action.CUSTOM: RBAC.DENY, Action.DENY: RBAC.DENY, Action.ALLOW: RBAC.ALLOW, Action.AUDIT: RBAC.LOG}


class Exempt(msgspec.Struct, frozen=True):
    """Whom no policy concerns: a kubelet at one of `who` that does one of `what`. Both empty: nobody."""

    what: tuple[rbac_pb2.Permission, ...] = ()
    who: tuple[rbac_pb2.Principal, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.what and self.who)


NOBODY = Exempt()


class Stage(msgspec.Struct, frozen=True):
    """One RBAC filter: what it enforces, and what it only counts; None for nothing."""

    action: policy.Action
    enforced: rbac_pb2.RBAC | None
    dry: rbac_pb2.RBAC | None
    counted: tuple[policy.Policy, ...] = ()
    """The policies that are only counted: those of `dry`, or of `enforced` where that only audits."""
    table: dispatch.Table | None = None
    """By which requests meet few of the rules that are enforced; None where all are met one after the other."""


def stages(policies: Iterable[policy.Policy], *, http: bool, exempt: Exempt = NOBODY) -> tuple[Stage, ...]:
    """The filters that the policies come to, in their order; () when nothing is decided by any."""
    given = tuple(policies)
    found: list[Stage] = []
    for action in (Action.AUDIT, Action.DENY, Action.ALLOW):
        mine = [each for each in given if each.action is action]
        # Envoy counts a request for the first rule that holds: what only counts has a filter of its own.
        apart = http and action is not Action.ALLOW
        alone = [each for each in mine if apart and (each.dry_run or action is Action.AUDIT)]
        together = [each for each in mine if each not in alone]
        found += [_stage((), [each], action, http=http, exempt=exempt) for each in alone]
        found.append(_stage(given, together, action, http=http, exempt=exempt))
    return tuple(stage for stage in found if stage.enforced is not None or stage.dry is not None)


def matching(
    policies: Iterable[policy.Policy], but: tuple[int, ...], *, http: bool, exempt: Exempt = NOBODY
) -> rbac_pb2.RBAC | None:
    """What the CUSTOM policies' rules match, as something to refuse, but for calls to the ports `but`; None for
    nothing."""
    answer = _rbac(list(policies), Action.CUSTOM, http=http, exempt=exempt)
    if answer is None or not answer.policies:
        return None
    if but:
        elsewhere = rules_rbac.elsewhere(but).permissions[0]
        for made in answer.policies.values():
            kept = [rules_rbac.both(permission, elsewhere) for permission in made.permissions]
            del made.permissions[:]
            made.permissions.extend(kept)
    return answer


def _stage(
    given: tuple[policy.Policy, ...], mine: list[policy.Policy], action: policy.Action, *, http: bool, exempt: Exempt
) -> Stage:
    enforced = _rbac([each for each in mine if not each.dry_run], action, http=http, exempt=exempt)
    dry = _rbac([each for each in mine if each.dry_run], action, http=http, exempt=exempt)
    if action is Action.DENY and http:
        enforced = _readable(given, enforced, exempt)
    seen = tuple(each for each in mine if each.dry_run is (dry is not None))
    alone = enforced is not None and dry is None and action is not Action.AUDIT
    split = _table(mine, enforced) if http and alone and enforced is not None else None
    return Stage(action, enforced, dry, seen, split)


def _table(mine: list[policy.Policy], enforced: rbac_pb2.RBAC) -> dispatch.Table | None:
    rules = {name(each, rule) + end: rule for each in mine for rule in each.rules for end in ("", ELSE)}
    return dispatch.table(sorted(enforced.policies), rules)


def _readable(
    given: tuple[policy.Policy, ...], denied: rbac_pb2.RBAC | None, exempt: Exempt
) -> rbac_pb2.RBAC | None:
    """With the refusal of what has two readings, where a policy that is enforced compares it."""
    wanted = plain_requests.of(given)
    if not wanted:
        return denied
    answer = denied or rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY)
    for each in wanted:
        _add(answer, f"{UNREADABLE}{each.subject.value}", rules_rbac.unreadable(each), exempt)
    return answer


def _rbac(
    policies: list[policy.Policy], action: policy.Action, *, http: bool, exempt: Exempt
) -> rbac_pb2.RBAC | None:
    if not policies:
        return None
    answer = rbac_pb2.RBAC(action=_ACTIONS[action])
    reading = rules_rbac.Reading(http=http, strict=action is Action.ALLOW)
    for each in policies:
        for rule in each.rules:
            made = reading.rule(rule, each.ports)
            if made is not None:
                _add(answer, name(each, rule), made, NOBODY if action is Action.ALLOW else exempt)
    if action is not Action.ALLOW:
        return answer
    if all(each.ports for each in policies):
        concerned = sorted({port for each in policies for port in each.ports})
        answer.policies[OTHER_PORTS].CopyFrom(rules_rbac.elsewhere(concerned))
    if exempt:
        answer.policies[PROBES].CopyFrom(rbac_pb2.Policy(permissions=exempt.what, principals=exempt.who))
    return answer


def _add(into: rbac_pb2.RBAC, called: str, made: rbac_pb2.Policy, exempt: Exempt) -> None:
    """The policy for all but those that are exempt: for whoever does something else, and for whoever else it is."""
    if not exempt:
        into.policies[called].CopyFrom(made)
        return
    something_else = rules_rbac.nothing_of(exempt.what)
    permissions = [rules_rbac.both(permission, something_else) for permission in made.permissions]
    into.policies[called].CopyFrom(rbac_pb2.Policy(permissions=permissions, principals=made.principals))
    somebody_else = rules_rbac.nobody_of(exempt.who)
    principals = [rules_rbac.also(principal, somebody_else) for principal in made.principals]
    into.policies[called + ELSE].CopyFrom(rbac_pb2.Policy(permissions=made.permissions, principals=principals))


def name(of_policy: policy.Policy, rule: policy.Rule) -> str:
    """The name of a rule in Envoy, seen in its counters and by nobody who is refused."""
    return f"{of_policy.origin.namespace}/{of_policy.origin.name}/{rule.number}"
