"""What there is to be generated, by the fields and members that the values have; and what a run came past.

A new field of a match, a new kind of condition, a new subject of policies is in `wanted` at once, and the test fails
until somebody writes a generator for it.
"""

import enum

import msgspec

from retic.explain.request import balancing, matching, policies, routed, tests
from retic.mesh import destinations, policy, policy_rules, route
from retic.objects import destination, security

_STRUCTS = (
    route.Match, route.Path, route.Condition, route.Rule, route.Edit, route.PathChange, route.Redirect, route.Rewrite,
    route.Backend, route.Answer, route.Fault, route.Delay, route.Abort, route.Cors, route.Retries, route.Session,
    policy.Policy, policy.Rule, policy.Test, policy.Pattern, security.AuthorizationPolicy,
    security.AuthorizationPolicySpec, security.WorkloadSelector, security.TargetReference, security.Source,
    security.Operation, security.Condition, security.AuthorizationRule, security.From, security.To,
    destination.DestinationRule, destination.DestinationRuleSpec, destination.Subset, destinations.View,
)  # fmt: skip
_ENUMS = (route.PathKind, route.How, route.Token, policy.Action, policy.Subject, policy.How)

LEFT_OUT = {
    "policy.Policy.provider": "whom CUSTOM asks is not known beforehand",
    "policy.Action.CUSTOM": "its provider decides",
    "security.AuthorizationPolicySpec.provider": "of CUSTOM",
    "security.AuthorizationPolicy.status": "nobody reads it",
    "destination.DestinationRule.status": "nobody reads it",
    "limit.Limit": "test_rate_limits.py counts instead",
}
"""What no generator makes, and why. Of limits: a client hears of those of the pod that answers, while `explain` names
those of all that may; and with one that is used up a request's outcome depends on those before it. A word of policies
that needs a token is generated, and no request has one."""


def _name(of):
    return f"{of.__module__.rpartition('.')[2]}.{of.__qualname__}"


def wanted():
    """Every feature that a run has to come past."""
    found = {f"{_name(struct)}.{field}" for struct in _STRUCTS for field in struct.__struct_fields__}
    found |= {f"{_name(kind)}.{member.name}" for kind in _ENUMS for member in kind}
    found |= {f"{subject.name} {word}" for subject in policy.Subject for word in ("is", "is not")}
    found |= {f"when {key}" for key in policy_rules._KEYS}
    found |= {f"{each} {answer}" for each in ("match", "test") for answer in (True, False)}
    found |= {f"subset {which} pods" for which in ("with", "without")} | {"subset found", "subset lost"}
    return found - set(LEFT_OUT)


def of(value):
    """The features in a value: fields that are not left out, and members, at any depth."""
    found = set()
    if isinstance(value, enum.Enum):
        return {f"{_name(type(value))}.{value.name}"}
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            found |= of(inner) if isinstance(inner, enum.Enum) else set()
            if field.default is msgspec.NODEFAULT or inner != field.default:
                found |= of(inner)
                if inner not in ((), None, "", {}) or field.default is msgspec.NODEFAULT:
                    found.add(f"{_name(type(value))}.{field.name}")
        if isinstance(value, route.Backend) and value.subset:
            found.add(f"subset {'found' if value.port else 'lost'}")
        if isinstance(value, security.Condition):
            found.add(f"when {_key(value.key)}")
        if isinstance(value, policy.Test):
            found.add(f"{value.subject.name} {'is not' if value.negated else 'is'}")
        return found
    if isinstance(value, tuple):
        return set().union(*map(of, value))
    return found


def _key(written):
    """`request.headers[x]` stands for `request.headers[NAME]`."""
    return written.partition("[")[0] + ("[NAME]" if "[" in written else "")


class Recorder:
    """Takes down what `explain` looks at while it decides."""

    def __init__(self, monkeypatch):
        self.seen = set()
        self._wrap(monkeypatch, matching, "missed", lambda given, answer: {f"match {answer == ''}"})
        self._wrap(monkeypatch, tests, "holds", lambda given, answer: {f"test {answer}"})
        self._wrap(monkeypatch, tests, "decidable", lambda given, answer: set())
        self._wrap(monkeypatch, routed, "_taken", lambda given, answer: set())
        self._wrap(monkeypatch, policies, "_said", lambda given, answer: set())
        self._wrap(monkeypatch, balancing, "members", lambda given, answer: _members(given[1], answer))

    def objects(self, given):
        """Take down policies and DestinationRules as they are written."""
        for value in given.values():
            if isinstance(value, (security.AuthorizationPolicy, destination.DestinationRule)):
                self.seen |= of(value)

    def _wrap(self, monkeypatch, module, name, more):
        inner = getattr(module, name)

        def wrapped(*given, **named):
            answer = inner(*given, **named)
            self.seen |= set().union(*(of(one) for one in given if _ours(one))) | more(given, answer)
            return answer

        monkeypatch.setattr(module, name, wrapped)


def _ours(value):
    """Tests are taken down one by one, as they are looked at: not with the policy that has them."""
    return isinstance(value, (route.Match, route.Rule, policy.Test, policy.Policy, destinations.View))


def _members(view, answer):
    """Whether anybody is in a subset that somebody is sent to."""
    return {f"subset {'with' if answer else 'without'} pods"} if view.subset else set()
