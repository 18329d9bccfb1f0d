"""HTTPRoutes and GRPCRoutes on Services, as the Gateway API says, asked from pods through real Envoys."""

import json
import math
import time
import urllib.parse

import live
import pytest

from retic.testing import wait

SITE = {"app": "site"}


def tag(value):
    """A filter that says which rule was taken."""
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-rule", "value": value}]}}


def path(value, kind="PathPrefix"):
    return {"path": {"type": kind, "value": value}}


def headers(**pairs):
    return {"headers": [{"name": k.replace("_", "-"), "value": v} for k, v in pairs.items()]}


def rule(name, *matches, **more):
    return {"matches": list(matches), "filters": [tag(name)], "backendRefs": [live.to("site-v1")], **more}


MATCHES = live.route(
    "r-match", "r-match",
    rule("rest", path("/")),
    rule("query", {"queryParams": [{"name": "q", "value": "1"}]}),
    rule("query-regex", {"queryParams": [{"name": "r", "type": "RegularExpression", "value": "a+"}]}),
    rule("header", headers(x_a="1")),
    rule("two-headers", headers(x_a="1", x_b="2")),
    rule("header-regex", {"headers": [{"name": "X-V", "type": "RegularExpression", "value": "v[12]"}]}),
    rule("method", {"method": "POST"}),
    rule("prefix", path("/pre")),
    rule("longer", path("/pre/longer/")),
    rule("exact", path("/exact", "Exact"), path("/pre/exact", "Exact")),
    rule("regex", path("/re/[0-9]+", "RegularExpression")),
    rule("all", path("/all") | headers(x_a="1") | {"method": "PUT", "queryParams": [{"name": "q", "value": "1"}]}),
)  # fmt: skip

REDIRECTS = {
    "/host": {"hostname": "example.org"},
    "/code": {"hostname": "example.org", "statusCode": 301},
    "/scheme": {"scheme": "https"},
    "/port": {"port": 8081},
    "/schemeport": {"scheme": "https", "port": 8443},
    "/full": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}},
    "/part": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/other"}},
    "/root": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
}

REWRITES = {
    "/root": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
    "/longer": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/much/longer"}},
    "/slash": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/with/"}},
    "/full": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/whole%2Fpath"}},
    "/host": {"hostname": "inside.example"},
    "/": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/below"}},
}

NAMES = (
    "match", "weight", "missing", "redirect", "rewrite", "time", "live", "twice", "headers", "own", "grant",
    "plain",
)  # fmt: skip
V1 = [live.to("site-v1")]
GRPC_V1, GRPC_V2 = [live.to("echo-grpc", port=9000)], [live.to("grpc-v2", port=9000)]
ECHO = "retic.testing.Echo"


def request_headers(**changes):
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": changes}


def response_headers(**changes):
    return {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes}


def header(name, value):
    return [{"name": name, "value": value}]


ROUTES = [
    *(live.service(f"r-{name}", SITE) for name in NAMES),
    live.service("r-ports", SITE, (80, 8080), (8000, 8080)),
    MATCHES,
    live.route("r-weight", "r-weight", {
        "backendRefs": [live.to("site-v1", 80), live.to("site-v2", 20), live.to("crowd", 0)],
    }),
    live.route(
        "r-missing", "r-missing",
        {"matches": [path("/all")], "backendRefs": [live.to("no-such")]},
        {"matches": [path("/port")], "backendRefs": [live.to("site-v1", port=81)]},
        {"matches": [path("/zero")], "backendRefs": [live.to("site-v1", 0)]},
        {"matches": [path("/none")]},
        {"matches": [path("/share")], "backendRefs": [live.to("site-v1", 3), live.to("no-such", 1)]},
    ),
    live.route("r-headers", "r-headers", {
        "filters": [
            request_headers(set=header("X-Set", "rule 100%"), add=header("X-Add", "rule"), remove=["X-Gone"]),
            response_headers(set=header("Server", "none"), add=header("X-Back", "rule"), remove=["Content-Type"]),
        ],
        "backendRefs": [live.to("site-v1", filters=[
            request_headers(add=header("X-Add", "backend")), response_headers(set=header("X-Backend", "yes")),
        ])],
    }),
    live.route("r-redirect", "r-redirect", *(
        {"matches": [path(p)], "filters": [{"type": "RequestRedirect", "requestRedirect": r}]}
        for p, r in REDIRECTS.items()
    )),
    live.route("r-rewrite", "r-rewrite", *(
        {"matches": [path(p)], "filters": [{"type": "URLRewrite", "urlRewrite": r}], "backendRefs": V1}
        for p, r in REWRITES.items()
    )),
    live.route(
        "r-time", "r-time",
        {"matches": [path("/delay/2000")], "timeouts": {"request": "300ms"}, "backendRefs": V1},
        {"matches": [path("/delay/2001")], "timeouts": {"request": "9s", "backendRequest": "200ms"}, "backendRefs": V1},
        {"matches": [path("/delay/600")], "timeouts": {"request": "0s"}, "backendRefs": V1},
    ),
    live.route("r-own", "r-own", {"backendRefs": [live.to("site-v1")]}),
    live.route("r-own", {"group": "", "kind": "Service", "name": "r-own", "namespace": "default"},
               {"filters": [tag("mine")], "backendRefs": [live.to("r-foreign")]}, namespace="other"),
    live.deployment("r-foreign", live.echo("foreign"), namespace="other"),
    live.service("r-foreign", {"app": "r-foreign"}, namespace="other"),
    live.route("r-grant", "r-grant", {"backendRefs": [live.to("r-foreign", namespace="other")]}),
    live.service("r-grpc", {"app": "echo-grpc"}, {"name": "grpc", "port": 9000}),
    live.route(
        "r-grpc", "r-grpc",
        {"matches": [{"method": {"service": ECHO, "method": "Stream"}}], "backendRefs": GRPC_V2},
        {"matches": [headers(x_version="v2")], "backendRefs": GRPC_V2},
        {"matches": [{"method": {"service": ECHO, "method": "Unary"}}], "backendRefs": GRPC_V1},
        {
            "matches": [{"method": {"type": "RegularExpression", "service": "retic[.].*", "method": "S.m"}}],
            "backendRefs": GRPC_V1,
        },
        kind="GRPCRoute",
    ),
    live.route(
        "r-ports", {"group": "", "kind": "Service", "name": "r-ports", "port": 8000},
        {"filters": [tag("8000")], "backendRefs": V1},
    ),
    live.route("r-twice-b", "r-twice", rule("b", path("/")), rule("b-long", path("/b"))),
    live.route("r-twice-a", "r-twice", rule("a", path("/"))),
]


def routed_by(pod):
    """Which rule an answer came by; None until there is one."""
    return pod.http("http://r-match/exact").get("json", {}).get("headers", {}).get("x-rule")


@pytest.fixture(scope="module")
def routes(mesh, near):
    with live.file(mesh, "routes.yaml", *ROUTES):
        live.ready(mesh, "r-foreign")
        wait.until(lambda: routed_by(near), "the routes are live")
        yield


def taken(answer):
    return answer["json"]["headers"].get("x-rule") if answer["status"] == 200 else answer["status"]


@pytest.mark.parametrize(("url", "options", "expected"), [
    ("/exact", {}, "exact"), ("/exact?x=1", {}, "exact"), ("/exact/", {}, "rest"), ("/Exact", {}, "rest"),
    ("/pre", {}, "prefix"), ("/pre/", {}, "prefix"), ("/pre/x", {}, "prefix"), ("/prefix", {}, "rest"),
    ("/pre/longer", {}, "longer"), ("/pre/longer/x", {}, "longer"), ("/pre/longerx", {}, "prefix"),
    ("/pre/exact", {}, "exact"), ("/pre?q=1", {}, "prefix"),
    ("/re/12", {}, "regex"), ("/re/12x", {}, "rest"), ("/x/re/12", {}, "rest"),
    ("/", {"headers": {"X-A": "1"}}, "header"), ("/", {"headers": {"x-a": "2"}}, "rest"),
    ("/", {"headers": {"x-a": "1", "x-b": "2"}}, "two-headers"),
    ("/", {"headers": {"x-v": "v2"}}, "header-regex"), ("/", {"headers": {"x-v": "v22"}}, "rest"),
    ("/?q=1", {}, "query"), ("/?q=2", {}, "rest"), ("/?p=2&q=1", {}, "query"), ("/?r=aa", {}, "query-regex"),
    ("/", {"method": "POST"}, "method"), ("/", {"method": "POST", "headers": {"x-a": "1", "x-b": "2"}}, "method"),
    ("/?q=1", {"headers": {"x-a": "1"}}, "header"), ("/pre", {"headers": {"x-a": "1"}}, "prefix"),
    ("/all?q=1", {"method": "PUT", "headers": {"x-a": "1"}}, "all"),
    ("/all", {"method": "PUT", "headers": {"x-a": "1"}}, "header"),
])  # fmt: skip
def test_matches_and_their_precedence(routes, near, url, options, expected):
    assert taken(near.http(f"http://r-match{url}", **options)) == expected


def within(found, total, share):
    return abs(found - total * share) <= 5 * math.sqrt(total * share * (1 - share))


@pytest.mark.parametrize("pod", ["near", "far"])
def test_weights_hold_within_statistics(routes, request, pod):
    found = request.getfixturevalue(pod).count("r-weight", times=2000)
    assert set(found) == {"v1", "v2"}
    assert within(found["v2"], 2000, 0.2), found


def test_what_cannot_be_resolved_is_answered_with_500(routes, near):
    for url in ("/all", "/port", "/zero", "/none"):
        assert near.http(f"http://r-missing{url}")["status"] == 500
    found = near.count("r-missing", "/share", times=2000)
    assert set(found) == {"v1", "500"}
    assert within(found["500"], 2000, 0.25), found
    assert near.http("http://r-missing/elsewhere")["status"] == 404, "no rule matches"


def test_header_changes_of_rule_and_backend(routes, near):
    answer = near.http("http://r-headers/", headers={"x-set": "mine", "x-add": "mine", "x-gone": "1"})
    seen = answer["json"]["headers"]
    assert seen["x-set"] == "rule 100%"
    assert seen["x-add"].startswith("mine")
    assert {v.strip() for v in seen["x-add"].split(",")} == {"mine", "rule", "backend"}
    assert "x-gone" not in seen
    assert answer["headers"]["server"] == "none"
    assert (answer["headers"]["x-back"], answer["headers"]["x-backend"]) == ("rule", "yes")
    assert "content-type" not in answer["headers"]


@pytest.mark.parametrize(("url", "status", "location"), [
    ("/host/a?q=1", 302, "http://example.org/host/a?q=1"), ("/code", 301, "http://example.org/code"),
    ("/scheme/x", 302, "https://r-redirect/scheme/x"), ("/scheme", 302, "https://r-redirect/scheme"), ("/port", 302, "http://r-redirect:8081/port"),
    ("/schemeport", 302, "https://r-redirect:8443/schemeport"), ("/full/x?q=1", 302, "http://r-redirect/new?q=1"),
    ("/part/x/y?q=1", 302, "http://r-redirect/other/x/y?q=1"), ("/part", 302, "http://r-redirect/other"),
    ("/root/x", 302, "http://r-redirect/x"), ("/root", 302, "http://r-redirect/"),
])  # fmt: skip
def test_redirects(routes, near, url, status, location):
    answer = near.http(f"http://r-redirect{url}")
    assert (answer["status"], answer["headers"]["location"]) == (status, location)


@pytest.mark.parametrize(("url", "expected"), [
    ("/root", "/"), ("/root/", "/"), ("/root/x", "/x"), ("/root/x?q=/root", "/x?q=/root"), ("/root?q=1", "/?q=1"),
    ("/longer", "/much/longer"), ("/longer/", "/much/longer/"), ("/longer/x/y", "/much/longer/x/y"),
    ("/slash", "/with"), ("/slash/x", "/with/x"),
    ("/full/x/y?q=1", "/whole%2Fpath?q=1"), ("/host/x", "/host/x"),
    ("/rest", "/below/rest"), ("/", "/below/"),
])  # fmt: skip
def test_rewrites(routes, near, url, expected):
    answer = near.http(f"http://r-rewrite{url}")
    seen = answer["json"]
    got = "?".join(filter(None, (seen["path"], seen["query"])))
    if url == "/":
        assert got.rstrip("/") == "/below"
    elif url == "/slash":
        assert got.rstrip("/") == "/with"
    else:
        assert got == expected
    assert seen["headers"]["host"] == ("inside.example" if url.startswith("/host") else "r-rewrite")


def test_timeouts(routes, near):
    for url in ("/delay/2000", "/delay/2001"):
        answer = min((near.http(f"http://r-time{url}") for _ in range(3)), key=lambda one: one["seconds"])
        assert answer["status"] == 504
        assert answer["seconds"] < 1.5
    assert near.http("http://r-time/delay/600")["status"] == 200, "0s is no time-out"


def test_a_consumers_own_route_is_for_its_namespace_only(routes, near, guest):
    assert near.http("http://r-own/")["json"]["version"] == "v1"
    assert guest.http("http://r-own.default/")["json"]["version"] == "foreign"


def test_another_namespaces_service_needs_a_grant(routes, mesh, near):
    assert near.http("http://r-grant/")["status"] == 500
    said = [f for f in mesh.ps()["findings"] if f["code"] == "RT0204"]
    assert said[0]["object"].endswith("default/r-grant")
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": live.meta("grant", "other"),
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }
    with live.file(mesh, "grant.yaml", grant):
        answer = wait.until(lambda: near.http("http://r-grant/").get("json"), "the grant is live", seconds=20)
        assert answer["version"] == "foreign"
    wait.until(lambda: near.http("http://r-grant/")["status"] == 500, "the grant is gone", seconds=20)


def test_grpc_routes(routes, near):
    def version(**call):
        found = near.grpc("r-grpc:9000", **call)
        return [a["version"] for a in found["answers"]] if "answers" in found else found["code"]

    assert version(method="Unary") == [""]
    assert version(method="Unary", metadata={"x-version": "v2"}) == [""], "a method goes before a header"
    assert version(method="Stream", ask={"count": 2}) == ["v2", "v2"]
    assert version(method="Sum", asks=[{}]) == [""]
    assert version(method="Chat", asks=[{}], metadata={"x-version": "v2"}) == ["v2"]
    assert version(method="Chat", asks=[{}]) == "UNIMPLEMENTED", "no rule matches"


def test_a_route_on_one_port_leaves_the_others_alone(routes, near):
    assert taken(near.http("http://r-ports:8000/")) == "8000"
    assert taken(near.http("http://r-ports/")) is None


def test_two_routes_on_one_service_are_one(routes, near):
    assert taken(near.http("http://r-twice/")) == "a", "of equals the first by name"
    assert taken(near.http("http://r-twice/b")) == "b-long"


def test_a_service_without_routes_is_balanced_plainly(routes, near):
    assert taken(near.http("http://r-plain/")) is None


DRAINS = ("listener_modified", "listener_in_place_updated", "total_filter_chains_draining", "listener_removed")


def drains(mesh):
    stats = mesh.stats("node-1")
    return {key: stats[f"listener_manager.{key}"] for key in DRAINS}


def test_an_edit_is_live_within_a_second_and_drops_no_connection(routes, mesh, near):
    def all_to(name):
        return live.route("r-live", "r-live", {"backendRefs": [live.to(name)]})

    with live.file(mesh, "live.yaml", all_to("site-v1")):
        near.hold("across", "r-live", 80)
        assert near.get("across", "r-live") == "v1"
        before = drains(mesh)
        took = []
        for name in ("site-v2", "site-v1", "site-v2"):
            begin = time.monotonic()
            live.write(mesh, "live.yaml", all_to(name))
            wait.until(lambda name=name: near.get("across", "r-live") == name[-2:], f"all to {name}", seconds=20)
            took.append(time.monotonic() - begin)
        assert min(took) < 1.5, took
        assert drains(mesh) == before
    wait.until(lambda: near.get("across", "r-live") == "v1", "plain balancing again, in the own zone", seconds=20)
    assert drains(mesh) == before


def test_a_broken_edit_changes_nothing_and_is_reported(routes, mesh, near):
    good = live.route("r-live", "r-live", {"backendRefs": [live.to("site-v2")]})
    with live.file(mesh, "live.yaml", good):
        wait.until(lambda: near.http("http://r-live/")["json"]["version"] == "v2", "the route is live")
        bad = live.route("r-live", "r-live", {"backendRefs": [{"name": "site-v1", "port": 80, "weight": "many"}]})
        live.write(mesh, "live.yaml", bad)
        found = wait.until(
            lambda: [f for f in mesh.ps()["findings"] if f["file"].endswith("live.yaml")], "it is reported", seconds=20
        )
        assert "weight" in found[0]["message"]
        assert found[0]["line"] > 1
        assert near.http("http://r-live/")["json"]["version"] == "v2"
        live.write(mesh, "live.yaml", "kind: [")
        wait.until(lambda: [f for f in mesh.ps()["findings"] if f["code"] == "RT0001"], "not YAML", seconds=20)
        assert near.http("http://r-live/")["json"]["version"] == "v2"


def test_why_leads_from_the_routes_to_the_file(routes, mesh):
    done = mesh.command("why", "routes/default")
    assert done.returncode == 0, done.stderr
    assert "routes.yaml:" in done.stdout
    assert "HTTPRoute default/r-match" in done.stdout


def test_an_unescaped_question_is_not_part_of_the_path(routes, near):
    answer = near.http("http://r-match/exact?" + urllib.parse.urlencode({"u": "/pre/longer"}))
    assert json.loads(answer["text"])["headers"]["x-rule"] == "exact"
