"""Tokens in a real Envoy, and `explain.tokens.judge` beside it: both decide alike, whatever is sent."""

import json
import random
import time

import pytest
import tokens_envoy

from retic import findings
from retic.explain import tokens
from retic.mesh import jwks, policy, token
from retic.mesh.token import Place, Where
from retic.testing import issuer as made

REF = findings.Ref("RequestAuthentication", "shop", "tokens")
FIRST = made.Issuer("https://first.example", made.Key("ES256", "a"), made.Key("RS256", "b"))
SECOND = made.Issuer("second", made.Key("EdDSA", "e"), made.Key("ES384", "f"), made.Key("PS256", "p"))
THIRD = made.Issuer("third", made.Key("ES512", "g"))
LOST = made.Issuer("lost")
STRANGER = made.Issuer("stranger")
CLAIMS = (
    token.ClaimHeader("x-role", "role"), token.ClaimHeader("x-deep", "a.b"), token.ClaimHeader("x-some", "some"),
)  # fmt: skip


def rule(of, number, keys=None, **fields):
    keys = jwks.read(of.jwks()).text if keys is None else keys
    return token.Issuer(REF, number, of.name, keys, fields.pop("where", token.DEFAULT), **fields)


ISSUERS = (
    rule(FIRST, 0, claim_headers=CLAIMS, payload_header="x-payload"),
    rule(SECOND, 1, audiences=("https://shop.example/", "web"), forward=True),
    rule(
        THIRD, 2, where=(Where(Place.HEADER, "x-jwt", ""), Where(Place.COOKIE, "session")), claim_headers=CLAIMS[:1]
    ),
    rule(LOST, 3, keys=""),
)
POLICIES = (
    policy.Policy(
        findings.Ref("AuthorizationPolicy", "shop", "read"), policy.Action.DENY,
        (policy.Rule(0, conditions=(
            policy.Test(policy.Subject.CLAIM, (policy.Pattern(policy.How.EXACT, "banned"),), name=("scope",)),
        )),),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    made_proxy = tokens_envoy.Proxy(tmp_path_factory.mktemp("tokens"), ISSUERS, POLICIES)
    yield made_proxy
    made_proxy.close()


def bearer(text):
    return ("Authorization", f"Bearer {text}")


def both(proxy, headers=(), target="/"):
    """What Envoy does, after it was found to be what is explained."""
    answer = proxy.ask(headers, target)
    said = tokens.judge(ISSUERS, headers, target, time.time())
    if said.refused or answer.status not in (200, 299, 403):
        assert answer.status == said.status, (headers, target, said.refused, answer.body)
    if answer.passed:
        own = [name for name, _ in said.headers]
        assert sorted(pair for pair in answer.headers if pair[0] in own) == sorted(said.headers)
        assert answer.target == said.target
    return answer, said


def test_a_request_without_a_token_passes_and_loses_what_only_the_proxy_may_set(proxy):
    answer, said = both(proxy, [("X-Role", "admin"), ("x_role", "admin"), ("X-Payload", "e30"), ("x-other", "1")])
    assert said.claims is None
    assert answer.passed
    assert [answer.header(name) for name in ("x-role", "x_role", "x-payload", "x-other")] == [[], [], [], ["1"]]


def test_a_valid_token_gives_its_claims_and_is_kept_from_the_application(proxy):
    answer, said = both(proxy, [bearer(FIRST.token(role="user", a={"b": 7}, some=["x", "y"])), ("x-role", "admin")])
    assert said.claims["role"] == "user"
    assert answer.header("x-role") == ["user"]
    assert answer.header("x-deep") == ["7"]
    assert len(answer.header("x-payload")) == 1
    assert answer.header("authorization") == []


def test_a_claims_header_chooses_the_route(proxy):
    assert proxy.ask([("x-role", "admin")]).status == 200
    assert proxy.ask([bearer(FIRST.token(role="admin"))]).status == 299
    assert proxy.ask([bearer(FIRST.token()), ("x-role", "admin")]).status == 200


def test_a_token_is_forwarded_where_that_is_asked_for(proxy):
    answer, _ = both(proxy, [bearer(SECOND.token(aud="web"))])
    assert len(answer.header("authorization")) == 1


def test_a_claim_with_spaces_is_a_list_to_policies(proxy):
    answer, said = both(proxy, [bearer(FIRST.token(scope="read banned"))])
    assert answer.status == 403
    assert said.claims["scope"] == ["read", "banned"]
    assert both(proxy, [bearer(FIRST.token(scope="read"))])[0].passed


def wrong_tokens():
    """Tokens that do not hold, made now: tests may be run long after they were collected."""
    now = int(time.time())
    return {
        "expired": FIRST.token(exp=now - 120),
        "not yet valid": FIRST.token(nbf=now + 3000),
        "unsigned": made.unsigned(FIRST.claims()),
        "another key of that name": FIRST.token(key=made.Key("ES256", "a")),
        "another issuer's key": FIRST.token(key=SECOND.keys[0]),
        "wrong audience": SECOND.token(aud="app"),
        "no audience": SECOND.token(),
        "unknown issuer": STRANGER.token(),
        "no issuer": FIRST.token(iss=None),
        "no known keys": LOST.token(),
        "public key as a shared secret": made.shared(FIRST.keys[1].pem(), FIRST.claims(), "b"),
        "changed": FIRST.token()[:-4] + "AAAA",
        "without a signature": FIRST.token().rpartition(".")[0] + ".",
        "two parts": FIRST.token().rpartition(".")[0],
        "no JSON": "e30.e30.e30",
        "not base64": "a!.b.c",
        "a time that is a text": FIRST.token(exp="soon"),
        "a time below 0": FIRST.token(exp=-1),
        "another algorithm in the header": FIRST.token(header={"alg": "ES384"}),
        "an algorithm nobody knows": FIRST.token(header={"alg": "XX1"}),
        "in another issuer's place": THIRD.token(),
    }


@pytest.mark.parametrize("name", list(wrong_tokens()))
def test_a_token_that_does_not_hold_is_refused(proxy, name):
    text, status = wrong_tokens()[name], 403 if name in ("wrong audience", "no audience") else 401
    assert both(proxy, [bearer(text)])[0].status == status
    assert both(proxy, target=f"/?access_token={text}")[0].status == status
    assert both(proxy, [("x-jwt", text)])[0].status == (200 if name == "in another issuer's place" else 401)
    assert both(proxy, [("Cookie", f"a=b; session={text}")])[0].status in (200, 401)


@pytest.mark.parametrize("key", range(3))
def test_each_algorithm_that_is_published_is_taken(proxy, key):
    assert both(proxy, [bearer(SECOND.token(key=SECOND.keys[key], aud=["x", "shop.example"]))])[0].passed


def test_an_oversized_token_is_refused(proxy):
    assert proxy.ask([bearer(FIRST.token(x="y" * 70_000))]).status == 431


def second_tokens():
    good, other, third, bad = FIRST.token(), FIRST.token(sub="b"), THIRD.token(), wrong_tokens()["expired"]
    twice = "/?access_token={}&x=1&access%5Ftoken={}".format
    return {
        "in two headers": ([bearer(good), ("x-jwt", third)], "/"),
        "in header and query": ([bearer(good)], f"/?access_token={other}"),
        "in header and an escaped query": ([bearer(good)], f"/?%61ccess_token={bad}"),
        "in two headers of one name": ([bearer(good), bearer(other)], "/"),
        "in one header twice": ([bearer(good), bearer(bad)], "/"),
        "in one line": ([("Authorization", f"Bearer {good}, Bearer {other}")], "/"),
        "in the query twice": ([], twice(good, bad)),
        "in cookies": ([("Cookie", f"session={third}; session={bad}")], "/"),
        "in two lines of cookies": ([("Cookie", f"session={third}"), ("Cookie", f"session={bad}")], "/"),
        "in cookie and header": ([("Cookie", f"session={third}"), ("x-jwt", third)], "/"),
    }


@pytest.mark.parametrize("how", list(second_tokens()))
def test_a_second_token_is_refused_even_beside_a_good_one(proxy, how):
    assert both(proxy, *second_tokens()[how])[0].status == 401


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "BeArEr ", "Bearer  ", "Bearer\t", "Basic "])
@pytest.mark.parametrize("which", ["good", "bad"])
def test_the_scheme_in_any_spelling_hides_no_token(proxy, scheme, which):
    text = FIRST.token() if which == "good" else wrong_tokens()["expired"]
    answer, _ = both(proxy, [("Authorization", scheme + text)])
    taken = which == "good" and scheme in ("bearer ", "BEARER ", "Bearer  ")
    assert answer.status == (200 if taken or scheme == "Basic " else 401)


def test_requests_without_a_path_are_looked_at_too(proxy):
    assert proxy.ask([bearer(wrong_tokens()["expired"])], "app:80", "CONNECT").status == 401
    assert proxy.ask([bearer(wrong_tokens()["expired"])], "*", "OPTIONS").status in (401, 404)


def test_explained_and_enforced_are_the_same_for_many_requests(proxy):
    draw, now = random.Random(20), int(time.time())
    everybody = (FIRST, SECOND, THIRD) * 3 + (LOST, STRANGER)
    wherever = {THIRD: ["x-jwt", "cookie"]}
    odd = {"exp": [now - 61, now + 100.5, 0, None, True, 2e19], "nbf": [now + 30, now + 300, "x"], "iat": [-1, 5.5],
           "aud": ["web", ["web"], [], [1], 5, "http://shop.example"], "sub": [None, 5, "s/s"], "jti": [7],
           "role": ["user", "", "admin2", 5, 1.5, -3, True, None, ["a"], {"k": "v"}, 1e15],
           "a": [{"b": "c"}, {"b": {}}, 7], "scope": ["a b", "", ["a"]]}  # fmt: skip
    passed = refused = 0
    for _ in range(600):
        of = draw.choice(everybody)
        chosen = {name: draw.choice(odd[name]) for name in draw.sample(list(odd), draw.choice([0, 0, 1, 1, 3]))}
        if of is SECOND and "aud" not in chosen:
            chosen["aud"] = "web"
        header = draw.choice([{}] * 6 + [{"kid": None}, {"kid": "zz"}, {"kid": 5}, {"alg": "RS256"}])
        text = of.token(key=draw.choice(of.keys), header=header, **chosen)
        if draw.random() < 0.1:
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(["", ".", "A", "=", "%20", "-", "!"]) + text[at + draw.randint(0, 1):]
        headers, target = [], "/p?q=1"
        usual = wherever.get(of, ["bearer", "query"])
        for where in draw.choice([draw.sample(usual, 1)] * 6 + [usual, ["bearer", "x-jwt"], ["query", "cookie"]]):
            if where == "bearer":
                headers.append(bearer(text))
            elif where == "x-jwt":
                headers.append(("x-jwt", text))
            elif where == "cookie":
                headers.append(("cookie", f"a=1; session={text}"))
            else:
                target += f"&access_token={text}"
        answer, _ = both(proxy, headers, target)
        passed, refused = passed + answer.passed, refused + (answer.status in (401, 403))
    assert min(passed, refused) > 100, (passed, refused)


def test_rules_for_one_port_are_for_that_port_only(tmp_path):
    one = rule(FIRST, 0, ports=(1,))
    proxy = tokens_envoy.Proxy(tmp_path, (one,))
    try:
        assert proxy.ask([bearer(wrong_tokens()["expired"])]).passed
    finally:
        proxy.close()
    assert tokens.judge((one,), [bearer(wrong_tokens()["expired"])], "/", time.time(), 1).refused
    assert not tokens.judge((one,), [bearer(wrong_tokens()["expired"])], "/", time.time(), 2).refused


def test_a_proxy_takes_every_key_that_is_found_fit(tmp_path):
    assert json.loads(jwks.NOBODYS)["keys"]
    every = [made.Key(name, name).public(algorithm=False) for name in ("ES256", "ES384", "ES512", "EdDSA", "RS256")]
    keys = jwks.read(json.dumps({"keys": every})).text
    proxy = tokens_envoy.Proxy(tmp_path, (rule(FIRST, 0, keys=keys), rule(LOST, 1, keys="")))
    try:
        assert proxy.ask().passed
    finally:
        proxy.close()
