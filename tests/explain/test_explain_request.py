"""What becomes of a request, from manifests alone: way, verdict, and where each of it is written."""

import textwrap

import pytest

from retic import wiring
from retic.cli import analyze
from retic.explain.request import answer, deciding, world
from retic.mesh import network
from retic.sources import manifests

MESH = """\
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: web, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v1, namespace: shop, labels: {app: catalog, v: "1"}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, namespace: shop, labels: {app: catalog, v: "2"}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog-v2, namespace: shop}
spec: {selector: {v: "2"}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  gatewayClassName: retic
  listeners: [{name: http, port: 8080, protocol: HTTP, hostname: shop.test}]
"""
SERVICE = 'parentRefs: [{group: "", kind: Service, name: catalog}]'


def route(spec):
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        "metadata: {name: catalog, namespace: shop}\nspec:\n" + textwrap.indent(textwrap.dedent(spec), "  ")
    )


def policy(name, spec, **meta):
    more = "".join(f", {key}: {value}" for key, value in meta.items())
    return (
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: shop{more}}}\nspec:\n" + textwrap.indent(textwrap.dedent(spec), "  ")
    )


@pytest.fixture
def decision(tmp_path):
    def decided(*more, source="pod/web", target="catalog:80", settings=None, **asked):
        (tmp_path / "mesh.yaml").write_text(MESH)
        (tmp_path / "more.yaml").write_text("\n".join(more))
        loaded = manifests.load([tmp_path])
        here = analyze.world(loaded)
        if settings is not None:
            here = world.World(wiring.offline(here.objects.values(), settings), here.objects, here.positions, False)
        asked.setdefault("namespace", "shop")
        headers = tuple(asked.pop("headers", {}).items())
        return deciding.decide(here, answer.Asked(source, target, headers=headers, **asked))

    return decided


@pytest.fixture
def decide(decision):
    return lambda *more, **asked: decision(*more, **asked).answer


def texts(found, what):
    return [step.text for step in found.steps if step.what == what]


def line_of(text, *parts):
    """The line of `text` in the file of more manifests, which is these parts."""
    lines = "\n".join(parts).splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


CANARY = route(
    f"""\
    {SERVICE}
    rules:
    - matches: [{{headers: [{{name: X-Canary, value: "yes"}}]}}]
      backendRefs: [{{name: catalog-v2, port: 80}}]
      timeouts: {{request: 2s}}
    - backendRefs: [{{name: catalog, port: 80, weight: 3}}, {{name: catalog-v2, port: 80, weight: 1}}]
    """
)


def test_a_header_chooses_the_rule_and_its_backend(decide):
    found = decide(CANARY, headers={"x-canary": "yes"}, path="/x")
    assert (found.allowed, found.status, found.policy) == (True, None, None)
    assert found.backends == (answer.Backend("shop/catalog-v2", 80, 100),)
    assert found.route.object == "HTTPRoute shop/catalog"
    assert (found.route.file.endswith("more.yaml"), found.route.line) == (True, line_of("X-Canary", CANARY))
    assert texts(found, "limits") == [
        "at most 2 s; once more when no connection is made or it ends before an answer"
    ]
    assert texts(found, "endpoints")[0].startswith("1 (readiness unknown): 10.244.")


def test_without_it_both_have_their_share(decide):
    found = decide(CANARY)
    assert found.backends == (answer.Backend("shop/catalog", 80, 75), answer.Backend("shop/catalog-v2", 80, 25))
    assert "it has no header x-canary = yes" in texts(found, "no match")[0]


def test_without_a_route_it_goes_to_the_service(decide):
    found = decide()
    assert (found.route, found.backends) == (None, (answer.Backend("shop/catalog", 80, 100),))


@pytest.mark.parametrize("target", ["catalog.shop:80", "catalog.shop.svc:80", "catalog.shop.svc.cluster.local:80"])
def test_names_are_those_of_the_cluster(decide, target):
    assert decide(target=target).backends == (answer.Backend("shop/catalog", 80, 100),)


def test_a_policy_that_denies_is_named_with_its_rule(decide):
    rules = "- to: [{operation: {methods: [PUT]}}]\n- to: [{operation: {methods: [POST]}}]"
    denies = policy("no-writes", f"action: DENY\nrules:\n{rules}")
    found = decide(denies, method="POST")
    assert (found.allowed, found.status) == (False, 403)
    assert (found.policy.object, found.policy.action) == ("AuthorizationPolicy shop/no-writes", "DENY")
    assert found.policy.line == line_of("POST", denies)
    assert decide(denies).allowed


def test_a_policy_that_allows_others_refuses(decide):
    allows = policy("readers", "rules:\n- from: [{source: {serviceAccounts: [reader]}}]")
    found = decide(allows)
    assert (found.allowed, found.policy.action) == (False, "ALLOW")
    assert "there are ALLOW policies, and none matches: refused" in texts(found, "policy")
    assert "serviceAccounts does not hold" in texts(found, "policy")[0]


def test_a_dry_run_decides_nothing(decide):
    dry = policy("dry", "action: DENY\nrules: [{}]", annotations='{istio.io/dry-run: "true"}')
    found = decide(dry)
    assert (found.allowed, found.policy) == (True, None)
    assert "dry run, would be refused" in texts(found, "policy")[0]


def test_fields_of_http_refuse_on_tcp(decide):
    denies = policy("paths", "action: DENY\nrules:\n- to: [{operation: {paths: [/admin]}}]")
    found = decide(denies, target="catalog:90")
    assert (found.allowed, found.status) == (False, None)


def test_a_path_with_two_readings_is_refused_where_paths_are_compared(decide):
    allows = policy("paths", "rules:\n- to: [{operation: {paths: [/a/*]}}]")
    assert decide(allows, path="/a/b").allowed
    found = decide(allows, path="/a/../b")
    assert (found.allowed, found.policy.object) == (False, "AuthorizationPolicy shop/paths")


def test_pods_may_decide_differently(decide):
    denies = policy("two", 'action: DENY\nselector: {matchLabels: {v: "2"}}\nrules: [{}]')
    found = decide(denies)
    assert (found.allowed, found.status) == (False, 403)
    assert "not everywhere" in texts(found, "verdict")[0]


def test_what_a_provider_decides_is_not_known(decide):
    custom = policy("asks", "action: CUSTOM\nprovider: {name: doorman}\nrules: [{}]")
    assert "the proxy asks doorman" in texts(decide(custom), "policy")[0]


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    [
        ("- backendRefs: [{name: gone, port: 80}]", 500, "there is no Service shop/gone"),
        ("- backendRefs: [{name: nobody, port: 80}]", 503, "has no endpoint"),
        ("- matches: [{path: {type: Exact, value: /x}}]\n  backendRefs: [{name: catalog, port: 80}]", 404, "404"),
        ("- filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]", 301, "https://catalog/"),
    ],
)
def test_what_the_proxy_answers_itself(decide, rule, status, text):
    found = decide(route(f"{SERVICE}\nrules:\n{rule}\n"))
    assert (found.allowed, found.status) == (True, status)
    assert any(text in step.text for step in found.steps)


def test_an_answer_on_purpose_in_place_of_a_redirect_has_no_location(decision):
    virtual = textwrap.dedent("""\
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: catalog, namespace: shop}
        spec:
          hosts: [catalog]
          http:
          - redirect: {uri: /new}
            fault: {abort: {httpStatus: 503, percentage: {value: 50}}}
    """)
    found = {(one.status, one.location) for one in decision(virtual).outcomes}
    assert found == {(503, ""), (301, "http://catalog/new")}


def test_policies_see_what_the_receiving_proxy_marks_requests_with_and_applications_do_not(decision):
    marked = "rules: [{when: [{key: 'request.headers[x-retic-destination]', values: [here]}]}]"
    found = decision(policy("marked", f"action: DENY\n{marked}"), headers={"X-Retic-Destination": "there"})
    assert {one.status for one in found.outcomes} == {403}
    (seen,) = {one.seen for one in decision(headers={"x-one": "1"}).outcomes}
    assert "x-retic-destination" not in dict(seen[2])


def test_a_port_that_is_not_there(decide):
    assert decide(target="catalog:81").status == 503


def test_from_outside_through_a_gateway(decide):
    door = route("parentRefs: [{name: front}]\nrules:\n- backendRefs: [{name: catalog-v2, port: 80}]\n")
    found = decide(door, source="", target="http://shop.test:8080/x")
    assert (found.allowed, found.status, found.backends[0].service) == (True, None, "shop/catalog-v2")
    assert decide(door, source="", target="http://other.test:8080/").status == 404
    target = "{group: gateway.networking.k8s.io, kind: Gateway, name: front}"
    inner = policy("front", f"action: DENY\ntargetRefs: [{target}]\nrules: [{{}}]")
    assert decide(door, inner, source="", target="http://shop.test:8080/").status == 403


def test_who_is_not_in_the_mesh_is_let_in_by_mode(decide):
    strict = network.Settings(enrolment="none", mode="STRICT")
    assert decide(settings=strict).allowed  # both ends are outside
    found = decide(settings=network.Settings(mode="PERMISSIVE"))
    assert "mode PERMISSIVE" in texts(found, "inbound")[0]


def test_gateways_send_to_backends_without_the_routes_of_the_mesh(decide):
    assert decide(CANARY, source="gateway/front").route is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"source": "web"}, "write deploy/NAME"),
        ({"source": "pod/gone"}, "v1, v2, web"),
        ({"source": "deploy/web"}, "there is no Deployment shop/web"),
        ({"source": "sa/none"}, "there is no ServiceAccount shop/none"),
        ({"source": "pod/web", "namespace": "other"}, "choose it with -n shop"),
        ({"source": ""}, "--from deploy/NAME"),
        ({"target": "catalog"}, "has no port"),
        ({"target": "gone:80"}, "namespace shop has catalog"),
        ({"target": "catalog.other:80"}, "write catalog.shop:PORT"),
        ({"target": "ftp://shop.test/"}, "no URL of a gateway"),
        ({"target": "http://shop.test/"}, "there are http 8080"),
        ({"path": "x"}, "begins with /"),
        ({"path": "/a b"}, "%20"),
        ({"method": "CONNECT"}, "no method"),
        ({"headers": {"a b": "c"}}, "no header"),
        ({"address": "x"}, "no IPv4 address"),
    ],
)
def test_questions_that_name_nothing(decide, asked, said):
    with pytest.raises(answer.Unclear) as caught:
        decide(**asked)
    assert said in str(caught.value)


BALANCED = """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: shop}
spec:
  host: catalog
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: X-User}}
    connectionPool: {tcp: {maxConnections: 7}, http: {http2MaxRequests: 9}}
    outlierDetection: {consecutive5xxErrors: 3}
    portLevelSettings:
    - port: {number: 90}
      loadBalancer: {simple: RANDOM}
"""


def test_a_destination_rule_says_how_a_pod_is_chosen(decide):
    found = decide(BALANCED)
    (step,) = [each for each in found.steps if each.what == "balancer"]
    assert step.text == (
        "ring hash by header x-user; at most 7 connections, 9 requests at once; "
        "a pod is left out for a while after 3 answers of 5xx in a row"
    )
    assert (step.object, step.line) == ("DestinationRule shop/catalog", line_of("trafficPolicy:", BALANCED))
    (step,) = [each for each in decide(BALANCED, target="catalog:90").steps if each.what == "balancer"]
    assert (step.text, step.line) == ("random", line_of("- port:", BALANCED))


def test_without_a_destination_rule_nothing_is_said_of_it(decide):
    assert texts(decide(), "balancer") == []
    assert texts(decide(BALANCED, target="catalog-v2:80"), "balancer") == []
def limit(name, spec):
    return (
        "---\napiVersion: retic.dev/v1alpha1\nkind: RateLimit\n"
        f"metadata: {{name: {name}, namespace: shop}}\nspec:\n" + textwrap.indent(textwrap.dedent(spec), "  ")
    )


LIMITS = (
    route(
        f"""\
        {SERVICE}
        rules:
        - {{name: items, matches: [{{path: {{value: /items}}}}], backendRefs: [{{name: catalog, port: 80}}]}}
        - backendRefs: [{{name: catalog, port: 80}}]
        """
    ),
    limit(
        "pods",
        """\
        targetRefs: [{kind: Service, name: catalog}]
        limits:
        - {requests: 5, per: second, matches: [{path: {value: /items}}]}
        - {requests: 9, per: hour, matches: [{method: POST}]}
        """,
    ),
    limit(
        "route",
        """\
        targetRefs: [{kind: HTTPRoute, name: catalog, sectionName: items}]
        limits: [{requests: 7, per: minute, burst: 2, by: {identity: true, headers: [X-User]}}]
        """,
    ),
    limit("dry", "limits: [{requests: 3, per: hour, scope: Global, dryRun: true}]\n"),
)
DRY = "RateLimit shop/dry: 3 requests a hour, counted in all proxies together; what is more is only counted (dryRun)"
PODS = "RateLimit shop/pods: 5 requests a second, counted in each proxy by itself; what is more is answered 429"


def test_the_limits_that_count_a_request_are_named(decide):
    found = decide(*LIMITS, path="/items")
    assert found.allowed
    assert texts(found, "limit")[:3] == [
        "RateLimit shop/route: 7 requests a minute (up to 2 at once) for each service account that calls and value of "
        "x-user, counted in each proxy by itself; what is more is answered 429",
        DRY,
        PODS,
    ]
    step = next(step for step in found.steps if step.text == PODS)
    assert step.line == line_of("requests: 5", *LIMITS)


def test_limits_of_other_requests_are_not(decide):
    assert texts(decide(*LIMITS, path="/other"), "limit") == [DRY]
    assert len(texts(decide(*LIMITS, path="/other", method="POST"), "limit")) == 2
    # With two readings it is each path that a limit compares, and follows another rule.
    assert texts(decide(*LIMITS, path="//items"), "limit") == [DRY, PODS]
    # What is refused is counted by none.
    refused = policy("never", "action: DENY\nrules: [{}]\n")
    assert texts(decide(*LIMITS, refused, path="/other"), "limit") == []
