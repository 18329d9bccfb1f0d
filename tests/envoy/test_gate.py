"""The expression that chooses where a TCP connection goes, made from RBAC messages."""

import pytest
from envoy.config.rbac.v3 import rbac_pb2

from retic import findings
from retic.envoy import authorization, gate
from retic.mesh import policy
from retic.mesh.policy import Action, How, Pattern, Policy, Rule, Subject

REF = findings.Ref("AuthorizationPolicy", "shop", "p")


def chosen(*rules, action=Action.ALLOW):
    stages = authorization.stages([Policy(REF, action, rules)], http=False)
    value = gate.config(stages).value.decode("utf-8", "replace")
    return value[value.index("%CEL(") : value.rindex(")%") + 2] if "%CEL(" in value else ""


def rule(subject, text, how=How.EXACT, *, negated=False):
    return Rule(0, sources=((policy.Test(subject, (Pattern(how, text),), negated),),))


def test_without_policies_nothing_is_chosen():
    assert b"255.255.255.255" not in gate.config([]).value


def test_what_fails_stays_refused():
    """The refusal is set first, so that an expression that fails leaves it."""
    value = gate.config(authorization.stages([Policy(REF, Action.ALLOW, ())], http=False)).value
    assert value.index(b"255.255.255.255:1") < value.index(b"%CEL(")
    assert b"255.255.255.255:1" in gate.closed().value


@pytest.mark.parametrize(("network", "expected"), [
    ("10.1.2.3/32", '.startsWith("10.1.2.3:")'), ("10.1.0.0/16", '.startsWith("10.1.")'),
    ("10.4.0.0/15", '.startsWith("10.4.") || source.address.startsWith("10.5.")'), ("fd00::/8", "%CEL(false ?"),
])  # fmt: skip
def test_addresses(network, expected):
    assert expected in chosen(rule(Subject.SOURCE_ADDRESS, network))


def test_every_address_needs_no_choice():
    assert chosen(rule(Subject.SOURCE_ADDRESS, "0.0.0.0/0")) == ""


def test_in_plaintext_nobody_is_anybody():
    said = chosen(rule(Subject.PRINCIPAL, "spiffe://d/ns/a/sa/b"))
    assert said.startswith("%CEL((connection.mtls ? ")
    assert ": false) ? destination.address" in said


@pytest.mark.parametrize("text", ['a"b', "a)%b", "a\\b", "a%CEL(b)%", "a'b", "a\nb"])
def test_no_text_ends_the_expression(text):
    said = chosen(rule(Subject.PRINCIPAL, text))
    assert said.count("%") == 2
    assert f")%{text}" not in said


def test_too_many_rules_are_left_to_rbac():
    many = [rule(Subject.PRINCIPAL, f"spiffe://d/ns/a/sa/{n}") for n in range(2000)]
    rules = tuple(Rule(n, each.sources) for n, each in enumerate(many))
    assert chosen(*rules) == ""


def test_http_is_nothing_a_connection_is_judged_by():
    with pytest.raises(ValueError, match="no connection is judged by header"):
        gate._permission(rbac_pb2.Permission(header={"name": "x"}))
