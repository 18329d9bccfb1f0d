"""Which rules a request meets: every one that could hold, and few others."""

import re2
from hypothesis import given
from hypothesis import strategies as st

from retic.envoy import dispatch
from retic.mesh import patterns, policy
from retic.mesh.policy import How, Pattern, Subject

LETTERS = st.text("ab/", min_size=1, max_size=5)
CALLERS = st.builds(Pattern, st.sampled_from([How.EXACT, How.PREFIX, How.SUFFIX]), LETTERS)
PATHS = st.one_of(
    st.builds(Pattern, st.sampled_from([How.EXACT, How.PREFIX, How.SUFFIX]), LETTERS),
    st.lists(st.sampled_from(["a", "b", "{*}"]), min_size=1, max_size=4).map(
        lambda parts: patterns.path("/" + "/".join(parts))
    ),
)


def made_of(subject, those):
    found = st.builds(policy.Test, st.just(subject), st.lists(those, min_size=1, max_size=2).map(tuple), st.booleans())
    return st.lists(st.lists(found, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple)


RULES = st.lists(
    st.builds(
        policy.Rule, st.just(0), made_of(Subject.PRINCIPAL, CALLERS), made_of(Subject.PATH, PATHS),
        st.lists(st.builds(policy.Test, st.just(Subject.PATH), st.tuples(PATHS)), max_size=1).map(tuple),
    ),
    min_size=12, max_size=20,
)  # fmt: skip


def like(pattern, text):
    return {
        How.EXACT: lambda: text == pattern.text, How.PREFIX: lambda: text.startswith(pattern.text),
        How.SUFFIX: lambda: text.endswith(pattern.text),
        How.REGEX: lambda: re2.fullmatch(pattern.text, text) is not None,
    }[pattern.how]()  # fmt: skip


def holds(rule, caller, path):
    def test(one):
        text = caller if one.subject is Subject.PRINCIPAL else path
        return any(like(pattern, text) for pattern in one.patterns) is not one.negated

    rows = [rule.sources, rule.operations, (rule.conditions,)]
    return all(not alternatives or any(all(map(test, row)) for row in alternatives) for alternatives in rows)


def met(table, caller, path):
    text = caller if table.by is Subject.PRINCIPAL else path
    found = [key for key in table.ways if text.startswith(key)]
    return table.ways[max(found, key=len)] if found else table.rest


@given(RULES, LETTERS, LETTERS.map("/".__add__))
def test_every_rule_that_holds_is_met(rules, caller, path):
    named = {str(number): rule for number, rule in enumerate(rules)}
    for subject in (Subject.PRINCIPAL, Subject.PATH):
        table = dispatch._table([*named, "guard"], named, subject)
        found = met(table, caller, path)
        assert "guard" in found
        assert {name for name, rule in named.items() if holds(rule, caller, path)} <= set(found)


def rule(caller, path):
    who = policy.Test(Subject.PRINCIPAL, patterns.each([caller]))
    what = policy.Test(Subject.PATH, (patterns.path(path),))
    return policy.Rule(0, ((who,),), ((what,),))


def test_few_of_many_are_met():
    rules = {str(number): rule(f"spiffe://td/ns/n{number}/sa/a", f"/{number}/{{*}}/x") for number in range(100)}
    table = dispatch.table(rules, rules)
    assert table is not None
    assert table.usual <= 2
    assert table.by is Subject.PRINCIPAL


def test_many_rules_with_one_beginning_are_met_by_who_begins_so_only():
    rules = {str(number): rule("a", f"/{number}") for number in range(30)}
    rules |= {f"order {number}": rule("a", "/orders/{*}/x") for number in range(30)}
    table = dispatch.table(rules, rules)
    assert table is not None
    assert (len(table.ways["/1"]), len(table.ways["/orders/"]), table.rest) == (1, 30, ())


def test_no_table_for_few_rules_nor_where_it_helps_little():
    few = {str(number): rule(f"a{number}", "/") for number in range(7)}
    assert dispatch.table(few, few) is None
    paths = {str(number): rule("a", f"/{number}") for number in range(27)}
    assert dispatch.table(paths, paths) is None, "as many paths are compared as fast as a table is asked"
    same = {str(number): rule("a", "/a") for number in range(50)}
    assert dispatch.table(same, same) is None


def test_a_letter_before_any_number_may_be_missing():
    assert dispatch._beginning(Pattern(How.REGEX, "/ab*")) == "/a"
    assert dispatch._beginning(Pattern(How.REGEX, r"/a\.b[^/]+")) == "/a.b"
    assert dispatch._beginning(Pattern(How.REGEX, "a|b")) == ""
