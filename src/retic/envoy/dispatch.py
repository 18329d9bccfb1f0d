"""Of many rules a request meets only those that can hold for it, found by the caller's identity or by the path.

Envoy's RBAC tries its rules one after the other, at some 0.1 to 0.4 µs each. Most rules name callers, or begin with a
path: of those only the ones whose text the request's begins with can hold. So they are put into a table by these texts
(xDS Matcher, prefix_match_map: the longest text counts), whose ways lead to RBAC filters with few rules each. What a
way leaves out could not have held; the verdict is the same. Without a way, a request meets the rules that are in none.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.matching.common_inputs.ssl.v3 import ssl_inputs_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf.message import Message

from retic.mesh import policy
from retic.mesh.policy import How, Pattern, Subject

# Rules for which a table is made at all: it costs a request some 3 µs, as much as these rules one after the other.
FEWEST = {Subject.PRINCIPAL: 8, Subject.PATH: 28}
MOST_COPIES = 4  # times the number of rules, in all ways together
_OPERATORS = frozenset(".[](){}*+?|^$")

Keys = tuple[str, ...] | None


class Table(msgspec.Struct, frozen=True):
    """`ways`: the names of RBAC policies by the beginning of a text; `rest`: of those that any request may meet."""

    by: Subject
    ways: dict[str, tuple[str, ...]]
    rest: tuple[str, ...]

    def beginnings(self, most: int = 8) -> tuple[str, ...]:
        """At most so many texts, with one of which each way's begins: what begins with none of them takes no way. ()
        when there are none."""
        size = max(map(len, self.ways), default=0)
        while len(cut := {text[:size] for text in self.ways}) > most:
            size -= 1
        if "" in cut:
            return ()
        return tuple(sorted(text for text in cut if not any(text[:end] in cut for end in range(1, len(text)))))

    @property
    def usual(self) -> float:
        """The rules that a request meets, on the average of all ways and of none."""
        return (len(self.rest) + sum(map(len, self.ways.values()))) / (len(self.ways) + 1)


def table(names: Iterable[str], rules: Mapping[str, policy.Rule]) -> Table | None:
    """The table by which a request meets the fewest of the RBAC policies `names`; None where it helps little. What
    stands for none of `rules` is met by all."""
    given = tuple(names)
    made = [_table(given, rules, subject) for subject, fewest in FEWEST.items() if len(given) >= fewest]
    if not made:
        return None
    best = min(made, key=lambda each: each.usual)
    copies = sum(map(len, best.ways.values()))
    return best if best.usual < len(given) / 2 and copies <= MOST_COPIES * len(given) else None


def _table(names: Sequence[str], rules: Mapping[str, policy.Rule], by: Subject) -> Table:
    owners: dict[str, list[str]] = {}
    rest = []
    for name in names:
        keys = _keys(rules[name], by) if name in rules else None
        if keys is None:
            rest.append(name)
        for key in keys or ():
            owners.setdefault(key, []).append(name)

    def met(text: str) -> tuple[str, ...]:
        own = [name for end in range(1, len(text) + 1) for name in owners.get(text[:end], ())]
        return tuple(dict.fromkeys((*rest, *own)))

    return Table(by, {key: met(key) for key in sorted(owners)}, tuple(rest))


def _keys(rule: policy.Rule, by: Subject) -> Keys:
    """What the subject's text begins with wherever the rule holds; None when that may be anything."""
    for test in rule.conditions:
        if (found := _begins(test, by)) is not None:
            return found
    rows = rule.sources if by is Subject.PRINCIPAL else rule.operations
    answer: list[str] = []
    for row in rows:
        found = next((each for test in row if (each := _begins(test, by)) is not None), None)
        if found is None:
            return None
        answer += found
    return tuple(dict.fromkeys(answer)) or None


def _begins(test: policy.Test, by: Subject) -> Keys:
    if test.subject is not by or test.negated:
        return None
    found = tuple(map(_beginning, test.patterns))
    return found if all(found) else None


def _beginning(pattern: Pattern) -> str:
    """What every text that matches begins with, as far as it is known."""
    if pattern.how in (How.EXACT, How.PREFIX):
        return pattern.text
    if pattern.how is not How.REGEX or "|" in pattern.text:
        return ""
    answer, at = "", 0
    while at < len(pattern.text) and pattern.text[at] not in _OPERATORS:
        at += pattern.text[at] == "\\"
        answer += pattern.text[at : at + 1]
        at += 1
    # Of a letter before an operator for "any number" there may be none.
    return answer[:-1] if at < len(pattern.text) and pattern.text[at] in "*?{" else answer


def looks_at(by: Subject) -> Message:
    """What a table compares, as an input of Envoy's matchers."""
    if by is Subject.PRINCIPAL:
        return ssl_inputs_pb2.UriSanInput()
    return http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":path")


def part(whole: rbac_pb2.RBAC, names: Iterable[str]) -> rbac_pb2.RBAC:
    """The same RBAC with these policies only."""
    answer = rbac_pb2.RBAC(action=whole.action)
    for name in names:
        answer.policies[name].CopyFrom(whole.policies[name])
    return answer


