"""What of a policy cannot be read is decided against the caller, from files and from an API server alike."""

import json
import textwrap

import msgspec
import pytest
import yaml

from retic import findings, objects, wiring
from retic.cli import analyze
from retic.explain.request import message, policies, tests
from retic.mesh import network, peers, tables, token, tokens
from retic.mesh import policies as applying
from retic.objects import guarded
from retic.sources import manifests
from retic.sources.api import decoding, kinds
from retic.testing import issuer as made

GATEWAY = "gateway.networking.k8s.io"
PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: retic-system}}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app}}
spec: {nodeName: node-1, containers: [{name: c, command: [app], ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: shop, labels: {app: other}}
spec: {nodeName: node-1, containers: [{name: c, command: [app], ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}
---
"""
WEB, SPY = "cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/sa/spy"
APP = {"selector": {"matchLabels": {"app": "app"}}}
KEYS = {name: tables.Key("shop", name) for name in ("app", "other")}


def text_of(kind, spec, *, namespace="shop", top="spec", annotations=None):
    about = {"name": "p", "namespace": namespace, **({"annotations": annotations} if annotations else {})}
    return yaml.safe_dump({"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": about, top: spec})


class World:
    """A mesh of PODS with one policy, read in one of two ways, and what was said of it."""

    def __init__(self, folder, way, text, **settings):
        file = folder / "it.yaml"
        file.write_text(PODS + (text if way == "file" else ""))
        loaded = manifests.load([file])
        every = [located.object for located in loaded.objects]
        self.found = analyze.examine(loaded) if way == "file" else ()
        self.way, self.lines = way, (PODS + text).splitlines()
        if way == "server":
            plain = yaml.safe_load(text)
            read = next(one for one in kinds.mesh() if one.kind == plain["kind"])
            body = json.dumps({**plain, "metadata": {**plain["metadata"], "resourceVersion": "1"}})
            decoded = decoding.decode(read, decoding.single(body.encode()))
            self.found = decoded.found
            every += [decoded.value] if decoded.value is not None else []
        self.db = wiring.offline(every, network.Settings(**settings))

    def lets_in(self, who, pod="app", target="/", method="GET"):
        request = message.Message(method, target, "app", {})
        call = tests.Call(f"spiffe://{who}", "10.1.1.1", 8080, "10.244.1.2", request)
        return policies.verdict(self.db.ask(applying.applying, KEYS[pod]), call).allowed

    def modes(self, pod="app"):
        said = self.db.ask(peers.modes, KEYS[pod])
        return said.whole.mode.value, said.at(8080).mode.value

    def issuers(self, pod="app"):
        return {one.issuer: bool(one.keys) for one in token.at(self.db.ask(tokens.applying, KEYS[pod]), 8080)}

    def said(self, path):
        """The error about a field; in a file it names the line that the field, or its entry, is in."""
        (found,) = [one for one in self.errors() if one.message.startswith(f"{path} ")]
        if found.file:
            name = path.rpartition(".")[2]
            entry = name.endswith("]")
            line = self.lines[found.line - 1].strip()
            assert line.startswith("- ") if entry else f"{name}:" in line, line
        return found

    def errors(self):
        return [one for one in self.found if one.severity is findings.Severity.ERROR]


@pytest.fixture(params=["file", "server"])
def world(request, tmp_path):
    def build(kind, spec, *, namespace="shop", top="spec", annotations=None, **settings):
        text = text_of(kind, spec, namespace=namespace, top=top, annotations=annotations)
        return World(tmp_path, request.param, text, **settings)

    return build


def rules(*given, action=None, **spec):
    return {**({"action": action} if action else {}), "rules": list(given), **spec}


def source(**fields):
    return {"from": [{"source": fields}]}


# What is written, the field that is told, and what is told to write.
IN_RULES = {
    "source": (source(princpals=[WEB]), "from[0].source.princpals", "principals"),
    "from": ({"form": [{"source": {"principals": [WEB]}}]}, "form", "from"),
    "from's source": ({"from": [{"sorce": {"principals": [WEB]}}]}, "from[0].sorce", "source"),
    "operation": ({"to": [{"operation": {"methdos": ["POST"]}}]}, "to[0].operation.methdos", "methods"),
    "to's operation": ({"to": [{"operaton": {"methods": ["POST"]}}]}, "to[0].operaton", "operation"),
    "condition": ({"when": [{"key": "source.ip", "valeus": ["10.9.9.9"]}]}, "when[0].valeus", "values"),
    "condition's key": ({"when": [{"kye": "source.ip", "values": ["10.9.9.9"]}]}, "when[0].kye", "key"),
    "number for text": ({"to": [{"operation": {"ports": [9999]}}]}, "to[0].operation.ports[0]", '"9999"'),
    "text for list": (source(principals=WEB), "from[0].source.principals", "- "),
    "one bad entry": (source(principals=[WEB, {"a": "b"}]), "from[0].source.principals[1]", '"text"'),
    "empty entry": (source(principals=[WEB, None]), "from[0].source.principals[1]", "a value"),
    "empty list": (source(principals=[]), "from[0].source.principals", "something"),
    "nothing at all": (source(principals=None), "from[0].source.principals", "something"),
    "source that is a list": ({"from": [{"source": [WEB]}]}, "from[0].source", "key: value"),
    "empty from": ({"from": [None]}, "from[0]", "a value"),
}


@pytest.mark.parametrize("case", IN_RULES)
def test_a_rule_that_lets_in_lets_nobody_in(world, case):
    rule, field, fix = IN_RULES[case]
    here = world("AuthorizationPolicy", rules(rule))
    assert not here.lets_in(SPY)
    said = here.said(f"spec.rules[0].{field}")
    assert said.message.endswith("until it is mended, rule 1 lets nobody in")
    assert fix in said.fix


@pytest.mark.parametrize("case", IN_RULES)
def test_a_rule_that_refuses_refuses_whoever_else_it_means(world, case):
    rule = IN_RULES[case][0]
    assert not world("AuthorizationPolicy", rules(rule, action="DENY")).lets_in(SPY)
    also = {**rule, "to": [*rule.get("to", [{}]), {"operation": {"paths": ["/a"]}}]} if "to" not in rule else rule
    narrowed = {**also, "when": [*also.get("when", []), {"key": "source.ip", "values": ["10.8.8.8"]}]}
    assert world("AuthorizationPolicy", rules(narrowed, action="DENY")).lets_in(SPY), "what is read narrows it still"


def test_other_rules_of_the_policy_still_hold(world):
    here = world("AuthorizationPolicy", rules(source(princpals=[SPY]), source(principals=[WEB])))
    assert here.lets_in(WEB)
    assert not here.lets_in(SPY)


@pytest.mark.parametrize("action", ["AUDIT", "DENY"])
def test_what_only_counts_refuses_nobody(world, action):
    dry = None if action == "AUDIT" else {"istio.io/dry-run": "true"}
    here = world("AuthorizationPolicy", rules(source(princpals=[WEB]), action=action), annotations=dry)
    assert here.lets_in(SPY)
    assert here.errors()


def test_a_mark_of_a_trial_that_is_no_text_tries_nothing(world):
    here = world("AuthorizationPolicy", rules({}, action="DENY"), annotations={"istio.io/dry-run": True})
    assert not here.lets_in(SPY)
    assert "metadata" in here.errors()[0].message


# What is written beside {rules: [{}]}, and whether app and the other pod are let in.
WHOLE = {
    "action": ({"action": "ALOW", **APP}, "spec.action", False, True),
    "action of a wrong type": ({"action": ["ALLOW"], **APP}, "spec.action", False, True),
    "field's name": ({"actoin": "DENY", **APP}, "spec.actoin", False, True),
    "selector": ({"selecter": APP["selector"]}, "spec.selecter", False, False),
    "matchLabels": ({"selector": {"matchLabel": {"app": "app"}}}, "spec.selector.matchLabel", False, False),
    "label": ({"selector": {"matchLabels": {"app": 1}}}, "spec.selector.matchLabels.app", False, False),
    "targetRefs": ({"targetRef": [{"kind": "Service", "name": "app"}]}, "spec.targetRef", False, False),
    "target's field": ({"targetRefs": [{"kind": "Service", "nmae": "app"}]}, "spec.targetRefs[0].nmae", False, False),
    "rules": ({"rules": "all", **APP}, "spec.rules", False, True),
    "rule": ({"rules": ["all"], **APP}, "spec.rules[0]", False, True),
    "provider": ({"action": "CUSTOM", "provider": {"nam": "x"}, **APP}, "spec.provider.nam", False, True),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_policy_that_cannot_be_read_denies_everything_to_whom_it_is_for(world, case):
    spec, field, app, other = WHOLE[case]
    here = world("AuthorizationPolicy", {"rules": [{}], **spec})
    assert (here.lets_in(WEB), here.lets_in(WEB, "other")) == (app, other)
    assert "until it is mended, every call to" in here.said(field).message
    (value,) = here.db.ask(applying.applying, KEYS["app"])
    assert value.closed


@pytest.mark.parametrize("target", [
    {"kind": "Servce", "name": "app"}, {"kind": "Gateway", "name": "door"},
    {"kind": "Gateway", "group": "gateway.networking.k8s.oi", "name": "door"},
])  # fmt: skip
def test_a_target_of_a_kind_that_is_none_is_everybody(tmp_path, target):
    text = text_of("AuthorizationPolicy", {"rules": [{}], "targetRefs": [target]})
    here = World(tmp_path, "file", text)
    assert not here.lets_in(WEB)
    assert not here.lets_in(WEB, "other")
    assert [one.code for one in here.errors()] == ["RT0405"]
    assert "until it is mended" in here.errors()[0].message


def test_of_the_meshs_own_namespace_it_is_the_mesh(world):
    here = world("AuthorizationPolicy", {"rules": [{}], "selecter": {}}, namespace="retic-system")
    assert not here.lets_in(WEB, "other")


def test_a_misspelt_spec_counts_too(world):
    assert not world("AuthorizationPolicy", {"rules": [{}]}, top="sepc").lets_in(WEB)
    here = world("PeerAuthentication", {"mtls": {"mode": "STRICT"}}, top="sepc", mode="PERMISSIVE")
    assert here.modes() == ("STRICT", "STRICT")
    assert here.errors()[0].code == "RT0433"


def test_another_version_is_an_error(tmp_path):
    text = text_of("AuthorizationPolicy", VALID).replace("io/v1", "io/v7")
    assert [one.code for one in World(tmp_path, "file", text).errors()] == ["RT0010"]


def test_the_same_key_twice_is_undecided(tmp_path):
    text = textwrap.dedent(f"""
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {{name: p, namespace: shop}}
        spec:
          rules:
          - from:
            - source:
                principals: ["{SPY}"]
                principals: ["{WEB}"]
        """)
    here = World(tmp_path, "file", text)
    assert not here.lets_in(SPY)
    assert not here.lets_in(WEB)
    assert [one.code for one in here.errors()] == ["RT0012"]


def test_in_a_list_too(tmp_path):
    text = textwrap.dedent(f"""
        apiVersion: v1
        kind: List
        items:
        - {{apiVersion: v1, kind: ServiceAccount, metadata: {{name: a, namespace: shop}}}}
        - apiVersion: security.istio.io/v1
          kind: AuthorizationPolicy
          metadata: {{name: p, namespace: shop}}
          spec: {{rules: [{{from: [{{source: {{principals: ["{WEB}"], principals: ["{SPY}"]}}}}]}}]}}
        """)
    here = World(tmp_path, "file", text)
    assert not here.lets_in(WEB)
    assert not here.lets_in(SPY)


def test_what_is_written_once_and_meant_twice(tmp_path):
    """The fault stands where the anchor is, and counts wherever its alias is."""
    text = textwrap.dedent(f"""
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: {{name: p, namespace: shop}}
        spec:
          rules:
          - from: [{{source: &one {{principals: ["{WEB}"], principals: ["{SPY}"]}}}}]
            to: [{{operation: {{methods: [PUT]}}}}]
          - from: [{{source: *one}}]
        """)
    here = World(tmp_path, "file", text)
    assert not here.lets_in(WEB)
    assert not here.lets_in(SPY)


VALID = {
    "selector": {"matchLabels": {"app": "app"}},
    "rules": [
        {"from": [{"source": {"principals": [WEB], "namespaces": ["shop"]}}], "to": [{"operation": {"paths": ["/a"]}}]},
        {"to": [{"operation": {"methods": ["GET"], "notPaths": ["/a", "/b"]}}],
         "when": [{"key": "source.principal", "values": [SPY], "notValues": ["x/ns/y/sa/z"]}]},
    ],
}  # fmt: skip


def places(value, path=()):
    """Every place of a plain value, but for its top."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoilt(place, how):
    """The policy with another value, or another name, at a place."""
    made = json.loads(json.dumps(VALID))
    *way, last = place
    part = made
    for step in way:
        part = part[step]
    if how == "rename" and isinstance(part, dict):
        part[f"{last}x"] = part.pop(last)
    else:
        part[last] = None if how in ("rename", "nothing") else how
    return made


CALLS = [(who, target, method) for who in (WEB, SPY) for target in ("/a", "/b", "/c") for method in ("GET", "PUT")]


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_no_mistake_lets_in_whom_the_right_policy_keeps_out(tmp_path, action):
    def let_in(spec):
        here = World(tmp_path, "file", text_of("AuthorizationPolicy", {"action": action, **spec}))
        return {call for call in CALLS if here.lets_in(call[0], target=call[1], method=call[2])}, here.errors()

    right, errors = let_in(VALID)
    assert not errors
    assert 0 < len(right) < len(CALLS)
    mistaken = 0
    for place in places(VALID):
        for how in ("rename", "nothing", 1, True, [], {}, [{}], [None], {"a": 1}):
            found, errors = let_in(spoilt(place, how))
            if errors:
                mistaken += 1
                assert found <= right, (place, how)
            elif not found <= right:  # what is decided: an empty part is everything, another label other pods
                assert how in ({}, [{}]) or place[-1] in ("app", "rules"), (place, how)
    assert mistaken > 150


# What is written of app, in a mesh that takes plaintext, and the modes of it (port 8080's too), and of the other pod.
MODES = {
    "mode": ({**APP, "mtls": {"mode": "STRIT"}}, ("STRICT", "STRICT"), "PERMISSIVE"),
    "mode's name": ({**APP, "mtls": {"mod": "STRICT"}}, ("STRICT", "STRICT"), "PERMISSIVE"),
    "mtls": ({**APP, "mTLS": {"mode": "STRICT"}}, ("STRICT", "STRICT"), "PERMISSIVE"),
    "for all": ({"mtls": {"mode": "strict"}}, ("STRICT", "STRICT"), "STRICT"),
    "selector": ({"selecter": APP["selector"], "mtls": {"mode": "STRICT"}}, ("STRICT", "STRICT"), "STRICT"),
    "label": ({"selector": {"matchLabels": {"app": None, "x": []}}}, ("STRICT", "STRICT"), "STRICT"),
    "a port's": ({**APP, "mtls": {"mode": "DISABLE"}, "portLevelMtls": {"8080": {"mod": "STRICT"}}},
                 ("DISABLE", "STRICT"), "PERMISSIVE"),
    "all ports'": ({**APP, "mtls": {"mode": "DISABLE"}, "portLevelMtls": [{"8080": {"mode": "STRICT"}}]},
                   ("STRICT", "STRICT"), "PERMISSIVE"),
    "a port's number": ({**APP, "mtls": {"mode": "DISABLE"}, "portLevelMtls": {"http": {"mode": "STRICT"}}},
                        ("STRICT", "STRICT"), "PERMISSIVE"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODES)
def test_what_cannot_be_read_of_modes_is_strict(world, case):
    spec, app, other = MODES[case]
    here = world("PeerAuthentication", spec, mode="PERMISSIVE")
    assert here.modes() == app
    assert here.modes("other")[0] == other
    if case != "a port's number":  # a matter of meaning (RT0422), which a server's reader does not tell
        assert any("(STRICT)" in one.message for one in here.errors())


def test_of_whom_it_is_for_nobody_knows_no_other_one_goes_before(tmp_path):
    open_ = text_of("PeerAuthentication", {**APP, "mtls": {"mode": "DISABLE"}}).replace("name: p", "name: a")
    here = World(tmp_path, "file", open_, mode="PERMISSIVE")
    assert here.modes()[0] == "DISABLE"
    stray = text_of("PeerAuthentication", {"selecter": {}, "mtls": {"mode": "STRICT"}})
    here = World(tmp_path, "file", f"{open_}---\n{stray}", mode="PERMISSIVE")
    assert here.modes()[0] == "STRICT"


LOGIN, OTHER = made.Issuer("login", made.Key("ES256", "a")), made.Issuer("other", made.Key("ES256", "b"))


def rule(of=LOGIN, **fields):
    return {"issuer": of.name, "jwks": of.jwks(), **fields}


# The rules beside one that is right, other fields of the spec, and the issuers whose tokens are taken at app.
TOKENS = {
    "field": ([rule(audience=["a"])], {}, {"login": False, "other": True}),
    "value": ([rule(audiences="a")], {}, {"login": False, "other": True}),
    "nested": ([rule(fromHeaders=[{"nmae": "x"}])], {}, {"login": False, "other": True}),
    "bool": ([rule(forwardOriginalToken="yes")], {}, {"login": False, "other": True}),
    "issuer": ([{**rule(), "issuer": 1}], {}, {"(nobody)": False, "other": True}),
    "no keys": ([{"issuer": "login"}], {}, {"login": False, "other": True}),
    "keys": ([{"issuer": "login", "jwksURI": "https://a/b"}], {}, {"login": False, "other": True}),
    "selector": ([rule()], {"selecter": {"matchLabels": {"app": "x"}}}, {"login": False, "other": False}),
    "rule": (["login"], {}, {"(nobody)": False}),
}


@pytest.mark.parametrize("case", TOKENS)
def test_tokens_of_an_issuer_that_cannot_be_read_are_refused(world, case):
    given, spec, issuers = TOKENS[case]
    here = world("RequestAuthentication", {"jwtRules": [*given, rule(OTHER)], **spec})
    assert here.issuers() == issuers
    codes = {one.code for one in here.errors()}
    assert codes if case != "no keys" else here.way == "server" or codes == {"RT0411"}  # a matter of meaning


def test_misspelt_rules_of_tokens_take_none(world):
    assert world("RequestAuthentication", {"jwtRule": [rule()]}).issuers() == {"(nobody)": False}


def test_what_is_read_is_written_and_read_again(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text(text_of("AuthorizationPolicy", rules(source(princpals=[WEB]), action="DNY")))
    (located,) = manifests.load([file]).objects
    assert located.is_closed
    again = objects.decode(msgspec.json.decode(msgspec.json.encode(objects.encode(located.object))))
    assert again == located.object
    assert set(guarded.paths(again)) == {"spec.action", "spec.rules[0].from[0].source.princpals"}


def test_nobody_can_write_the_mark_themselves(world):
    here = world("AuthorizationPolicy", rules({}, **{"(unread)": []}))
    assert not here.lets_in(WEB)
    assert here.errors()[0].code == "RT0433"
