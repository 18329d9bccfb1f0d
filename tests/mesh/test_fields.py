"""Fields that the mesh does not carry out: what follows from them beside the finding."""

import json
import textwrap

import msgspec
import pytest

from retic import findings, wiring
from retic.mesh import faults, gateways, route, routing, rules, tables
from retic.sources import manifests
from retic.testing import tls_pairs


@pytest.fixture
def mesh(tmp_path):
    def made(text):
        file = tmp_path / "it.yaml"
        file.write_text(textwrap.dedent(text))
        loaded = manifests.load([file])
        assert loaded.findings == ()
        return wiring.offline([located.object for located in loaded.objects])

    return made


GATEWAY = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {{name: web, namespace: shop}}
    spec:
      gatewayClassName: retic
      tls: {{frontend: {{{frontend}}}}}
      listeners:
      - {{name: plain, port: 80, protocol: HTTP}}
      - {{name: one, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: cert}}]}}}}
      - {{name: two, port: 444, protocol: HTTPS, tls: {{certificateRefs: [{{name: cert}}]}}}}
    ---
    apiVersion: v1
    kind: Secret
    metadata: {{name: cert, namespace: shop}}
    type: kubernetes.io/tls
    stringData: {{tls.crt: {chain}, tls.key: {key}}}
"""
CHAIN, KEY = (json.dumps(each.decode()) for each in tls_pairs.pair("shop.test"))
CHECKED = "validation: {caCertificateRefs: [{name: ca}]}"


@pytest.mark.parametrize(
    ("frontend", "served"),
    [
        ("", {"plain", "one", "two"}),
        (f"default: {{{CHECKED}}}", {"plain"}),
        (f"perPort: [{{port: 444, tls: {{{CHECKED}}}}}]", {"plain", "one"}),
        (f"default: {{{CHECKED}}}, perPort: [{{port: 444, tls: {{}}}}]", {"plain", "two"}),
        ("default: {validation: {mode: AllowInsecureFallback}}", {"plain", "one", "two"}),
    ],
)
def test_a_listener_that_wants_client_certificates_is_not_served(frontend, served, mesh):
    text = GATEWAY.format(frontend=frontend, chain=CHAIN, key=KEY)
    found = mesh(text).ask(gateways.resolved, tables.Key("shop", "web"))
    assert {listener.name for listener in found.listeners} == served
    assert {fault.code for fault in found.faults} == ({"RT0307"} if len(served) < 3 else set())


RULE = """
    apiVersion: v1
    kind: Service
    metadata: {{name: web, namespace: shop}}
    spec: {{clusterIP: 10.96.1.1, ports: [{{port: 80}}]}}
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: {kind}
    metadata: {{name: r, namespace: shop}}
    spec:
      parentRefs: [{{name: web, kind: Service, group: ""}}]
      rules: [{{backendRefs: [{backends}], {asked}}}]
"""
WEB = "{name: web, port: 80}"


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
@pytest.mark.parametrize(
    ("asked", "backends", "found", "codes"),
    [
        ("{}", WEB, route.Session(route.Token.COOKIE, ""), []),
        ("{type: Header, sessionName: x}", WEB, route.Session(route.Token.HEADER, "x"), []),
        (
            "{sessionName: x, absoluteTimeout: 1h30m, cookieConfig: {lifetimeType: Permanent}}", WEB,
            route.Session(route.Token.COOKIE, "x", 5400), [],
        ),
        ("{sessionName: x, absoluteTimeout: 1h}", WEB, route.Session(route.Token.COOKIE, "x"), ["RT0521"]),
        (
            "{sessionName: x, type: Header, absoluteTimeout: 1h, idleTimeout: 1m}", WEB,
            route.Session(route.Token.HEADER, "x"), ["RT0521", "RT0521"],
        ),
        ("{sessionName: x}", f"{WEB}, {WEB}", route.Session(route.Token.COOKIE, "x"), ["RT0522"]),
        ("{sessionName: x}", f"{WEB}, {{name: web, port: 80, weight: 0}}", route.Session(route.Token.COOKIE, "x"), []),
    ],
)
def test_sessions_and_what_of_them_is_not_done(kind, asked, backends, found, codes, mesh):
    made = mesh(RULE.format(kind=kind, backends=backends, asked=f"sessionPersistence: {asked}"))
    meant = made.ask(rules.of, findings.Ref(kind, "shop", "r"))
    (rule,) = meant.rules
    assert not rule.broken
    assert [fault.code for fault in meant.faults] == codes
    if not found.name:
        assert rule.session.name.startswith("retic-session-")
        found = msgspec.structs.replace(found, name=rule.session.name)
    assert rule.session == found


ON = ("connect-failure", "refused-stream", "reset")


@pytest.mark.parametrize(
    ("asked", "timeout", "retries"),
    [
        ("timeouts: {request: 3s, backendRequest: 1s}", 1, None),
        ("timeouts: {backendRequest: 1s}", 1, None),
        ("retry: {}", None, route.Retries(1, ON)),
        ("retry: {attempts: 0}, timeouts: {backendRequest: 1s}", 1, route.Retries(0, ON, try_timeout=1)),
        (
            "retry: {attempts: 3, codes: [503, 500, 503], backoff: 50ms}, timeouts: {request: 3s, backendRequest: 1s}",
            3, route.Retries(3, ON, (503, 500), 1, 0.05),
        ),
        ("retry: {backoff: 0s}, timeouts: {request: 0s, backendRequest: 0s}", 0, route.Retries(1, ON)),
    ],
)
def test_the_time_of_a_backend_is_that_of_each_attempt(asked, timeout, retries, mesh):
    made = mesh(RULE.format(kind="HTTPRoute", backends=WEB, asked=asked))
    (rule,) = made.ask(rules.of, findings.Ref("HTTPRoute", "shop", "r")).rules
    assert (rule.timeout, rule.retries) == (timeout, retries)


@pytest.mark.parametrize(
    ("parent", "attached", "fix"),
    [
        ('{name: web, kind: Service, group: ""}', True, None),
        ("{name: web, kind: Service}", False, 'write group: "" beside kind: Service'),
        ("{name: web, kind: Service, group: apps}", False, 'write group: "" beside kind: Service'),
        ('{name: web, group: ""}', False, 'remove group, or write group: "" beside kind: Service'),
        ("{name: web, kind: Pod}", False, 'name a Gateway, or a Service (kind: Service, group: "")'),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_the_group_of_a_parent_is_that_of_gateways_unless_it_is_written(kind, parent, attached, fix, mesh):
    made = mesh(f"""
        apiVersion: v1
        kind: Service
        metadata: {{name: web, namespace: shop}}
        spec: {{clusterIP: 10.96.1.1, ports: [{{port: 80}}]}}
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: {kind}
        metadata: {{name: r, namespace: shop}}
        spec:
          parentRefs: [{parent}]
          rules: [{{backendRefs: [{{name: web, port: 80, kind: Service}}]}}]
    """)
    found = made.ask(faults.of, findings.Ref(kind, "shop", "r"))
    assert [(fault.code, fault.fix) for fault in found] == ([("RT0203", fix)] if fix else [])
    assert bool(made.ask(routing.routed, "shop")) is attached


@pytest.mark.parametrize(("controller", "codes"), [("me", ["RT0110"]), ("endpointslice-controller.k8s.io", [])])
def test_hints_are_said_where_somebody_wrote_them(controller, codes, mesh):
    text = f"""
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {{name: a, namespace: shop, labels: {{endpointslice.kubernetes.io/managed-by: {controller}}}}}
        addressType: IPv4
        ports: [{{port: 80}}]
        endpoints: [{{addresses: [192.0.2.1], zone: a, hints: {{forNodes: [{{name: node-1}}]}}}}]
    """
    found = mesh(text).ask(faults.of, findings.Ref("EndpointSlice", "shop", "a"))
    assert [fault.code for fault in found] == codes
