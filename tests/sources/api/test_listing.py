"""One look at an API server: what is there, what may not be read, and what is made of that."""

import pytest

from retic import findings
from retic.sources.api import errors, kinds, listing, scope
from retic.testing import api_server

READS = {read.kind: read for read in kinds.mesh()}
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/gateways"


@pytest.fixture
async def server():
    made = api_server.Server()
    await made.start()
    yield made
    await made.stop()


def refuse(server, path, times=1):
    body = api_server.status(403, "Forbidden", "users may not")
    server.answers[path] = [api_server.Answer(403, body)] * times


def names(listed):
    return sorted(f"{type(one).__name__} {one.metadata.namespace}/{one.metadata.name}" for one in listed.values)


async def test_kinds_in_parts_and_kinds_that_are_not_there(server):
    server.collections["/api/v1/services"] = {}
    for number in range(1203):
        server.put("/api/v1/services", f"s{number:04}", "shop", spec={"clusterIP": "10.0.0.1"})
    async with server.api() as api:
        found = await listing.listed(api, (READS["Service"], READS["Gateway"]))
    assert len(found.values) == 1203
    assert found.refused == ()
    assert sum(request.path == "/api/v1/services" for request in server.requests) == 3


async def test_an_object_that_cannot_be_used_takes_no_other_with_it(server):
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    server.put(GATEWAYS, "good", "shop", spec={"gatewayClassName": "retic", "listeners": listeners})
    server.put(GATEWAYS, "bad", "shop", spec={"gatewayClassName": 7, "listeners": listeners})
    async with server.api() as api:
        found = await listing.listed(api, (READS["Gateway"],))
    assert names(found) == ["Gateway shop/good"]
    assert [(one.object, one.message.endswith("; this object is left out")) for one in found.found] == [
        ("Gateway shop/bad", True)
    ]


async def test_a_list_that_the_server_has_forgotten_is_begun_again(server):
    server.put("/api/v1/pods", "a", "shop", spec={"containers": []})
    server.answers["/api/v1/pods"] = [api_server.Answer(410, api_server.status(410, "Expired"))]
    async with server.api() as api:
        assert names(await listing.listed(api, (READS["Pod"],))) == ["Pod shop/a"]
        server.answers["/api/v1/pods"] = [api_server.Answer(410, api_server.status(410, "Expired"))] * 3
        with pytest.raises(errors.ApiError, match="Expired"):
            await listing.listed(api, (READS["Pod"],))


async def test_what_is_no_list(server):
    server.answers["/api/v1/pods"] = [api_server.Answer(200, b"[]")]
    async with server.api() as api:
        with pytest.raises(errors.UnreachableError, match="list of pods makes no sense"):
            await listing.listed(api, (READS["Pod"],))


async def test_all_may_be_read(server):
    server.put("/api/v1/pods", "a", "shop", spec={"containers": []})
    async with server.api() as api:
        seen = await scope.look(api, (READS["Pod"], READS["Node"]), "default")
    assert seen.scope.is_whole
    assert seen.scope.sees_all("Pod")
    assert seen.scope.sees(findings.Ref("Pod", "anywhere", "x"))
    assert not seen.scope.sees(findings.Ref("Secret", "shop", "x"))


async def test_one_namespace_may_be_read(server):
    for path in ("/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces"):
        refuse(server, path)
    server.put("/api/v1/namespaces/shop/pods", "a", "shop", spec={"containers": []})
    body = b'{"metadata": {"name": "shop", "labels": {"retic.dev/mesh": "enabled"}}}'
    server.answers["/api/v1/namespaces/shop"] = [api_server.Answer(200, body)]
    async with server.api() as api:
        seen = await scope.look(api, (READS["Namespace"], READS["Pod"], READS["Node"]), "shop")
    assert names(seen.listed) == ["Namespace /shop", "Pod shop/a"]
    assert seen.scope.namespace == "shop"
    assert seen.scope.lacking == ("list namespaces, pods, nodes in all namespaces (so only namespace shop is shown)",)
    assert [seen.scope.sees(findings.Ref("Pod", space, "x")) for space in ("shop", "other")] == [True, False]
    assert [seen.scope.sees(findings.Ref("Namespace", "", name)) for name in ("shop", "other")] == [True, False]


async def test_nothing_may_be_read(server):
    for path in ("/api/v1/pods", "/api/v1/namespaces/shop/pods", "/api/v1/namespaces", "/api/v1/namespaces/shop"):
        refuse(server, path)
    async with server.api() as api:
        seen = await scope.look(api, (READS["Namespace"], READS["Pod"]), "shop")
    assert seen.listed.values == ()
    assert seen.scope.reads == ()
    assert seen.scope.lacking == (
        "list namespaces, pods in all namespaces", "list pods in namespace shop", "get namespaces/shop",
    )


async def test_objects_by_name(server):
    secrets = "/api/v1/namespaces/shop/secrets"
    body = b'{"metadata": {"name": "a", "namespace": "shop"}, "type": "Opaque", "data": {}}'
    server.answers[f"{secrets}/a"] = [api_server.Answer(200, body)]
    refuse(server, f"{secrets}/b")
    refs = [findings.Ref("Secret", "shop", name) for name in "abc"]
    async with server.api() as api:
        begin = scope.Seen(listing.Listed(), scope.Scope(()))
        seen = await scope.named(api, begin, READS["Secret"], refs)
    assert names(seen.listed) == ["Secret shop/a"]
    assert [seen.scope.sees(ref) for ref in refs] == [True, False, True]
    assert seen.scope.lacking == ("get secrets/b in namespace shop",)
