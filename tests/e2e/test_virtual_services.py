"""VirtualServices through real Envoys, field by field; mirrored requests come first and as who their caller is."""

import base64
import concurrent.futures
import json
import math

import live
import pod_probes
import pod_session
import pytest
import virtual_mesh as lab
from virtual_mesh import path, tagged, to, virtual

from retic.testing import running, wait

ORIGIN = "https://one.test"
CORS = {
    "allowOrigins": [{"exact": ORIGIN}, {"prefix": "https://pre"}, {"regex": "https://r[0-9]"}], "maxAge": "1h",
    "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-in"], "exposeHeaders": ["x-out"], "allowCredentials": True,
}  # fmt: skip
ALL = {"value": 100}
WATCHER = {"name": "watcher", "port": 80}
V1 = "v1.default.svc.cluster.local"

ROUTES = [
    lab.service("v-match", (80, 8080), (81, 8080)),
    virtual(
        "v-match", ["v-match"],
        tagged("exact", path("/exact", "exact")),
        tagged("first", path("/order")),
        tagged("second", path("/order/longer")),
        tagged("regex", path("/re/[0-9]+", "regex")),
        tagged("case", {**path("/Any"), "ignoreUriCase": True}),
        tagged("method", {**path("/m"), "method": {"regex": "PUT|POST"}}),
        tagged("scheme", {**path("/s"), "scheme": {"exact": "https"}}),
        tagged("authority", {**path("/h"), "authority": {"prefix": "said."}}),
        tagged("header", {**path("/a"), "headers": {"x-a": {"exact": "1"}, "x-b": {"prefix": "b"}}}),
        tagged("present", {**path("/a"), "headers": {"x-c": {}}}),
        tagged("without", {**path("/w"), "withoutHeaders": {"x-no": {}, "x-v": {"exact": "1"}}}),
        tagged("query", {**path("/q"), "queryParams": {"q": {"regex": "a+"}, "r": {"prefix": "x"}}}),
        tagged("port", {**path("/p"), "port": 81}),
        tagged("labels", {**path("/l"), "sourceLabels": {"role": "asker"}}),
        tagged("namespace", {**path("/n"), "sourceNamespace": "other"}),
        tagged("gateway", {**path("/g"), "gateways": ["front"]}),
        tagged("either", path("/e1"), {**path("/e"), "headers": {"x-e": {"exact": "2"}}}),
        tagged("prefix", path("/pre")),
        gateways=["mesh", "front"],
    ),
    lab.service("v-route"),
    virtual(
        "v-route", ["v-route.default.svc.cluster.local"],
        {"match": [path("/weights")], "route": [to(weight=80), to("v2", weight=20), to("watcher", weight=0)]},
        {"match": [path("/subset")], "route": [to(subset="none")]},
        {"match": [path("/missing")], "route": [to("nowhere")]},
        {"match": [path("/share")], "route": [to(weight=3), to("nowhere", weight=1)]},
        {"match": [path("/time")], "timeout": "300ms", "rewrite": {"uri": "/delay/2000"}, "route": [to()]},
        {"match": [path("/headers")], "headers": {
            "request": {
                "set": {"x-set": "rule 100%", "Host": "set.test"}, "add": {"x-add": "rule"}, "remove": ["x-gone"],
            },
            "response": {"set": {"server": "none"}, "add": {"x-back": "rule"}, "remove": ["content-type"]},
        }, "route": [to(headers={"request": {"add": {"x-add": "to"}}, "response": {"set": {"x-to": "yes"}}})]},
    ),
    lab.service("v-change"),
    virtual(
        "v-change", ["v-change"],
        {"match": [path("/letters")], "rewrite": {"uri": "/new", "authority": "new.test"}, "route": [to()]},
        {"match": [path("/whole", "exact")], "rewrite": {"uri": "/all"}, "route": [to()]},
        {"match": [path("/any/.*", "regex")], "rewrite": {"uri": "/all"}, "route": [to()]},
        {"match": [path("/groups")], "route": [to()],
         "rewrite": {"uriRegexRewrite": {"match": "^/groups/(.*)/(.*)", "rewrite": r"/\2/\1"}}},
        {"match": [path("/r/uri")], "redirect": {"uri": "/there"}},
        {"match": [path("/r/host")], "redirect": {"authority": "to.test", "redirectCode": 307}},
        {"match": [path("/r/port")], "redirect": {"authority": "to.test", "port": 8443, "scheme": "https"}},
        {"match": [path("/r/asked")], "redirect": {"authority": "to.test", "derivePort": "FROM_REQUEST_PORT"}},
        {"match": [path("/direct")], "directResponse": {"status": 503, "body": {"string": "closed for today"}},
         "headers": {"response": {"set": {"content-type": "text/x"}}}},
        {"match": [path("/bytes")], "directResponse": {"status": 200, "body": {
            "bytes": base64.b64encode(b"\0\1" * 4096).decode()}}},
    ),
    lab.service("v-fault"),
    virtual(
        "v-fault", ["v-fault"],
        {"match": [path("/abort")], "fault": {"abort": {"httpStatus": 418, "percentage": ALL}}, "route": [to()]},
        {"match": [{"headers": {"x-fault": {"exact": "half"}}}],
         "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}}, "route": [to()]},
        {"match": [path("/delay")], "fault": {"delay": {"fixedDelay": "400ms", "percentage": ALL}}, "route": [to()]},
        {"match": [path("/grpc")], "fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": ALL}},
         "route": [to()]},
        {"match": [path("/never")], "fault": {"abort": {"httpStatus": 418}}, "route": [to()]},
        {"route": [to()]},
    ),
    lab.service("v-cors"),
    virtual(
        "v-cors", ["v-cors"],
        {"match": [path("/ignore")], "corsPolicy": {**CORS, "unmatchedPreflights": "IGNORE"}, "route": [to()]},
        {"match": [path("/cors")], "corsPolicy": CORS, "route": [to()]},
    ),
    lab.service("v-team"),
    virtual(
        "v-team", ["v-team"],
        {"match": [path("/team")], "timeout": "300ms", "delegate": {"name": "team", "namespace": "other"}},
        {"match": [path("/hidden")], "delegate": {"name": "hidden", "namespace": "other"}},
        tagged("root"),
    ),
    virtual(
        "team", (), tagged("one", path("/team/one"), route=[to(V1)]),
        tagged("wider", path("/tea")),
        {"match": [path("/team/slow")], "rewrite": {"uri": "/delay/2000"}, "route": [to(V1)]},
        namespace="other",
    ),
    virtual("hidden", (), tagged("hidden"), namespace="other", exportTo=["."]),
    lab.service("v-both"),
    virtual("v-both", ["v-both"], tagged("virtual")),
    live.route("v-both", "v-both", {"backendRefs": [live.to("v2")]}),
    lab.service("v-own"),
    virtual("v-own", ["v-own"], tagged("all")),
    virtual("v-own", ["v-own.default.svc.cluster.local"], tagged("own", route=[to(V1)]),
            namespace="other", exportTo=["."]),
    virtual("v-wild", ["*.default.svc.cluster.local"], tagged("wild"), exportTo=["."]),
    lab.service("v-quiet"),
    lab.service("v-mirror"),
    virtual(
        "v-mirror", ["v-mirror"],
        {"match": [path("/first")], "mirror": {"host": "watcher"}, "route": [to()]},
        {"match": [path("/none")], "mirror": {"host": "watcher"}, "mirrorPercentage": {"value": 0}, "route": [to()]},
        {"match": [path("/some")], "mirror": {"host": "watcher"}, "mirrorPercentage": {"value": 50}, "route": [to()]},
        {"match": [path("/two")], "mirrors": [{"destination": {"host": "watcher"}}] * 2, "route": [to()]},
        {"match": [path("/set")], "mirror": {"host": "watcher"}, "headers": {"request": {"set": {
            "x-retic-mirror-identity": "spiffe://cluster.local/ns/default/sa/b", "x-retic-mirror": "service/x/x/x/1"}}},
         "route": [to()]},
        {"mirror": {"host": "watcher"}, "route": [to()]},
    ),
    lab.service("r-mirror"),
    live.route("r-mirror", "r-mirror", {
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": WATCHER}}],
        "backendRefs": [live.to("v1")],
    }),
    lab.service("g-mirror", {"name": "grpc", "port": 80, "targetPort": 8080}),
    live.route("g-mirror", "g-mirror", {
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": WATCHER, "percent": 100}}],
        "backendRefs": [live.to("v1")],
    }, kind="GRPCRoute"),
    virtual(
        "v-front", [lab.HOST, "else.example.org"],
        {"match": [path("/mirror")], "mirror": {"host": "watcher"}, "route": [to()]},
        {"match": [{**path("/labels"), "sourceLabels": {"role": "asker"}}], "route": [to("v2")]},
        tagged("front"),
        gateways=["front"],
    ),
    virtual("v-lost", ["taken.example.com"], tagged("lost"), gateways=["front"]),
    live.route("r-taken", {"name": "front"}, {"backendRefs": [live.to("v2")]}, hostnames=["taken.example.com"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return lab.Log(tmp_path_factory.mktemp("log") / "watcher.log")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory, log):
    folder = tmp_path_factory.mktemp("virtual")
    for name, given in (("mesh.yaml", lab.objects(log.file)), ("routes.yaml", ROUTES)):
        (folder / name).write_text("\n---\n".join(map(json.dumps, given)))
    with running.mesh(folder) as started:
        yield started


@pytest.fixture(scope="module")
def pods(mesh):
    places = (("a", "default"), ("b", "default"), ("c", "other"))
    made = {name: pod_session.Pod(mesh, name, space) for name, space in places}
    yield made
    for each in made.values():
        each.close()


def rule(answer):
    """Which rule was taken, "" for none that says it."""
    assert answer["status"] in (200, 404), answer
    return answer["json"]["headers"].get("x-rule", "") if answer["status"] == 200 else None


MATCHES = [
    ("/exact", {}, "exact"), ("/exact/", {}, None), ("/order/longer", {}, "first"), ("/re/12", {}, "regex"),
    ("/re/x", {}, None), ("/aNy/thing", {}, "case"), ("/m", {"method": "PUT"}, "method"), ("/m", {}, None),
    ("/s", {"headers": {"x-forwarded-proto": "https"}}, "scheme"), ("/s", {}, None),
    ("/h", {"host": "said.test"}, "authority"), ("/h", {}, None),
    ("/a", {"headers": {"x-a": "1", "x-b": "bc"}}, "header"), ("/a", {"headers": {"x-a": "1"}}, None),
    ("/a", {"headers": {"x-c": ""}}, "present"), ("/w", {}, "without"), ("/w", {"headers": {"x-no": ""}}, None),
    ("/w", {"headers": {"x-v": "1"}}, None), ("/w", {"headers": {"x-v": "2"}}, "without"),
    ("/q?q=aa&r=xy", {}, "query"),
    ("/q?q=aa", {}, None), ("/p", {}, None), ("/e1", {}, "either"), ("/e", {"headers": {"x-e": "2"}}, "either"),
    ("/prefix/is/letters", {}, "prefix"), ("/g", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("url", "more", "expected"), MATCHES)
def test_matches(pods, url, more, expected):
    assert rule(pods["a"].http(f"http://v-match{url}", **more)) == expected


def test_a_match_by_port(pods):
    assert rule(pods["a"].http("http://v-match:81/p")) == "port"


def test_a_match_by_who_calls(pods):
    assert rule(pods["a"].http("http://v-match/l")) == "labels"
    assert rule(pods["b"].http("http://v-match/l")) is None, "of the same namespace and node, without the label"
    assert rule(pods["c"].http("http://v-match.default/n")) == "namespace"
    assert rule(pods["a"].http("http://v-match/n")) is None


def test_labels_of_callers_are_those_of_now(mesh, pods):
    assert rule(pods["b"].http("http://v-match/l")) is None
    twin = {
        "apiVersion": "v1", "kind": "Pod", "metadata": live.meta("late", labels={"role": "asker"}),
        "spec": {"serviceAccountName": "b", "containers": [{"name": "c", "command": ["sleep", "1h"]}]},
    }  # fmt: skip
    with live.file(mesh, "late.yaml", twin):
        live.ready(mesh, "late")
        status, body = mesh.curl("late", "http://v-match/l")
        assert (status, json.loads(body)["headers"]["x-rule"]) == (200, "labels")


def test_weights(pods):
    found = pods["a"].count("v-route", "/weights", times=1000)
    assert set(found) == {"v1", "v2"}
    assert abs(found["v2"] - 200) < 5 * math.sqrt(1000 * 0.2 * 0.8)


def test_destinations_that_are_not_there_are_answered_503(mesh, pods):
    for url in ("/subset", "/missing"):
        assert pods["a"].http(f"http://v-route{url}")["status"] == 503
    found = pods["a"].count("v-route", "/share", times=400)
    assert set(found) == {"v1", "503"}
    assert abs(found["503"] - 100) < 5 * math.sqrt(400 * 0.25 * 0.75)
    said = {f["code"] for f in mesh.ps()["findings"] if f["object"] == "VirtualService default/v-route"}
    assert said == {"RT0541", "RT0201"}


def test_a_timeout(pods):
    answer = min((pods["a"].http("http://v-route/time") for _ in range(3)), key=lambda one: one["seconds"])
    assert answer["status"] == 504
    assert answer["seconds"] < 1.5


def test_header_changes(pods):
    answer = pods["a"].http("http://v-route/headers", headers={"x-gone": "1", "x-add": "mine"})
    seen = answer["json"]["headers"]
    assert (seen["host"], seen["x-set"], "x-gone" in seen) == ("set.test", "rule 100%", False)
    assert seen["x-add"].replace(" ", "") == "mine,to,rule"
    got = answer["headers"]
    assert (got["server"], got["x-back"], got["x-to"], "content-type" in got) == ("none", "rule", "yes", False)


def test_rewrites(pods):
    seen = pods["a"].http("http://v-change/lettersX/y?q=1")["json"]
    assert (seen["path"], seen["query"], seen["headers"]["host"]) == ("/newX/y", "q=1", "new.test")
    assert pods["a"].http("http://v-change/whole?q=1")["json"]["path"] == "/all"
    assert pods["a"].http("http://v-change/any/thing")["json"]["path"] == "/all"
    assert pods["a"].http("http://v-change/groups/x/y")["json"]["path"] == "/y/x"


@pytest.mark.parametrize(
    ("url", "status", "location"),
    [
        ("/r/uri?q=1", 301, "http://v-change/there?q=1"), ("/r/host/x", 307, "http://to.test/r/host/x"),
        ("/r/port", 301, "https://to.test:8443/r/port"), ("/r/asked", 301, "http://to.test/r/asked"),
    ],
)  # fmt: skip
def test_redirects(pods, url, status, location):
    answer = pods["a"].http(f"http://v-change{url}")
    assert (answer["status"], answer["headers"]["location"]) == (status, location)


def test_answers_of_the_proxys_own(pods):
    answer = pods["a"].http("http://v-change/direct")
    assert (answer["status"], answer["text"], answer["headers"]["content-type"]) == (503, "closed for today", "text/x")
    assert pods["a"].http("http://v-change/bytes")["text"] == "\0\1" * 4096


def test_faults(mesh, pods):
    assert pods["a"].http("http://v-fault/abort")["status"] == 418
    slow = pods["a"].http("http://v-fault/delay")
    assert slow["status"] == 200
    assert 0.39 <= slow["seconds"] < 8  # timers may be early by a part of a millisecond
    kind = {"content-type": "application/grpc"}
    grpc = pods["a"].http("http://v-fault/grpc", method="POST", version="2", headers=kind)
    assert (grpc["status"], grpc["headers"]["grpc-status"]) == (200, "14")
    found = pods["a"].count("v-fault", "/", headers={"x-fault": "half"}, times=400)
    assert abs(found["503"] - 200) < 5 * math.sqrt(400 * 0.25)
    assert pods["a"].count("v-fault", "/", times=100) == {"v1": 100}, "only where a route says so"
    assert pods["a"].http("http://v-fault/never")["status"] == 200
    assert "RT0545" in {f["code"] for f in mesh.ps()["findings"] if f["object"] == "VirtualService default/v-fault"}


def test_scripts_of_other_origins(pods):
    def asked(url, origin, **more):
        asking = {"origin": origin, "access-control-request-method": "PUT"}
        return pods["a"].http(f"http://v-cors{url}", method="OPTIONS", headers=asking, **more)

    for origin in (ORIGIN, "https://prefix.test", "https://r7"):
        got = asked("/cors", origin)
        begin = "access-control-"
        said = {k.removeprefix(begin): v for k, v in got["headers"].items() if k.startswith(begin)}
        assert got["status"] == 200
        assert said == {
            "allow-origin": origin, "allow-credentials": "true", "allow-methods": "GET,PUT", "allow-headers": "x-in",
            "expose-headers": "x-out", "max-age": "3600",
        }, said  # fmt: skip
    assert asked("/cors", "https://evil.test")["json"]["method"] == "OPTIONS", "it goes on to the application"
    refused = asked("/ignore", "https://evil.test")
    assert (refused["status"], refused["text"]) == (200, "")
    assert "access-control-allow-origin" not in refused["headers"]
    plain = pods["a"].http("http://v-cors/cors", headers={"origin": ORIGIN})
    assert plain["headers"]["access-control-allow-origin"] == ORIGIN
    assert plain["json"]["version"] == "v1"


def test_delegates(mesh, pods):
    assert rule(pods["a"].http("http://v-team/team/one")) == "one"
    assert pods["a"].http("http://v-team/team/slow")["status"] == 504, "what the delegate does not say, the root does"
    for url in ("/team/other", "/tea", "/hidden", "/"):
        assert rule(pods["a"].http(f"http://v-team{url}")) == "root", url
    said = [f["code"] for f in mesh.ps()["findings"] if f["object"] == "VirtualService default/v-team"]
    assert sorted(said) == ["RT0543", "RT0544"]


def test_who_holds_for_a_service(mesh, pods):
    assert pods["a"].http("http://v-both/")["json"]["version"] == "v2", "a route of the Gateway API goes first"
    assert rule(pods["a"].http("http://v-own/")) == "all"
    assert rule(pods["c"].http("http://v-own.default/")) == "own", "what is exported to one namespace goes before"
    assert rule(pods["a"].http("http://v-quiet/")) == "wild"
    assert rule(pods["c"].http("http://v-quiet.default/")) == "", "not exported"
    codes = {f["object"]: f["code"] for f in mesh.ps()["findings"] if f["code"] in ("RT0552", "RT0553")}
    assert codes["VirtualService default/v-both"] == "RT0552"
    assert codes["VirtualService default/v-lost"] == "RT0552"


def test_at_a_gateway(pods):
    def ask(url, host=lab.HOST):
        return pod_probes.http(f"http://127.0.0.1:{lab.PORT}{url}", host=host)

    wait.until(lambda: ask("/")["status"] == 200, "the gateway")
    assert rule(ask("/")) == "front"
    assert rule(ask("/labels")) == "front", "at a gateway nobody has labels"
    assert ask("/", "else.example.org")["status"] == 404, "no listener has that host"
    assert ask("/", "taken.example.com")["json"]["version"] == "v2"


def me(name, namespace="default"):
    return f"spiffe://cluster.local/ns/{namespace}/sa/{name}"


def test_the_first_mirrored_request_arrives_as_its_callers(pods, log):
    for name, host in (("a", "v-mirror"), ("b", "v-mirror"), ("c", "v-mirror.default")):
        word = f"/first-{name}"
        answer = pods[name].http(f"http://{host}{word}", headers={"x-forwarded-for": "192.0.2.7"})
        assert answer["json"]["version"] == "v1"
        (head,) = wait.until(lambda word=word: log.requests(word), f"the copy of {word}")
        assert lab.caller(head) == me(name, "other" if name == "c" else "default")
        assert (head["host"], head["x-forwarded-for"]) == (f"{host}-shadow", "192.0.2.7")
        assert not [key for key in head if key.startswith("x-retic")]


def test_shares_of_mirrors(pods, log):
    for path_, least, most in (("/none", 0, 0), ("/some", 25, 75), ("/two", 200, 200)):
        pods["a"].count("v-mirror", f"{path_}/share", times=100)
        pods["a"].http(f"http://v-mirror/first{path_}/last")
        wait.until(lambda p=path_: log.requests(f"/first{p}/last"), "the last one")
        wait.until(lambda p=path_, n=least: len(log.requests(f"{p}/share")) >= n, f"{least} copies of {path_}")
        assert least <= len(log.requests(f"{path_}/share")) <= most


def test_nobody_is_mirrored_as_somebody_else(pods, log, mesh):
    """Two accounts, one node, one destination, at once and on connections that are kept."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(pods[name].count, "v-mirror", f"/who-{name}", times=600, connections=6, headers=forged)
            for name, forged in (("a", {"x-retic-mirror-identity": me("b")}), ("b", {"x-retic-mirror-namespace": "/x"}))
        ]
        assert [job.result() for job in jobs] == [{"v1": 600}] * 2
    for name in ("a", "b"):
        heads = wait.until(
            lambda name=name: len(found := log.requests(f"/who-{name}")) == 600 and found, f"the copies of {name}'s"
        )
        assert {lab.caller(head) for head in heads} == {me(name)}
    addresses = {pod["ip"] for pod in mesh.ps()["pods"]}
    assert log.peers() <= addresses, "from the caller's own address, and from the node's probe"


def test_a_route_cannot_say_whose_a_mirrored_request_is(pods, log):
    assert pods["a"].http("http://v-mirror/set")["status"] == 200
    (head,) = wait.until(lambda: log.requests("/set"), "the copy")
    assert lab.caller(head) == me("a")


def test_mirrors_of_the_gateway_api(pods, log):
    assert pods["b"].http("http://r-mirror/of-http-route")["json"]["version"] == "v1"
    (head,) = wait.until(lambda: log.requests("/of-http-route"), "the copy")
    assert lab.caller(head) == me("b")
    grpc = {"content-type": "application/grpc"}
    pods["a"].http("http://g-mirror/of.Grpc/Route", method="POST", version="2", headers=grpc)
    (head,) = wait.until(lambda: log.requests("/of.Grpc/Route"), "the copy")
    assert lab.caller(head) == me("a")
    assert ":scheme" in head, "in HTTP/2"


def test_a_gateway_mirrors_as_itself(log):
    answer = pod_probes.http(f"http://127.0.0.1:{lab.PORT}/mirror/front", host=lab.HOST)
    assert answer["status"] == 200
    (head,) = wait.until(lambda: log.requests("/mirror/front"), "the copy")
    assert lab.caller(head).startswith("spiffe://cluster.local/ns/default/sa/front")


def test_explain_says_what_happens(mesh):
    def explain(where, asked, *more, pod="a"):
        words = ("explain", "request", "--from", f"pod/{pod}", "--to", where, "GET", asked, *more, "-o", "json")
        done = mesh.command(*words)
        return json.loads(done.stdout)

    fault = explain("v-fault:80", "/x", "-H", "x-fault: half")
    assert any("50 %" in step["text"] and step["what"] == "fault" for step in fault["steps"])
    mirrored = explain("v-mirror:80", "/two")
    assert [step["text"] for step in mirrored["steps"] if step["what"] == "mirror"] == [
        "100 % go to default/watcher port 80 too"
    ] * 2
    assert explain("v-change:80", "/direct")["status"] == 503
    assert "sender has not the labels" in json.dumps(explain("v-match:80", "/l", pod="b"))
