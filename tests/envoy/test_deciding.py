"""Which rules of all stages a request meets in a slot: every one that could hold, of few, by one filter's choice."""

import test_dispatch as rules
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.http.composite.v3 import composite_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.matching.common_inputs.ssl.v3 import ssl_inputs_pb2
from hypothesis import given
from hypothesis import strategies as st

from retic.envoy import authorization, deciding, dispatch
from retic.mesh.policy import Action, Subject

RBAC, SUBJECTS = rbac_pb2.RBAC, (Subject.PRINCIPAL, Subject.PATH)


def stage(action, named, table):
    kind = RBAC.ALLOW if action is Action.ALLOW else RBAC.DENY
    enforced = RBAC(action=kind, policies={name: rbac_pb2.Policy() for name in named})
    return authorization.Stage(action, enforced, None, (), table)


def met(slot, caller, path):
    """The rules' names in the order in which the request meets them, and how many composite filters it passes."""
    config = slot.typed_config
    if config.Is(http_rbac_pb2.RBAC.DESCRIPTOR):
        return list(unpacked(config, http_rbac_pb2.RBAC).rules.policies), 0
    made = unpacked(config, extension_matcher_pb2.ExtensionWithMatcher)
    action = unpacked(chosen(made.xds_matcher, caller, path).action.typed_config, composite_pb2.ExecuteFilterAction)
    chain = action.filter_chain.typed_config or [action.typed_config]
    names, passed = [], 1
    for each in chain:
        found, further = met(each, caller, path)
        names += found
        passed += further
    return names, passed


def unpacked(config, message):
    made = message()
    assert config.Unpack(made)
    return made


def chosen(matcher, caller, path):
    def text(given):
        return caller if given.typed_config.Is(ssl_inputs_pb2.UriSanInput.DESCRIPTOR) else path

    def holds(predicate):
        if predicate.HasField("or_matcher"):
            return any(map(holds, predicate.or_matcher.predicate))
        single = predicate.single_predicate
        return text(single.input).startswith(single.value_match.prefix)

    found = next((one.on_match for one in matcher.matcher_list.matchers if holds(one.predicate)), None)
    if matcher.HasField("matcher_tree"):
        ways = matcher.matcher_tree.prefix_match_map.map
        begun = [key for key in ways if text(matcher.matcher_tree.input).startswith(key)]
        found = ways[max(begun, key=len)] if begun else None
    found = found or matcher.on_no_match
    return chosen(found.matcher, caller, path) if found.HasField("matcher") else found


@given(
    rules.RULES, rules.RULES, st.sampled_from([*SUBJECTS, None]), st.sampled_from([*SUBJECTS, None]), rules.LETTERS,
    rules.LETTERS.map("/".__add__),
)  # fmt: skip
def test_every_rule_that_holds_is_met_and_denied_first(denied, allowed, by, then, caller, path):
    made, named = [], {}
    for action, those, subject in ((Action.DENY, denied, by), (Action.ALLOW, allowed, then)):
        own = {f"{action}{number}": rule for number, rule in enumerate(those)}
        table = dispatch._table([*own, f"{action} guard"], own, subject) if subject else None
        made.append(stage(action, [*own, f"{action} guard"], table))
        named |= own
    found, _ = met(deciding.by_stages("slot", (), made, "pod"), caller, path)
    holding = {name for name, rule in named.items() if rules.holds(rule, caller, path)}
    assert {*holding, "DENY guard", "ALLOW guard"} <= set(found)
    order = [name.startswith("ALLOW") for name in found]
    assert order == sorted(order), "what refuses comes first"


def test_a_request_passes_one_composite_filter_however_many_rules_there_are():
    allow = {f"a{n}": rules.rule(f"spiffe://td/ns/n{n}/sa/a", "/") for n in range(60)}
    deny = {f"d{n}": rules.rule("spiffe://td/ns/x/sa/x", f"/admin/{n}") for n in range(40)}
    made = [
        stage(Action.DENY, deny, dispatch._table([*deny], deny, Subject.PATH)),
        stage(Action.ALLOW, allow, dispatch._table([*allow], allow, Subject.PRINCIPAL)),
    ]
    slot = deciding.by_stages("slot", (), made, "pod")
    assert met(slot, "spiffe://td/ns/n7/sa/a", "/") == (["a7"], 1)
    assert met(slot, "spiffe://td/ns/n7/sa/a", "/admin/7") == (["d7", "a7"], 3)
    assert met(slot, "", "/") == ([], 1)


def test_short_chains_hold_no_more_copies_than_a_table_may():
    allow = {f"a{n}": rules.rule(f"spiffe://td/ns/n{n}/sa/a", "/") for n in range(60)}
    made = [
        stage(Action.DENY, [f"d{n}" for n in range(20)], None),
        stage(Action.ALLOW, allow, dispatch._table([*allow], allow, Subject.PRINCIPAL)),
    ]
    slot = deciding.by_stages("slot", (), made, "pod")
    found, passed = met(slot, "spiffe://td/ns/n7/sa/a", "/")
    assert (found[20:], passed) == (["a7"], 2), "twenty rules for each of sixty callers would be too many"


def test_large_expressions_are_held_twice_at_most():
    allow = {f"a{n}": rules.rule(f"spiffe://td/ns/n{n}/sa/a", "/") for n in range(60)}
    deny = {f"d{n}": rules.rule("spiffe://td/ns/x/sa/x", f"/admin/{n}") for n in range(40)}
    unreadable = f"{authorization.UNREADABLE}path"
    made = [
        stage(Action.DENY, [*deny, unreadable], dispatch._table([*deny, unreadable], deny, Subject.PATH)),
        stage(Action.ALLOW, allow, dispatch._table([*allow], allow, Subject.PRINCIPAL)),
    ]
    slot = deciding.by_stages("slot", (), made, "pod")
    assert met(slot, "spiffe://td/ns/n7/sa/a", "/") == ([unreadable, "a7"], 2)
    assert slot.SerializeToString().count(unreadable.encode()) == 2
