"""AuthorizationPolicies: whom they are for, and what is said of those that do not mean what they say."""

import textwrap

import pytest
import yaml

from retic import wiring
from retic.cli import analyze
from retic.mesh import network, policies, policy, tables
from retic.sources import manifests

WORLD = """apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: issuer, namespace: retic-system}
spec:
  jwtRules:
  - issuer: issuer.example
    jwks: '{"keys": [{"kty": "EC", "crv": "P-256", "x": "JawyISV4maVa2sdsVZbQktis9BHmAZZMt9NcPBlmh2o",
      "y": "OvjE3ZjPJ3o7cREVKrow-DsslHZ8mI8FKrw1wyr0vOk", "kid": "ec-1", "use": "sig", "alg": "ES256"}]}'
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: shop, labels: {app: app, tier: back}}
spec:
  nodeName: node-1
  containers:
  - {name: c, command: [app], ports: [{name: web, containerPort: 8080}, {name: db, containerPort: 7000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, command: [app]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: app}, ports: [{name: tcp, port: 70, targetPort: db}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: shop}
spec: {gatewayClassName: retic, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: retic-system}}
---
"""
GATEWAY = "gateway.networking.k8s.io"


def written(spec, namespace="shop"):
    meta = {"name": "p", "namespace": namespace}
    return yaml.safe_dump(
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}
    )


def loaded(tmp_path, text):
    file = tmp_path / "it.yaml"
    file.write_text(WORLD + text)
    return manifests.load([file])


def found(tmp_path, text):
    """Findings about policies, each with the line of the file that it names."""
    lines = (WORLD + text).splitlines()
    answer = [f for f in analyze.examine(loaded(tmp_path, text)) if f.object.startswith("AuthorizationPolicy")]
    return [(f, lines[f.line - 1].strip()) for f in answer]


def mesh(tmp_path, text, **settings):
    objects = [located.object for located in loaded(tmp_path, text).objects]
    return wiring.offline(objects, network.Settings(**settings))


POD, OTHER, DOOR = tables.Key("shop", "app"), tables.Key("shop", "web"), tables.Key("shop", "door")


@pytest.mark.parametrize(("spec", "namespace", "app", "web", "door"), [
    ({}, "shop", (), (), True), ({}, "retic-system", (), (), True), ({}, "elsewhere", None, None, False),
    ({"selector": {"matchLabels": {"app": "app"}}}, "shop", (), None, False),
    ({"selector": {"matchLabels": {"app": "app"}}}, "retic-system", (), None, False),
    ({"selector": {"matchLabels": {"app": "app", "tier": "front"}}}, "shop", None, None, False),
    ({"selector": {"matchLabels": {}}}, "shop", (), (), True),
    ({"targetRefs": [{"kind": "Service", "name": "app"}]}, "shop", (8080,), None, False),
    ({"targetRef": {"kind": "Service", "name": "db", "group": "core"}}, "shop", (7000,), None, False),
    ({"targetRefs": [{"kind": "Service", "name": n} for n in ("app", "db")]}, "shop", (7000, 8080), None, False),
    ({"targetRefs": [{"kind": "Service", "name": "none"}]}, "shop", None, None, False),
    ({"targetRefs": [{"kind": "Service", "name": "app", "namespace": "shop"}]}, "retic-system", None, None, False),
    ({"targetRefs": [{"kind": "Gateway", "group": GATEWAY, "name": "door"}]}, "shop", None, None, True),
    ({"targetRefs": [{"kind": "Gateway", "group": GATEWAY, "name": "other"}]}, "shop", None, None, False),
    ({"targetRefs": [{"kind": "GatewayClass", "group": GATEWAY, "name": "retic"}]}, "retic-system", None, None, True),
    ({"targetRefs": [{"kind": "GatewayClass", "group": GATEWAY, "name": "retic"}]}, "shop", None, None, False),
])  # fmt: skip
def test_for_whom_a_policy_is(tmp_path, spec, namespace, app, web, door):
    made = mesh(tmp_path, written(spec, namespace))

    def ports(pod):
        applying = made.ask(policies.applying, pod)
        return applying[0].ports if applying else None

    assert (ports(POD), ports(OTHER)) == (app, web)
    assert bool(made.ask(policies.at_gateway, DOOR)) is door


def patterns_of(tmp_path, field, value, **settings):
    text = written({"rules": [{"from": [{"source": {field: [value]}}]}]})
    (made,) = mesh(tmp_path, text, **settings).ask(policies.applying, POD)
    return [(p.how.value, p.text) for p in made.rules[0].sources[0][0].patterns]


def test_a_policy_that_names_one_of_the_meshs_trust_domains_means_all_of_them(tmp_path):
    both = [("exact", f"spiffe://{domain}/ns/shop/sa/web") for domain in ("new", "old")]
    for domain in ("new", "old", "cluster.local"):
        given = patterns_of(
            tmp_path, "principals", f"{domain}/ns/shop/sa/web", trust_domain="new", trust_domain_aliases=("old",)
        )
        assert given == both, domain
    stranger = patterns_of(tmp_path, "principals", "third/ns/shop/sa/web", trust_domain_aliases=("old",))
    assert stranger == [("exact", "spiffe://third/ns/shop/sa/web")]


@pytest.mark.parametrize(("field", "value", "expected"), [
    ("principals", "*", ("prefix", "spiffe://")), ("principals", "*/sa/web", ("suffix", "/sa/web")),
    ("principals", "cluster.local/ns/shop/*", ("prefix", "spiffe://cluster.local/ns/shop/")),
    ("principals", "spiffe://cluster.local/ns/a/sa/b", ("exact", "spiffe://cluster.local/ns/a/sa/b")),
    ("namespaces", "shop", ("prefix", "spiffe://cluster.local/ns/shop/")),
    ("namespaces", "sh*", ("prefix", "spiffe://cluster.local/ns/sh")), ("namespaces", "*", ("prefix", "spiffe://cluster.local/ns/")),
    ("serviceAccounts", "web", ("exact", "spiffe://cluster.local/ns/shop/sa/web")),
    ("serviceAccounts", "other/web", ("exact", "spiffe://cluster.local/ns/other/sa/web")),
    ("ipBlocks", "10.1.2.3", ("exact", "10.1.2.3/32")), ("ipBlocks", "10.1.2.3/16", ("exact", "10.1.0.0/16")),
])  # fmt: skip
def test_who_is_meant(tmp_path, field, value, expected):
    assert patterns_of(tmp_path, field, value) == [expected]


def rule(**parts):
    return {"rules": [parts]}


def source(**fields):
    return rule(**{"from": [{"source": fields}]})


def operation(**fields):
    return rule(to=[{"operation": fields}])


def when(key, **fields):
    return rule(when=[{"key": key, **fields}])


@pytest.mark.parametrize(("spec", "code", "line"), [
    (source(ipBlocks=["10.1.0.0/33"]), "RT0402", "- 10.1.0.0/33"),
    (source(notRemoteIpBlocks=["a.example"]), "RT0402", "- a.example"),
    (source(serviceAccounts=["a/b/c"]), "RT0402", "- a/b/c"), (source(serviceAccounts=["web*"]), "RT0402", "- web*"),
    (source(principals=[""]), "RT0402", "- ''"), (source(namespaces=["a\nb"]), "RT0402", None),
    (operation(ports=["80-90"], methods=["GET"]), "RT0402", "- 80-90"), (operation(ports=["0"]), "RT0402", "- '0'"),
    (operation(ports=["8080"], paths=["/a/{*}.json"]), "RT0402", "- /a/{*}.json"),
    (operation(ports=["8080"], paths=["/{**}/{*}"]), "RT0402", "- /{**}/{*}"),
    (operation(ports=["8080"], hosts=["x" * 2001]), "RT0402", None),
    (operation(ports=["8080"], paths=["/é" + "漢" * 1900 + "/{*}"]), "RT0402", None),
    (when("source.name", values=["a"]), "RT0403", "key: source.name"),
    (when("request.headers[a b]", values=["a"]), "RT0403", "key: request.headers[a b]"),
    (when("request.headers[:path]", values=["/a"]), "RT0403", "key: request.headers[:path]"),
    (when("request.headers", values=["a"]), "RT0403", "key: request.headers"),
    ({"action": "CUSTOM", **operation(ports=["8080"], methods=["GET"])}, "RT0404", None),
    ({"action": "DENY"}, "RT0401", None), ({"action": "AUDIT", "rules": []}, "RT0401", "rules: []"),
    (source(), "RT0401", "source: {}"), (operation(), "RT0401", "operation: {}"),
    (when("source.ip"), "RT0401", "key: source.ip"),
    ({"selector": {}, "targetRefs": [{"kind": "Service", "name": "app"}]}, "RT0405", "selector: {}"),
    ({"targetRefs": [{"kind": "Pod", "name": "app"}]}, "RT0405", None),
    ({"targetRef": {"kind": "Gateway", "name": "door"}}, "RT0405", None),
    ({"targetRefs": [{"kind": "Service", "name": "app", "namespace": "other"}]}, "RT0405", "namespace: other"),
    (operation(methods=["GET"]), "RT0406", "methods:"), (operation(notPaths=["/a"]), "RT0406", "notPaths:"),
    ({"action": "DENY", **when("request.headers[x]", values=["a"])}, "RT0406", "values:"),
    (source(requestPrincipals=["*"]), "RT0406", "requestPrincipals:"),
    ({"targetRefs": [{"kind": "Service", "name": "db"}], **operation(hosts=["a"])}, "RT0406", "hosts:"),
    (operation(ports=["8080"], paths=["/a?b=c"]), "RT0407", "- /a?b=c"),
    (operation(ports=["8080"], paths=["/a/../b"]), "RT0407", "- /a/../b"),
    (operation(ports=["8080"], paths=["/a%2Fb"]), "RT0407", "- /a%2Fb"),
    (operation(ports=["8080"], notPaths=["/a;b*"]), "RT0407", "- /a;b*"),
    (operation(ports=["8080"], paths=["a"]), "RT0407", "- a"),
    (operation(ports=["8080"], paths=["/a//*"]), "RT0407", "- /a//*"),
])  # fmt: skip
def test_a_mistake_is_found_at_its_line(tmp_path, spec, code, line):
    ((one, text),) = found(tmp_path, written(spec))
    assert one.code == code
    assert line is None or text == line or text == f"- {line}", text
    assert len(one.message) < 400
    assert one.fix


def test_http_on_a_tcp_port_names_pod_port_and_service(tmp_path):
    ((one, _),) = found(tmp_path, written({"action": "DENY", **operation(paths=["/a"])}))
    assert "port 7000 of Pod shop/app carries TCP (Service db)" in one.message
    assert "taken to hold" in one.message


@pytest.mark.parametrize("spec", [
    {"rules": [{"to": [{"operation": {"methods": ["GET"], "ports": ["8080"]}}]}, {"from": [{"source": {
        "namespaces": ["shop"]}}], "to": [{"operation": {"ports": ["7000"]}}]}]},
    {"targetRefs": [{"kind": "Service", "name": "app"}], **operation(methods=["GET"])},
    {"selector": {"matchLabels": {"app": "web"}}, **operation(methods=["GET"])},
    rule(to=[{"operation": {"notPorts": ["7000"]}}], when=[{"key": "request.headers[x]", "values": ["a"]}]),
    rule(to=[{"operation": {"methods": ["GET"]}}], when=[{"key": "destination.port", "values": ["8080"]}]),
    rule(**{"from": [{"source": {"requestPrincipals": ["*"]}}], "to": [{"operation": {"ports": ["8080"]}}]}),
])  # fmt: skip
def test_http_beside_tcp_is_no_mistake_where_ports_are_told_apart(tmp_path, spec):
    assert found(tmp_path, written(spec)) == []


def test_what_cannot_be_compared_counts_against_the_caller(tmp_path):
    text = written(when("source.ip"))
    (made,) = mesh(tmp_path, text).ask(policies.applying, POD)
    assert made.rules[0].conditions[0].patterns == (policy.Pattern(policy.How.NOTHING),)


CORRECT = """
# Nobody may call anything in a namespace.
metadata: {name: nothing, namespace: shop}
spec: {}
---
# Everybody in the mesh may call.
metadata: {name: members, namespace: shop}
spec: {rules: [{from: [{source: {principals: ["*"]}}]}]}
---
# Anything goes.
metadata: {name: anything, namespace: shop}
spec: {rules: [{}]}
---
# A shop window may be looked at.
metadata: {name: window, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: ALLOW
  rules: [{to: [{operation: {methods: [GET, HEAD]}}]}]
---
# One account may read reviews, another write them.
metadata: {name: reviews, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [GET], paths: ["/reviews/*"]}}]
  - from: [{source: {serviceAccounts: [shop/editor]}}]
    to: [{operation: {methods: [POST, PUT], paths: ["/reviews/{*}/text"]}}]
---
# Two ports of a database, told apart.
metadata: {name: database, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  rules:
  - from: [{source: {namespaces: [shop]}}]
    to: [{operation: {ports: ["7000"]}}]
---
# The administration is no namespace's but its own.
metadata: {name: administration, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules:
  - from: [{source: {notNamespaces: [ops]}}]
    to: [{operation: {paths: [/admin, "/admin/*"]}}]
---
# Not without a token.
metadata: {name: token, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}], to: [{operation: {notPaths: [/healthz]}}]}]
---
# A group of a token's.
metadata: {name: group, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {requestPrincipals: [issuer.example/*]}}]
    when: [{key: "request.auth.claims[groups]", values: [staff]}]
---
# Nested claims, audiences and presenters.
metadata: {name: claims, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - when:
    - {key: "request.auth.claims[realm][roles]", values: [buyer]}
    - {key: request.auth.audiences, values: [shop.example]}
    - {key: request.auth.presenter, notValues: [robot]}
---
# The office's addresses, at the gateway.
metadata: {name: office, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: door}]
  action: ALLOW
  rules: [{from: [{source: {remoteIpBlocks: [203.0.113.0/24, 198.51.100.7]}}]}]
---
# Hosts at every gateway.
metadata: {name: hosts, namespace: retic-system}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: retic}]
  action: DENY
  rules: [{to: [{operation: {hosts: ["*.internal.example", internal.example]}}]}]
---
# One Service, not the other of the same pods.
metadata: {name: service, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: app}]
  rules: [{to: [{operation: {methods: [GET]}}]}]
---
# A version of a client that is tried out, and only looked at.
metadata: {name: trial, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{when: [{key: "request.headers[User-Agent]", values: ["Old/*"]}]}]
---
# Who does what is written down.
metadata: {name: audit, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  action: AUDIT
  rules: [{to: [{operation: {paths: ["/user/profile/*"]}}]}]
---
# Every attribute that needs no token.
metadata: {name: attributes, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - when:
    - {key: source.ip, values: [10.244.0.0/16], notValues: [10.244.9.1]}
    - {key: remote.ip, values: [203.0.113.0/24]}
    - {key: source.namespace, values: [shop]}
    - {key: source.principal, values: [cluster.local/ns/shop/sa/web]}
    - {key: source.serviceAccount, values: [shop/web]}
    - {key: destination.ip, values: [10.244.0.0/16]}
    - {key: destination.port, values: ["8080"]}
    - {key: connection.sni, values: [shop.example]}
    - {key: "request.headers[X-Tier]", values: [gold]}
---
# The mesh's own namespace speaks for all, and DENY before ALLOW.
metadata: {name: everywhere, namespace: retic-system}
spec: {action: DENY, rules: [{from: [{source: {notPrincipals: ["*"]}}]}]}
"""


def test_correct_policies_are_met_with_silence(tmp_path):
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    each = [head + textwrap.dedent(part) for part in CORRECT.split("---\n")]
    assert len(each) > 15
    assert [f for f in analyze.examine(loaded(tmp_path, "---\n".join(each))) if f.code != "RT0107"] == []
