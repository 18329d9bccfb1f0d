"""The names of counters of policies: what is put together is read again."""

from retic import findings
from retic.envoy import authorization, counters
from retic.mesh import policy


def made(name, action, *, dry=True):
    ref = findings.Ref("AuthorizationPolicy", "shop", name)
    return policy.Policy(ref, action, (policy.Rule(0),), dry_run=dry)


def stage(*policies):
    return authorization.stages(policies, http=False)[-1]


def test_rules_are_counted_for_their_policies():
    deny = counters.dry("u1", stage(made("a.b", policy.Action.DENY)))
    found = counters.read(
        [
            {
                f"http.inbound.rbac.{deny}policy.shop/a.b/0.shadow_denied": 2,
                f"http.plaintext.rbac.{deny}policy.shop/a.b/1 (no probe).shadow_denied": 1,
                f"http.inbound.rbac.{deny}shadow_denied": 3,
                "http.inbound.rbac.audit.policy.shop/seen/0.allowed": 4,
                "http.inbound.rbac.custom.1.policy.shop/ask/0.shadow_denied": 5,
                "http.inbound.rbac.custom.policy.shop/lost/0.denied": 6,
                "http.inbound.rbac.deny.denied": 7,
            },
            {f"http.inbound.rbac.{deny}policy.shop/a.b/0.shadow_denied": 10},
        ]
    )
    assert found.matched == {"shop/a.b": 13, "shop/seen": 4, "shop/ask": 5, "shop/lost": 6}


def test_rules_that_allow_refuse_together():
    owner = "shop/web.door"
    allow = counters.dry(owner, stage(made("a", policy.Action.ALLOW)))
    found = counters.read(
        [
            {
                f"http.gateway.rbac.{allow}policy.shop/a/0.shadow_allowed": 2,
                f"http.gateway.rbac.{allow}shadow_allowed": 2,
                f"http.gateway.rbac.{allow}shadow_denied": 3,
            }
        ]
    )
    assert (found.allowed, found.of_owner(owner), found.matched) == ({"shop/a": 2}, 3, {})


def test_one_more_that_allows_refuses_nothing():
    both = stage(made("a", policy.Action.ALLOW), made("b", policy.Action.ALLOW, dry=False))
    prefix = counters.dry("u1", both)
    found = counters.read([{f"http.inbound.rbac.{prefix}shadow_denied": 3}])
    assert found == counters.Counts({}, {}, {})


def test_connections_are_counted_where_a_policy_stands_alone():
    alone = counters.dry("u1", stage(made("a", policy.Action.DENY)), single=True)
    first = counters.dry("u1", stage(made("b", policy.Action.ALLOW)), single=True)
    two = counters.dry("u1", stage(made("a", policy.Action.DENY), made("b", policy.Action.DENY)), single=True)
    seen = counters.audited(stage(made("c", policy.Action.AUDIT, dry=False)))
    found = counters.read(
        [
            {
                f"tcp-deny.rbac.{alone}shadow_denied": 1,
                f"tcp-deny.rbac.{alone}shadow_allowed": 9,
                f"tcp-deny.rbac.{two}shadow_denied": 9,
                f"tcp-allow.rbac.{first}shadow_denied": 2,
                f"tcp-allow.rbac.{first}shadow_allowed": 3,
                f"tcp-audit.rbac.{seen}shadow_denied": 4,
            }
        ]
    )
    assert (found.matched, found.allowed, found.of_owner("u1")) == ({"shop/a": 1, "shop/c": 4}, {"shop/b": 3}, 2)
