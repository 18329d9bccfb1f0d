"""The client at a real API server: apply, conflicts, discovery, watches, who one is."""

import asyncio
import base64
import json
import pathlib
import sys

import msgspec
import pytest
import yaml

from retic.sources import api
from retic.sources.api import kubeconfig

HEAD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "api"}}
MAPS = "/api/v1/namespaces/default/configmaps"
PATH = f"{MAPS}/api"


@pytest.fixture
async def server(apiserver):
    async with await api.connect(apiserver) as made:
        await made.delete(PATH)
        yield made


def data(value):
    return value["data"]


async def test_apply_makes_and_changes_and_tells_of_conflicts(server):
    assert data(await server.apply(PATH, {**HEAD, "data": {"a": "1"}}, dry_run=True)) == {"a": "1"}
    with pytest.raises(api.ApiError, match="NotFound"):
        await server.get(PATH)
    await server.apply(PATH, {**HEAD, "data": {"a": "1", "b": "1"}})
    assert data(await server.apply(PATH, {**HEAD, "data": {"a": "2"}})) == {"a": "2"}
    with pytest.raises(api.ApiError) as caught:
        await server.apply(PATH, {**HEAD, "data": {"a": "3"}}, manager="other", force=False)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert data(await server.apply(PATH, {**HEAD, "data": {"a": "3"}}, manager="other")) == {"a": "3"}


async def test_patches_of_each_kind(server):
    await server.create(MAPS, {**HEAD, "data": {"a": "1"}})
    assert data(await server.patch(PATH, {"data": {"b": "2"}})) == {"a": "1", "b": "2"}
    assert data(await server.patch(PATH, {"data": {"b": None}}, kind="strategic")) == {"a": "1"}
    changed = await server.patch(PATH, [{"op": "replace", "path": "/data/a", "value": "5"}], kind="json")
    assert data(changed) == {"a": "5"}


async def test_a_replacement_of_what_has_changed_is_a_conflict(server):
    first = await server.create(MAPS, HEAD)
    await server.replace(PATH, {**first, "data": {"a": "1"}})
    with pytest.raises(api.ApiError) as caught:
        await server.replace(PATH, {**first, "data": {"a": "2"}})
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")


async def test_edits_of_many_at_once_lose_nothing(server):
    await server.create(MAPS, {**HEAD, "data": {"n": "0"}})

    def more(value):
        return {**value, "data": {"n": str(int(value["data"]["n"]) + 1)}}

    await asyncio.gather(*(api.edit(server, PATH, more) for _ in range(4)))
    assert data(await server.get(PATH)) == {"n": "4"}


async def test_what_is_not_there_may_be_deleted(server):
    await server.create(MAPS, HEAD)
    await server.delete(PATH)
    await server.delete(PATH, propagation="Foreground")


async def test_discovery(server):
    assert await server.resource("apps/v1", "Deployment") == api.Resource("apps/v1", "Deployment", "deployments", True)
    role = await server.resource("rbac.authorization.k8s.io/v1", "ClusterRole")
    assert role.path(None, "system:node") == "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"
    assert (await server.get(role.path(None, "system:node")))["metadata"]["name"] == "system:node"
    assert await server.resource("example.com/v1", "Nothing") is None
    assert await server.resource("v1", "Nothing") is None


async def test_a_watch_in_lines(server):
    made = await server.create(MAPS, HEAD)
    version = made["metadata"]["resourceVersion"]
    async with server.lines(MAPS, watch=True, resourceVersion=version, timeoutSeconds=2) as lines:
        await server.patch(PATH, {"data": {"a": "1"}})
        await server.delete(PATH)
        events = [json.loads(line) async for line in lines]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]


async def test_who_one_is(apiserver, server, tmp_path):
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

    async def who(user):
        access = kubeconfig.load(apiserver)
        async with api.Api(msgspec.structs.replace(access, user=user, folder=str(tmp_path))) as client:
            return (await client.create(review, body))["status"]["userInfo"]["username"]

    admin = kubeconfig.load(apiserver).user
    assert await who(admin) == "retic-admin"
    assert await who(msgspec.structs.replace(admin, as_="somebody", as_groups=("system:masters",))) == "somebody"
    assert await who(plugged(tmp_path, admin)) == "retic-admin"
    with pytest.raises(api.ApiError, match="does not accept these credentials"):
        await who(kubeconfig.User(token="nonsense"))


def plugged(folder, admin):
    """The same certificate from an exec plugin."""
    chain, key = (base64.b64decode(each).decode() for each in (admin.client_certificate_data, admin.client_key_data))
    status = {"clientCertificateData": chain, "clientKeyData": key}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    script = folder / "plugin"
    script.touch(0o700)
    script.write_text(f"#!{sys.executable}\nprint({json.dumps(answer)!r})\n")
    return kubeconfig.User(exec=kubeconfig.Exec("./plugin", api_version="client.authentication.k8s.io/v1"))


async def test_a_server_of_another_authority_is_refused(apiserver, tmp_path):
    value = yaml.safe_load(pathlib.Path(apiserver).read_text())
    del value["clusters"][0]["cluster"]["certificate-authority-data"]
    other = tmp_path / "config"
    other.write_text(yaml.safe_dump(value))
    async with await api.connect(other) as client:
        with pytest.raises(api.UnreachableError, match="its certificate was refused"):
            await client.get("/version")
