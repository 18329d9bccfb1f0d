"""The reflector against an API server that fails on purpose, over real sockets."""

import asyncio
import base64
import contextlib
import random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from retic import findings
from retic.objects import guarded
from retic.sources import stream
from retic.sources.api import kinds, reflector, watching
from retic.testing import api_server as fake
from retic.testing import tls_pairs, wait

PODS, MAPS, ROUTES = "/api/v1/pods", "/api/v1/configmaps", "/apis/gateway.networking.k8s.io/v1/httproutes"
POD, MAP = kinds.Read("Pod", "pods"), kinds.Read("ConfigMap", "configmaps")
ROUTE = kinds.Read("HTTPRoute", "httproutes", is_checked=True)
SECRET = kinds.Read("Secret", "secrets", is_checked=True, fields="type=kubernetes.io/tls")
QUICK = stream.Backoff(first=0.002, longest=0.01)
LIMITS = watching.Limits(page=2, silence=5.0)


class Sink:
    """Keeps what it is told; `held` has the data of ConfigMaps, the node of pods."""

    def __init__(self):
        self.batches, self.reports, self.syncs, self.held = [], [], 0, {}

    def apply(self, changes):
        assert changes
        self.batches.append(changes)
        for change in changes:
            assert change.position is None
            ref = findings.Ref(change.kind, change.namespace, change.name)
            if change.object is None:
                del self.held[ref]
            else:
                assert self.held.get(ref) != change.object, "told what is known"
                self.held[ref] = change.object

    def report(self, found):
        self.reports.append(found)

    def synced(self):
        self.syncs += 1

    @property
    def maps(self):
        return {ref.name: value.data["v"] for ref, value in self.held.items() if ref.kind == "ConfigMap"}


@pytest.fixture
async def server():
    async with serving() as made:
        yield made


@contextlib.asynccontextmanager
async def serving():
    made = fake.Server()
    made.collections[MAPS] = {}
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@contextlib.asynccontextmanager
async def reflecting(server, *reads, user=None, **options):
    sink = Sink()
    options = {"limits": LIMITS, "backoff": QUICK, **options}
    async with server.api(user) as api:
        task = asyncio.create_task(reflector.reflect(api, reads or (MAP,), sink, **options))
        try:
            yield sink
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def synced(sink, times=1):
    await wait.until_async(lambda: sink.syncs >= times, f"synced {times} times")


async def holds(sink, **maps):
    await wait.until_async(lambda: sink.maps == maps, f"the maps {maps}")


async def watched(server, path=MAPS, count=1):
    await wait.until_async(lambda: len([w for w in server.watches if w.path == path]) == count, "a watch")


def put(server, name, value="x"):
    server.put(MAPS, name, "default", data={"v": value})


def route(server, name, **spec):
    spec = {"parentRefs": [{"name": "web"}], **spec}
    server.put(ROUTES, name, "default", spec=spec)


async def test_a_list_in_pages_is_one_batch_and_changes_follow(server):
    for name in "abcde":
        put(server, name)
    async with reflecting(server) as sink:
        await synced(sink)
        assert [len(batch) for batch in sink.batches] == [5]
        assert [r.query["limit"] for r in server.requests if not r.is_watch] == ["2", "2", "2"]
        await watched(server)
        put(server, "a", "y")
        server.remove(MAPS, "b", "default")
        await holds(sink, a="y", c="x", d="x", e="x")
    watch = next(r for r in server.requests if r.is_watch)
    assert watch.query["allowWatchBookmarks"] == "true"
    assert watch.query["resourceVersion"] == "15"
    assert 300 <= int(watch.query["timeoutSeconds"]) <= 400


async def test_after_a_lost_watch_it_goes_on_where_it_was(server):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        server.cut()
        put(server, "b")
        await holds(sink, a="x", b="x")
    assert len([r for r in server.requests if not r.is_watch]) == 1


async def test_a_bookmark_moves_the_watch_on(server):
    async with reflecting(server) as sink:
        await watched(server)
        server.put("/api/v1/others", "something")
        server.bookmark(MAPS)
        server.end(MAPS)
        await wait.until_async(lambda: len([r for r in server.requests if r.is_watch]) == 2, "another watch")
        assert sink.syncs == 1
    again = [r for r in server.requests if r.is_watch][1]
    assert int(again.query["resourceVersion"]) == server.revision
    assert len([r for r in server.requests if not r.is_watch]) == 1


@pytest.mark.parametrize("answer", [None, fake.Answer(410, fake.status(410, "Expired"))])
async def test_a_version_that_is_gone_leads_to_a_list_of_differences(server, answer):
    for name in "abc":
        put(server, name)
    async with reflecting(server) as sink:
        await watched(server)
        if answer:
            server.answers[MAPS] = [answer]
        server.cut()
        put(server, "b", "y")
        server.remove(MAPS, "c", "default")
        put(server, "d")
        if not answer:
            server.forget()
        await synced(sink, 2)
        assert {c.name: c.object and c.object.data["v"] for c in sink.batches[1]} == {"b": "y", "c": None, "d": "x"}
        assert len(sink.batches) == 2


async def test_a_list_whose_rest_expired_begins_anew(server):
    for name in "abc":
        put(server, name)
    page = fake.Answer(200, b'{"metadata":{"resourceVersion":"1","continue":"1:2"},"items":[]}')
    server.answers[MAPS] = [page]
    server.forget()
    async with reflecting(server) as sink:
        await synced(sink)
        await holds(sink, a="x", b="x", c="x")


@pytest.mark.parametrize(
    "bad",
    [
        b"{nonsense\n",
        b'{"type":"OTHER","object":{}}\n',
        b'{"type":"ADDED"}\n',
        b"\xff\xfe\n",
        b'{"type":"ADDED","object":{"metadata":{"name":"z"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"99"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"z","resourceVersion":"99"},"data":{"v":"\xff"}}}\n',
        b'{"type":"ERROR","object":{"code":500,"message":"etcd is tired"}}\n',
        b'{"type":"ERROR","object":3}\n',
        b"[]\n",
    ],
)
async def test_a_corrupt_line_leads_to_a_new_list(server, bad):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        put(server, "b")
        server.send(MAPS, bad)
        await synced(sink, 2)
        await holds(sink, a="x", b="x")


async def test_a_line_that_is_cut_short_counts_for_nothing(server):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        server.send(MAPS, fake.event("DELETED", server.collections[MAPS]["default", "a"])[:-9])
        server.cut()
        put(server, "b")
        await holds(sink, a="x", b="x")


async def test_a_corrupt_list_is_asked_for_again(server):
    put(server, "a")
    server.answers[MAPS] = [
        fake.Answer(200, b"<html>"), fake.Answer(200, b'{"metadata":{}}'), fake.Answer(200, b'{"items":[{}]}'),
        fake.Answer(200, b'{"metadata":{"resourceVersion":"1"},"items":[{}]}'), fake.Answer(200, b"\xff"),
    ]  # fmt: skip
    async with reflecting(server) as sink:
        await holds(sink, a="x")


async def test_a_half_dead_watch_is_given_up(server):
    async with reflecting(server, limits=watching.Limits(silence=0.05)) as sink:
        await synced(sink)
        await wait.until_async(lambda: len([r for r in server.requests if r.is_watch]) >= 3, "further watches")


async def test_a_hanging_answer_is_given_up_too(server):
    put(server, "a")
    async with reflecting(server, limits=watching.Limits(silence=0.05)) as sink:
        await watched(server)
        server.answers[MAPS] = [fake.Answer(200, hangs=True, headers={"Content-Length": "100"})]
        server.cut()
        put(server, "b")
        await holds(sink, a="x", b="x")


async def test_a_server_that_is_away_loses_nothing(server):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        await server.stop()
        put(server, "b")
        assert sink.maps == {"a": "x"}
        await server.start()
        await holds(sink, a="x", b="x")


async def test_it_waits_longer_each_time_and_as_long_as_it_is_told(server):
    waits = []

    async def pause(seconds):
        waits.append(seconds)
        await asyncio.sleep(0)

    busy = fake.Answer(429, fake.status(429, "TooManyRequests"))
    away, ages = (fake.Answer(503, fake.status(503), {"Retry-After": text}) for text in ("7", "86400"))
    server.answers[MAPS] = [busy, busy, busy, busy, away, ages]
    async with reflecting(server, backoff=stream.Backoff(first=1.0, longest=3.0), pause=pause) as sink:
        await synced(sink)
    for wanted, seconds in zip([1, 2, 3, 3], waits, strict=False):
        assert wanted / 2 <= seconds <= wanted
    assert waits[4:6] == [7, 60]


async def test_a_kind_that_is_not_installed_is_empty_until_it_is_there(server):
    put(server, "a")
    async with reflecting(server, MAP, ROUTE) as sink:
        await synced(sink)
        assert sink.reports == []
        route(server, "r")
        await wait.until_async(lambda: findings.Ref("HTTPRoute", "default", "r") in sink.held, "the route")


async def test_a_kind_that_is_removed_becomes_empty(server):
    route(server, "r")
    async with reflecting(server, ROUTE) as sink:
        await watched(server, ROUTES)
        server.drop(ROUTES)
        await wait.until_async(lambda: sink.held == {}, "no route")
        route(server, "again")
        await wait.until_async(lambda: [ref.name for ref in sink.held] == ["again"], "the new route")


async def test_a_moment_without_the_kind_removes_nothing(server):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        server.answers[MAPS] = [fake.Answer(404, b"404 page not found")]
        server.cut()
        await synced(sink, 2)
        assert len(sink.batches) == 1


async def test_an_older_version_of_a_kind_is_read_where_the_newer_is_absent(server):
    path = "/apis/gateway.networking.k8s.io/v1beta1/httproutes"
    server.put(path, "r", "default", spec={})
    async with reflecting(server, ROUTE) as sink:
        await wait.until_async(lambda: sink.held, "the route")
        await watched(server, path)


async def test_a_missing_right_is_a_finding_until_it_is_given(server):
    put(server, "a")
    route(server, "r")
    refusal = fake.Answer(403, fake.status(403, "Forbidden", 'User "x" cannot list'))
    server.answers[ROUTES] = [refusal] * 3
    async with reflecting(server, MAP, ROUTE) as sink:
        await wait.until_async(lambda: sink.reports, "a report")
        assert sink.syncs == 0
        (found,) = sink.reports[0]
        assert (found.code, found.object) == ("RT0610", "HTTPRoute")
        assert "list and watch httproutes.gateway.networking.k8s.io in all namespaces" in found.message
        await synced(sink)
        assert sink.reports[-1] == ()


async def test_tokens_are_read_again_when_they_are_refused(server, tmp_path):
    put(server, "a")
    file = tmp_path / "token"
    file.write_text("old\n")
    server.answers[MAPS] = [fake.Answer(401, fake.status(401, "Unauthorized"))]
    user = fake.kubeconfig.User(token_file=str(file))
    async with reflecting(server, user=user) as sink:
        await synced(sink)
        await watched(server)
        file.write_text("new")
        server.cut()
        await wait.until_async(lambda: server.requests[-1].headers["authorization"] == "Bearer new", "the new token")
    assert server.requests[0].headers["authorization"] == "Bearer old"


async def test_null_lists_are_empty_lists(server):
    path = "/apis/discovery.k8s.io/v1/endpointslices"
    server.put(path, "s", "default", addressType="IPv4", endpoints=None, ports=None)
    async with reflecting(server, kinds.Read("EndpointSlice", "endpointslices")) as sink:
        await synced(sink)
        (value,) = sink.held.values()
        assert (value.endpoints, value.ports, sink.reports) == ((), (), [])


async def test_a_value_that_a_later_server_allows_is_taken(server):
    path = "/apis/discovery.k8s.io/v1/endpointslices"
    server.put(path, "s", "default", addressType="IPv9", endpoints=None, new={"x": 1})
    async with reflecting(server, kinds.Read("EndpointSlice", "endpointslices")) as sink:
        await synced(sink)
        assert [value.address_type for value in sink.held.values()] == ["IPv9"]
        assert sink.reports == []


async def test_of_a_broken_object_the_last_good_state_stays(server):
    route(server, "r", hostnames=["a.example.com"])
    async with reflecting(server, ROUTE) as sink:
        await watched(server, ROUTES)
        route(server, "r", hostnames=["A_"])
        await wait.until_async(lambda: sink.reports, "a finding")
        (found,) = sink.reports[-1]
        assert (found.code, found.object, found.file, found.line) == ("RT0011", "HTTPRoute default/r", "", 0)
        assert found.message.endswith("; its last good state stays")
        assert next(iter(sink.held.values())).spec.hostnames == ("a.example.com",)
        server.forget()
        server.cut()
        await synced(sink, 2)
        assert next(iter(sink.held.values())).spec.hostnames == ("a.example.com",)
        route(server, "r", hostnames=["b.example.com"])
        await wait.until_async(lambda: sink.reports[-1] == (), "no finding")
        assert next(iter(sink.held.values())).spec.hostnames == ("b.example.com",)


async def test_a_broken_object_takes_no_other_with_it_and_its_finding_goes_with_it(server):
    route(server, "bad", rules=[{"matches": 3}])
    route(server, "good")
    async with reflecting(server, ROUTE) as sink:
        await synced(sink)
        assert [ref.name for ref in sink.held] == ["good"]
        (found,) = sink.reports[-1]
        assert found.object == "HTTPRoute default/bad"
        assert found.message.endswith("; this object is left out")
        server.remove(ROUTES, "bad", "default")
        await wait.until_async(lambda: sink.reports[-1] == (), "no finding")


async def test_a_pod_that_cannot_be_decoded_is_a_finding(server):
    server.put(PODS, "p", "default", spec={"containers": [{"name": "c", "ports": [{"containerPort": "x"}]}]})
    server.put(PODS, "q", "default", spec={"containers": [{"name": "c"}]})
    async with reflecting(server, POD) as sink:
        await synced(sink)
        assert [ref.name for ref in sink.held] == ["q"]
        assert [f.object for f in sink.reports[-1]] == ["Pod default/p"]


async def test_certificates_are_judged_and_never_shown(server):
    chain, key = tls_pairs.pair("a.example.com")
    path = "/api/v1/secrets"

    def secret(name, private):
        data = {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(private).decode()}
        server.put(path, name, "default", type="kubernetes.io/tls", data=data)

    secret("good", key)
    secret("bad", b"hunter2")
    async with reflecting(server, SECRET) as sink:
        await synced(sink)
        assert [ref.name for ref in sink.held] == ["good"]
        assert "hunter2" not in repr(sink.reports) + repr(sink.batches)
    assert {r.query["fieldSelector"] for r in server.requests} == {"type=kubernetes.io/tls"}


async def test_only_metadata_is_asked_for_where_that_is_all(server):
    server.put("/api/v1/namespaces", "shop", metadata={"labels": {"retic.dev/mesh": "enabled"}})
    async with reflecting(server, kinds.Read("Namespace", "namespaces", metadata_only=True)) as sink:
        await watched(server, "/api/v1/namespaces")
        assert next(iter(sink.held.values())).metadata.labels == {"retic.dev/mesh": "enabled"}
    asked = [r.headers["accept"] for r in server.requests]
    assert asked[0] == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    assert asked[1] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def test_only_what_is_read_makes_a_difference(server):
    put(server, "a")
    async with reflecting(server) as sink:
        await watched(server)
        server.put(MAPS, "a", "default", data={"v": "x"}, metadata={"managedFields": [{"manager": "somebody"}]})
        put(server, "b")
        await holds(sink, a="x", b="x")
        assert [c.name for batch in sink.batches for c in batch] == ["a", "b"]


async def test_a_fault_of_the_sink_is_not_hidden(server):
    put(server, "a")
    sink = Sink()
    sink.apply = lambda _: 1 / 0
    async with server.api() as api:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(reflector.reflect(api, (MAP, ROUTE), sink), 5)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcde"), st.sampled_from("xyz")),
        st.tuples(st.just("remove"), st.sampled_from("abcde")),
        st.tuples(st.sampled_from(["cut", "forget", "bookmark", "corrupt", "drop", "busy", "gone", "let", "half"])),
    ),
    max_size=25,
)


# Without shrinking: what fails here fails by waiting.
@settings(max_examples=60, deadline=None, phases=[Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck))
@given(OPERATIONS, st.randoms(use_true_random=False))
def test_whatever_happens_in_the_end_it_is_as_the_server_is(operations, chance):
    asyncio.run(_whatever(operations, chance))


async def _whatever(operations, chance):
    async with serving() as server, reflecting(server) as sink:
        for kind, *rest in operations:
            _do(server, kind, rest)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if kind == "let":
                await wait.until_async(lambda: sink.syncs, "synced")
        if MAPS not in server.collections:
            put(server, "last")
        there = {name: value["data"]["v"] for (_, name), value in server.collections[MAPS].items()}
        await holds(sink, **there)


def _do(server, kind, rest):
    known = server.collections.get(MAPS, {})
    match kind:
        case "put":
            put(server, *rest)
        case "remove" if ("default", rest[0]) in known:
            server.remove(MAPS, rest[0], "default")
        case "cut":
            server.cut()
        case "forget":
            server.forget()
        case "bookmark":
            server.bookmark(MAPS)
        case "corrupt":
            server.send(MAPS, b'{"type":"ADDED","obj\n')
        case "half":
            server.send(MAPS, b'{"type":"ADDED","obj')
            server.cut()
        case "drop":
            server.drop(MAPS)
        case "busy":
            server.answers[MAPS] = [fake.Answer(429, headers={"Retry-After": "0"}), fake.Answer(500)]
        case "gone":
            server.answers[MAPS] = [fake.Answer(410, fake.status(410))]


def test_waits_are_spread():
    assert len({round(reflector.BACKOFF.delay(5, random.random()), 6) for _ in range(50)}) > 40
    assert [reflector.BACKOFF.delay(failures, 1.0) for failures in (1, 2, 3, 60)] == [0.2, 0.4, 0.8, 10.0]


POLICIES = "/apis/security.istio.io/v1/authorizationpolicies"
POLICY = kinds.Read("AuthorizationPolicy", "authorizationpolicies", is_checked=True)


async def test_a_policy_that_could_be_read_stays_and_one_that_never_could_is_closed(server):
    def policy(name, **source):
        server.put(POLICIES, name, "default", spec={"rules": [{"from": [{"source": source}]}]})

    def unread():
        return {ref.name: tuple(guarded.paths(value)) for ref, value in sink.held.items()}

    server.collections[POLICIES] = {}
    policy("good", principals=["a"])
    policy("bad", princpals=["a"])
    typo = "spec.rules[0].from[0].source.princpals"
    async with reflecting(server, POLICY) as sink:
        await watched(server, POLICIES)
        assert unread() == {"good": (), "bad": (typo,)}
        assert [one.message.endswith("rule 1 lets nobody in") for one in sink.reports[-1]] == [True]
        policy("good", principls=["a"])
        await wait.until_async(lambda: len(sink.reports[-1]) == 2, "a second finding")
        assert unread() == {"good": (), "bad": (typo,)}
        assert {one.object: one.message.endswith("; its last good state stays") for one in sink.reports[-1]} == {
            "AuthorizationPolicy default/good": True, "AuthorizationPolicy default/bad": False,
        }  # fmt: skip
        policy("bad", princpls=["a"])
        await wait.until_async(lambda: unread()["bad"] == (typo.replace("princpals", "princpls"),), "the newer one")
        policy("bad", principals=["a"])
        policy("good", principals=["b"])
        await wait.until_async(lambda: not sink.reports[-1], "no finding")
        assert unread() == {"good": (), "bad": ()}
        policy("bad", princpals=["b"])
        await wait.until_async(lambda: sink.reports[-1], "a finding")
        assert unread()["bad"] == (), "now it stays, for it was good"
        server.forget()
        server.cut()
        await synced(sink, 2)
        assert unread()["bad"] == ()
