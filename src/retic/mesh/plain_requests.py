"""What of a request has to be written in one way only, where policies that are enforced compare it.

Paths are `plain_paths`'. A host with a sign in it that no host has (`user@shop`, `sh%6Fp`, `shop..`), and a method in
small letters, which HTTP tells apart and many a server does not (RFC 9110, section 9.1), are refused as well: neither
may mean something to the application that it did not mean to the policy. The verdict is the same for every caller.
"""

from collections.abc import Iterable

import msgspec

from retic.mesh import patterns, plain_paths, policy
from retic.mesh.policy import How, Subject

_PORT = "(?::[0-9]{1,5})?"
_WORD = "[A-Za-z0-9_-]+"
HOST = rf"(?:{_WORD}(?:\.{_WORD})*\.?|\[[0-9A-Fa-f:.]+\]){_PORT}"
"""RE2 for hosts: names (also with a dot at the end) and addresses, with or without a port."""
METHOD = "[^a-z]+"
"""RE2 for methods."""


class Wanted(msgspec.Struct, frozen=True):
    """A request made to one of `ports` (() for all) is refused unless the subject's whole value matches `readable`
    (RE2). For paths the value is that without the query."""

    subject: Subject
    readable: str
    ports: tuple[int, ...]


def of(policies: Iterable[policy.Policy]) -> tuple[Wanted, ...]:
    """What the policies of a workload or gateway want of requests; () when none compares any of it.

    Policies that only count (AUDIT, dry run) want nothing: they change no verdict.
    """
    enforced = [each for each in policies if not each.dry_run and each.action is not policy.Action.AUDIT]
    found = []
    for subject in (Subject.PATH, Subject.HOST, Subject.METHOD):
        comparing = [(each, texts) for each in enforced if (texts := compared(each, subject))]
        if comparing:
            said = [text for _, texts in comparing for text in texts]
            found.append(Wanted(subject, _readable(subject, said), _ports(each for each, _ in comparing)))
    return tuple(found)


def compared(of_policy: policy.Policy, subject: Subject) -> tuple[str, ...]:
    """The texts that a policy compares this with; () when its verdict does not depend on it."""
    rows = [row for rule in of_policy.rules for row in (*rule.operations, rule.conditions)]
    return tuple(
        patterns.literals(pattern)
        for row in rows
        for test in row
        if test.subject is subject
        for pattern in test.patterns
        if pattern.how not in (How.PRESENT, How.NOTHING)
    )


def _readable(subject: Subject, texts: list[str]) -> str:
    match subject:
        case Subject.PATH:
            return plain_paths.readable(texts)
        case Subject.HOST:
            return HOST
    return METHOD


def _ports(policies: Iterable[policy.Policy]) -> tuple[int, ...]:
    given = list(policies)
    if not all(each.ports for each in given):
        return ()
    return tuple(sorted({port for each in given for port in each.ports}))
