"""Waiting for statuses, at an API server that a test tells what to say."""

import asyncio

import msgspec
import pytest

from retic import findings
from retic.sources.api import errors, kinds
from retic.testing import api_server, wait
from retic.wiring import remote

GROUP = "/apis/gateway.networking.k8s.io/v1"
GATEWAYS, ROUTES, GRPC, CLASSES = (
    f"{GROUP}/{plural}" for plural in ("gateways", "httproutes", "grpcroutes", "gatewayclasses")
)
NAMESPACES, POLICIES = "/api/v1/namespaces", "/apis/security.istio.io/v1/authorizationpolicies"
ROUTE = findings.Ref("HTTPRoute", "shop", "web")
WEB = {"group": "", "kind": "Service", "name": "web"}


@pytest.fixture
async def server():
    made = api_server.Server()
    for path in (GATEWAYS, ROUTES, GRPC, CLASSES):
        made.collections[path] = {}
    await made.start()
    yield made
    await made.stop()


def conditions(generation=1, *, accepted="True", live="True", message="live on 2 of 2 proxies", reason="Live"):
    return [
        {"type": "Accepted", "status": accepted, "reason": "Accepted", "message": "", "observedGeneration": generation},
        {"type": "retic.dev/Live", "status": live, "reason": reason, "message": message,
         "observedGeneration": generation},
    ]  # fmt: skip


def route(server, name="web", *, parents=(WEB,), generation=1, said=None):
    entries = [] if said is None else [
        {"controllerName": "retic.dev/gateway-controller", "parentRef": parent, "conditions": said}
        for parent in parents
    ]  # fmt: skip
    server.put(
        ROUTES, name, "shop", metadata={"generation": generation},
        spec={"parentRefs": list(parents), "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
        status={"parents": entries},
    )


def edge(server, *, class_name="retic", said=None):
    server.put(
        GATEWAYS, "edge", "shop", metadata={"generation": 1},
        spec={"gatewayClassName": class_name, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        status={"conditions": said or []},
    )


async def ask(server, *wanted, namespace="", seconds=20.0):
    async with server.api() as api:
        found, _ = await remote.wait(api, wanted, namespace, seconds)
    return {str(one.ref): (one.done, one.says) for one in found}


async def test_it_is_live_already(server):
    route(server, said=conditions())
    edge(server, said=conditions(message="live on 1 of 1 proxies"))
    assert await ask(server) == {
        "Gateway shop/edge": (True, "live on 1 of 1 proxies"), "HTTPRoute shop/web": (True, "live on 2 of 2 proxies"),
    }


async def test_it_becomes_live(server):
    route(server, said=conditions(live="False", message="live on 1 of 2 proxies", reason="Pending"))
    asked = asyncio.create_task(ask(server))
    await wait.until_async(lambda: any(one.path == ROUTES for one in server.watches), "a watch")
    assert not asked.done()
    route(server, said=conditions())
    assert await asked == {"HTTPRoute shop/web": (True, "live on 2 of 2 proxies")}


@pytest.mark.parametrize(("said", "generation", "words"), [
    (None, 1, "its status says nothing of Accepted yet"),
    (conditions()[:1], 1, "its status says nothing of retic.dev/Live yet"),
    (conditions(1), 2, "its last change has not been looked at yet"),
    (conditions(accepted="False"), 1, "not accepted (Accepted): Accepted"),
    (conditions(live="False", message="live on 0 of 2 proxies", reason="Pending"), 1, "live on 0 of 2 proxies"),
])  # fmt: skip
async def test_what_is_missing(server, said, generation, words):
    route(server, said=said, generation=generation)
    assert await ask(server, seconds=6.0) == {"HTTPRoute shop/web": (False, words)}


async def test_each_parent_counts(server):
    edge(server, said=conditions())
    gateway = {"name": "edge"}
    route(server, parents=(WEB, gateway), said=conditions())
    assert (await ask(server, ROUTE))["HTTPRoute shop/web"] == (
        True, "for Service shop/web: live on 2 of 2 proxies; for Gateway shop/edge: live on 2 of 2 proxies",
    )
    server.collections[ROUTES]["shop", "web"]["status"]["parents"].pop()
    assert (await ask(server, ROUTE, seconds=6.0))["HTTPRoute shop/web"] == (
        False, "for Gateway shop/edge: its status says nothing of Accepted yet",
    )


async def test_what_is_named_has_to_be_there_and_ours(server):
    edge(server, class_name="theirs")
    found = await ask(server, ROUTE, findings.Ref("Gateway", "shop", "edge"), seconds=6.0)
    assert found == {
        "HTTPRoute shop/web": (False, "it does not exist"),
        "Gateway shop/edge": (
            False, "it is not Retic's to serve: see its parents, its class, or its namespace's label"
        ),
    }


async def test_others_are_not_waited_for(server):
    edge(server, class_name="theirs")
    route(server, parents=({"name": "edge"},))
    assert await ask(server) == {}


async def test_one_namespace(server):
    route(server)
    assert await ask(server, namespace="office") == {}
    assert await ask(server, namespace="shop", seconds=6.0) != {}


def policy(server, *, said=None, labels=None):
    server.collections |= {NAMESPACES: {}, POLICIES: {}}
    server.put(NAMESPACES, "shop", metadata={"labels": labels or {}})
    server.put(POLICIES, "web", "shop", metadata={"generation": 1}, spec={}, status={"conditions": said or []})


def of_a_policy(**said):
    first, second = conditions(**said)
    return [{**first, "type": "retic.dev/Accepted"}, second]


async def test_policies_are_waited_for_where_their_namespace_is_in_the_mesh(server):
    policy(server, labels={"retic.dev/mesh": "enabled"})
    says = {"AuthorizationPolicy shop/web": (False, "its status says nothing of retic.dev/Accepted yet")}
    assert await ask(server, seconds=6.0) == says
    policy(server, labels={"retic.dev/mesh": "enabled"}, said=of_a_policy())
    assert await ask(server) == {"AuthorizationPolicy shop/web": (True, "live on 2 of 2 proxies")}
    policy(server)
    assert await ask(server) == {}


async def test_a_status_says_whose_a_policy_is_to_who_may_not_read_namespaces(server):
    policy(server, said=of_a_policy(live="False", message="live on 1 of 2 proxies", reason="Pending"))
    del server.collections[NAMESPACES]
    assert await ask(server, seconds=6.0) == {"AuthorizationPolicy shop/web": (False, "live on 1 of 2 proxies")}


async def test_nothing_may_be_read(server):
    body = api_server.status(403, "Forbidden", "no")
    for read in kinds.mesh():
        for path in (*read.paths, *msgspec.structs.replace(read, namespace="default").paths):
            server.answers[path] = [api_server.Answer(403, body)]
    async with server.api() as api:
        with pytest.raises(errors.UnreachableError, match=r"you may not list namespaces, gatewayclasses\.gateway"):
            await remote.wait(api, (), "", 5.0)
