"""External authorizers: whom a provider means, who is asked about what, and what is found wrong."""

import pytest

from retic import findings, wiring
from retic.mesh import authorizers, faults, services, tables
from retic.sources import manifests

BASE = """
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: security}
spec: {selector: {app: authz}, ports: [{name: grpc, port: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: authz, namespace: security, uid: u1, labels: {app: authz}}
spec: {nodeName: one, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: u2, labels: {app: web}}
spec: {nodeName: one, containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp-db, port: 5000}]}
---
apiVersion: retic.dev/v1alpha1
kind: AuthorizationProvider
metadata: {name: grpc}
spec: {envoyExtAuthzGrpc: {service: authz.security.svc.cluster.local, port: 9000}}
---
apiVersion: retic.dev/v1alpha1
kind: AuthorizationProvider
metadata: {name: http}
spec: {envoyExtAuthzHttp: {service: authz.security, port: 9000}}
"""

PROVIDER = """
---
apiVersion: retic.dev/v1alpha1
kind: AuthorizationProvider
metadata: {name: mine}
spec: %s
"""

POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s, namespace: %s, annotations: {istio.io/dry-run: "%s"}}
spec: {action: CUSTOM, provider: {name: %s}, rules: [%s]}
"""


def load(tmp_path, *more):
    (tmp_path / "in.yaml").write_text(BASE + "".join(more))
    loaded = manifests.load([tmp_path / "in.yaml"])
    return loaded, wiring.offline([located.object for located in loaded.objects])


def policy(name="p", namespace="shop", dry="false", provider="grpc", rule="{}"):
    return POLICY % (name, namespace, dry, provider, rule)


@pytest.mark.parametrize(
    "host",
    ["authz.security", "authz.security.svc", "authz.security.svc.cluster.local",
     "security/authz.security.svc.cluster.local"],
)  # fmt: skip
def test_a_service_may_be_named_in_all_usual_ways(host):
    assert authorizers.where(host, "cluster.local") == tables.Key("security", "authz")


@pytest.mark.parametrize("host", ["authz", "authz.example.com", "authz.security.svc.other.local"])
def test_other_hosts_are_no_services(host):
    assert authorizers.where(host, "cluster.local") is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("0.5s", 0.5), ("1m30s", 90), ("0s", 0.001), ("600s", 600)]
)
def test_durations(text, seconds):
    assert authorizers.seconds(text) == pytest.approx(seconds)


def test_without_a_word_it_waits_5_s_and_refuses(tmp_path):
    _, db = load(tmp_path)
    found = db.ask(authorizers.of, "grpc")
    assert found.at == services.PortKey("security", "authz", 9000)
    assert (found.timeout, found.fail_open, found.status, found.http) == (5.0, False, 403, None)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("{}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 1}, envoyExtAuthzHttp: {service: a.b, port: 1}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b}}", "RT0007"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 70000}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: 'http://a.b', port: 80}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 80, timeout: soon}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 80, statusOnError: '200'}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 80, includeRequestBodyInCheck: {maxRequestBytes: 0}}}", "RT0011"),
        ("{envoyExtAuthzGrpc: {service: a.b, port: 80, failOpen: 'yes'}}", "RT0004"),
        ("{envoyExtAuthzHttp: {service: a.b, port: 80, pathPrefix: check}}", "RT0011"),
        ("{envoyExtAuthzHttp: {service: a.b, port: 80, headersToUpstreamOnAllow: ['x *']}}", "RT0011"),
    ],
)
def test_what_is_wrong_in_form_is_found_and_nobody_is_asked(tmp_path, spec, code):
    loaded, db = load(tmp_path, PROVIDER % spec, policy(provider="mine"))
    assert code in {one.code for one in loaded.findings}
    (question,) = db.ask(authorizers.asked, tables.Key("shop", "web")).asked
    assert question.authorizer is None


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{envoyExtAuthzGrpc: {service: gone.security, port: 9000}}", "there is no Service security/gone"),
        ("{envoyExtAuthzGrpc: {service: authz.security, port: 1}}", "has no port 1"),
        ("{envoyExtAuthzGrpc: {service: authz.example.com, port: 443}}", "no Service of this cluster"),
    ],
)
def test_a_provider_that_names_nobody(tmp_path, spec, says):
    _, db = load(tmp_path, PROVIDER % spec)
    (fault,) = db.ask(faults.of, findings.Ref("AuthorizationProvider", "", "mine"))
    assert fault.code == "RT0452"
    assert says in fault.message


def test_a_policy_whose_provider_is_missing_is_found_and_refuses(tmp_path):
    _, db = load(tmp_path, policy(provider="nobody"))
    assert [f.code for f in db.ask(faults.of, findings.Ref("AuthorizationPolicy", "shop", "p"))] == ["RT0451"]
    (question,) = db.ask(authorizers.asked, tables.Key("shop", "web")).asked
    assert (question.provider, question.authorizer) == ("nobody", None)


def test_providers_are_in_the_order_of_their_names(tmp_path):
    more = policy("a", provider="http"), policy("b"), policy("c"), policy("d", dry="true")
    _, db = load(tmp_path, *more)
    found = db.ask(authorizers.asked, tables.Key("shop", "web"))
    assert [(q.provider, [p.origin.name for p in q.policies]) for q in found.asked] == [
        ("grpc", ["b", "c"]), ("http", ["a"]),
    ]  # fmt: skip
    assert [p.origin.name for p in found.dry] == ["d"]
    assert found.exempt == ()


def test_nobody_is_asked_about_calls_to_an_authorizer(tmp_path):
    _, db = load(tmp_path, policy(namespace="retic-system"))
    assert db.ask(authorizers.asked, tables.Key("security", "authz")).exempt == (9000,)


@pytest.mark.parametrize(
    ("provider", "rule", "codes"),
    [
        ("grpc", "{}", []),
        ("http", "{}", ["RT0453"]),
        ("http", "{to: [{operation: {ports: ['80']}}]}", []),
        ("http", "{to: [{operation: {notPorts: ['5000']}}]}", []),
        ("http", "{to: [{operation: {paths: [/a]}}]}", ["RT0453", "RT0406"]),
    ],
)
def test_connections_cannot_be_asked_about_by_http(tmp_path, provider, rule, codes):
    _, db = load(tmp_path, policy(provider=provider, rule=rule))
    assert [f.code for f in db.ask(faults.of, findings.Ref("AuthorizationPolicy", "shop", "p"))] == codes


@pytest.mark.parametrize(
    ("rule", "provider", "codes"),
    [("{}", "http", ["RT0454"]), ("{}", "grpc", []), ("{to: [{operation: {methods: [GET]}}]}", "http", [])],
)
def test_two_providers_for_the_same(tmp_path, rule, provider, codes):
    everywhere = policy("all", namespace="retic-system", provider=provider, rule=rule)
    _, db = load(tmp_path, policy(rule="{to: [{operation: {ports: ['80']}}]}"), everywhere)
    assert [f.code for f in db.ask(faults.of, findings.Ref("AuthorizationPolicy", "shop", "p"))] == codes


def test_only_what_the_authorizer_is_not_shown_is_its_own_to_say():
    http = authorizers.Http(
        upstream=("x-user", "x-id", "x-a-*", "x-b-*", "authorization"), shown=("x-id", "x-*-not", "x-b*", "x-a-one")
    )
    assert authorizers.only_said(http) == ("x-user", "x-a-*", "authorization")


def test_both_spellings_of_a_name():
    assert [authorizers.spelled(name) for name in ("x-user", "x-a-*", "*-id")] == [
        "x[-_]user", "x[-_]a[-_].*", ".*[-_]id",
    ]  # fmt: skip
