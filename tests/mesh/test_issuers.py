"""What RequestAuthentications mean: which rules apply where, what keys are fit, and what is said of the others."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retic import findings, graph, wiring
from retic.mesh import faults, jwks, tables, token, token_rules, tokens
from retic.objects import core, meta, pods, security
from retic.testing import issuer as made

LOGIN = made.Issuer("https://login.example", made.Key("ES256", "a"), made.Key("RS256", "b"))
OTHER = made.Issuer("other")
WEB = tables.Key("shop", "web")


def rule(of=LOGIN, **fields):
    return security.JWTRule(issuer=of.name, **{"jwks": of.jwks(), **fields})


def authentication(name, *rules, namespace="shop", selector=None, **spec):
    chosen = security.WorkloadSelector(selector) if selector else None
    return security.RequestAuthentication(
        metadata=meta.Metadata(name=name, namespace=namespace),
        spec=security.RequestAuthenticationSpec(selector=chosen, jwt_rules=rules, **spec),
    )


def web():
    about = meta.Metadata(name="web", namespace="shop", uid="u", labels={"app": "web"})
    return pods.Pod(metadata=about, spec=pods.PodSpec(containers=()))


def service(port):
    return core.Service(
        metadata=meta.Metadata(name="admin", namespace="shop"),
        spec=core.ServiceSpec(selector={"app": "web"}, ports=(core.ServicePort(port=80, target_port=port),)),
    )


def audiences(db, port=0):
    return {each.issuer: each.audiences for each in token.at(db.ask(tokens.applying, WEB), port)}


def codes(db, name="one", kind="RequestAuthentication"):
    found = db.ask(faults.of, findings.Ref(kind, "shop", name))
    return sorted(fault.code for fault in found)


def test_the_nearest_rule_for_an_issuer_counts():
    everywhere = authentication("z", rule(audiences=("mesh",), from_params=("p",)), namespace="retic-system")
    around = authentication("a", rule(audiences=("namespace",)))
    near = authentication("b", rule(audiences=("pod",), from_params=("q",)), selector={"app": "web"})
    elsewhere = authentication("c", rule(audiences=("none",)), selector={"app": "api"})
    assert audiences(wiring.offline([web(), everywhere])) == {LOGIN.name: ("mesh",)}
    assert audiences(wiring.offline([web(), everywhere, around])) == {LOGIN.name: ("namespace",)}
    assert audiences(wiring.offline([web(), everywhere, around, near, elsewhere])) == {LOGIN.name: ("pod",)}


def test_rules_that_differ_in_audiences_only_add_up():
    one, two = authentication("a", rule(audiences=("x", "y"))), authentication("b", rule(audiences=("y", "z")))
    assert audiences(wiring.offline([web(), one, two])) == {LOGIN.name: ("x", "y", "z")}
    any_of_it = authentication("c", rule(), rule(OTHER))
    db = wiring.offline([web(), one, any_of_it])
    assert audiences(db) == {LOGIN.name: (), "other": ()}
    assert codes(db, "a") == []


def test_a_services_rules_are_for_its_ports():
    target = security.TargetReference("Service", "admin", group="")
    db = wiring.offline([web(), service(9090), authentication("a", rule(), target_refs=(target,))])
    assert (audiences(db, 9090), audiences(db, 8080)) == ({LOGIN.name: ()}, {})


def test_two_rules_for_one_issuer_are_a_fault_and_the_first_counts():
    db = wiring.offline([web(), authentication("one", rule(audiences=("x",)), rule(audiences=("y",)))])
    assert (audiences(db), codes(db)) == ({LOGIN.name: ("x",)}, ["RT0413"])
    again = authentication("two", rule(from_params=("t",)))
    db = wiring.offline([web(), authentication("one", rule()), again])
    assert (codes(db), codes(db, "two")) == ([], ["RT0413"])


def test_a_policy_that_asks_for_tokens_nobody_takes():
    source = security.Source(request_principals=("*",))
    asking = security.AuthorizationPolicy(
        metadata=meta.Metadata(name="one", namespace="shop"),
        spec=security.AuthorizationPolicySpec(
            rules=(
                security.AuthorizationRule(
                    from_=(security.From(source),), when=(security.Condition("request.auth.audiences", ("a",)),)
                ),
            )
        ),
    )
    assert codes(wiring.offline([asking]), kind="AuthorizationPolicy") == ["RT0419", "RT0419"]
    for namespace in ("shop", "retic-system"):
        taken = authentication("x", rule(), namespace=namespace)
        assert codes(wiring.offline([asking, taken]), kind="AuthorizationPolicy") == []


URI = "https://login.example/keys"


def fetched(outcome):
    db = wiring.offline([web(), authentication("one", rule(jwks=None, jwks_uri=URI, timeout="1m500ms"))])
    if outcome:
        db.commit([graph.Set(tables.KEY_SETS, tables.Uri(URI), outcome)])
    (found,) = db.ask(tokens.applying, WEB)
    return db, found.keys, [code for code in codes(db) if code != "RT0418"]


def test_keys_come_from_what_was_fetched():
    db, keys, said = fetched(None)
    assert (keys, said) == ("", [])
    assert db.ask(tokens.uris, tables.ONE) == (token_rules.Wanted(URI, 30.0),)
    assert fetched(tables.KeySet(LOGIN.jwks()))[1:] == (jwks.read(LOGIN.jwks()).text, [])
    assert fetched(tables.KeySet(LOGIN.jwks(), "it is away"))[1:] == (jwks.read(LOGIN.jwks()).text, ["RT0415"])
    assert fetched(tables.KeySet("", "it is away"))[1:] == ("", ["RT0414"])
    assert fetched(tables.KeySet("<html>"))[1:] == ("", ["RT0411"])


def test_of_two_times_for_one_uri_the_shorter_counts():
    rules = [rule(of, jwks=None, jwks_uri=URI, timeout=t) for of, t in ((LOGIN, "3s"), (OTHER, "1s"))]
    db = wiring.offline([authentication("one", *rules), authentication("two", rule())])
    assert db.ask(tokens.uris, tables.ONE) == (token_rules.Wanted(URI, 1.0),)


PUBLIC = LOGIN.keys[0].public()


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ({**PUBLIC, "d": "c2VjcmV0"}, True),
        ({**LOGIN.keys[1].public(), "p": "c2VjcmV0"}, True),
        ({"kty": "oct", "k": "c2VjcmV0"}, True),
        ({**PUBLIC, "alg": "HS256"}, False),
        ({**PUBLIC, "crv": "secp256k1"}, False),
        ({**PUBLIC, "x": PUBLIC["y"]}, False),
        ({**PUBLIC, "x": "!"}, False),
        ({**PUBLIC, "x": None}, False),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, False),
        ({**LOGIN.keys[1].public(), "e": "BQ"}, False),
        ({**LOGIN.keys[1].public(), "alg": "none"}, False),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, False),
        ({"kty": 5}, False),
        ("key", False),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_not_quoted(key, secret):
    found = jwks.read(json.dumps({"keys": [key, PUBLIC]}))
    (problem,) = found.problems
    assert (problem.secret, found.count) == (secret, 1)
    assert "c2VjcmV0" not in found.text + problem.message + problem.fix
    assert jwks.read(json.dumps({"keys": [key]})).text == ""


@pytest.mark.parametrize(
    "key",
    [
        {**PUBLIC, "use": "enc"},
        {**PUBLIC, "key_ops": ["sign"]},
        {"kty": "new"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
        {**LOGIN.keys[1].public(), "alg": "RSA-OAEP"},
        {**PUBLIC, "alg": "ECDH-ES"},
    ],
)
def test_keys_of_other_kinds_and_uses_are_of_no_concern(key):
    found = jwks.read(json.dumps({"keys": [key, PUBLIC]}))
    assert (found.problems, found.count) == ((), 1)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"keys": {}}', '{"keys": []}', "[" * 100_000, '{"keys": [' + "5," * 101 + "5]}", " " * (1 << 19)],
)
def test_a_document_that_is_no_set_of_keys_is_one_problem(text):
    found = jwks.read(text)
    assert (found.text, len(found.problems)) == ("", 1)


FIELDS = st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["RSA", "EC", "OKP", "P-256", "AQAB"])


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner), max_leaves=20))
def test_nothing_that_is_json_breaks_the_reading_of_keys(value):
    found = jwks.read(msgspec.json.encode({"keys": value}).decode())
    assert found.text or found.problems or not value


def test_a_header_in_every_spelling():
    assert token.forged("x-a.b") == r"x[-_]a\.b"
    assert token.forged("x_a-b") == "x[-_]a[-_]b"


def test_many_places_do_not_make_rules_without_end():
    many = tuple(token.Where(token.Place.HEADER, f"x-{number}") for number in range(300))
    (found,) = token.at((token.Issuer(findings.Ref("RequestAuthentication", "a", "b"), 0, "i", "", many),), 0)
    assert len(token.refused((found,))) == token.MOST_PLACES * (token.MOST_PLACES - 1) // 2
