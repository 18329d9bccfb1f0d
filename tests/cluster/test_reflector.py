"""The reflector against a real API server, through a proxy that spoils connections, compared with fresh lists."""

import asyncio
import base64
import contextlib
import http.client
import json
import pathlib
import random
import ssl
import urllib.parse

import msgspec
import pytest
import structlog.testing
from tools.cluster import processes

from retic import findings, objects, wiring
from retic.mesh import network, tables
from retic.sources import api, store, stream
from retic.sources.api import client, kinds, kubeconfig, reflector, watching
from retic.testing import faulty_proxy, tls_pairs, wait

GATEWAY = "gateway.networking.k8s.io"
READS = (*kinds.mesh(), kinds.Read("ConfigMap", "configmaps"))
QUICK = stream.Backoff(first=0.02, longest=0.3)
LIMITS = watching.Limits(page=7, watch=30, silence=3.0)
MAPS = "/api/v1/namespaces/{}/configmaps"


@contextlib.asynccontextmanager
async def through_proxy(config, chance=None):
    access = kubeconfig.load(config)
    url = urllib.parse.urlsplit(access.cluster.server)
    proxy = faulty_proxy.Proxy(url.hostname, url.port, chance)
    await proxy.start()
    cluster = msgspec.structs.replace(access.cluster, server=f"https://127.0.0.1:{proxy.port}")
    try:
        yield proxy, client.Api(msgspec.structs.replace(access, cluster=cluster))
    finally:
        await proxy.stop()


@contextlib.asynccontextmanager
async def reflecting(server, reads=READS):
    kept = store.Store(wiring.mesh(network.Settings()), tables.changes)
    async with server:
        task = asyncio.create_task(reflector.reflect(server, reads, kept, limits=LIMITS, backoff=QUICK))
        try:
            yield kept
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def synced(kept):
    await wait.until_async(lambda: kept.is_synced, "synced", 60)


@pytest.fixture
async def server(apiserver):
    async with await api.connect(apiserver) as made:
        yield made


async def namespace(server, name):
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await server.apply(f"/api/v1/namespaces/{name}", body)


async def fresh(server, reads=READS):
    """Everything as plain lists have it, by another way than the reflector's."""
    found = {}
    for read in reads:
        for path in read.paths:
            try:
                listed = await server.get(path, fieldSelector=read.fields)
            except api.ApiError as error:
                if error.status != 404:
                    raise
                continue
            for item in listed["items"]:
                for field in ("endpoints", "ports"):
                    if item.get(field, 0) is None:
                        del item[field]
                value = objects.decode({**item, "kind": read.kind})
                found[findings.Ref(read.kind, value.metadata.namespace, value.metadata.name)] = value
            break
    return found


async def same(server, kept, reads=READS):
    async def equal():
        return dict(kept.objects) == await fresh(server, reads)

    await wait.until_async(equal, "the store equals a fresh list", 40, every=0.2)


def crd(kind, plural):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    name = f"{plural}.{GATEWAY}"
    metadata = {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    spec = {"group": GATEWAY, "scope": "Namespaced", "names": names, "versions": [version]}
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    body = {**head, "metadata": metadata, "spec": spec}
    return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", body


@pytest.fixture
async def routes(server):
    """HTTPRoutes that nobody checks, for this test only."""
    path, body = crd("HTTPRoute", "httproutes")
    await server.apply(path, body)

    async def served():
        with contextlib.suppress(api.ApiError):
            return await server.get(f"/apis/{GATEWAY}/v1/httproutes")

    await wait.until_async(served, "the kind is served")
    yield f"/apis/{GATEWAY}/v1/namespaces/{{}}/httproutes"
    await server.delete(path)

    async def gone():
        try:
            await server.get(path)
        except api.ApiError as error:
            return error.status == 404

    await wait.until_async(gone, "the kind is gone", 150)


def route(name, host="a.example.com"):
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [host]}
    return {"apiVersion": f"{GATEWAY}/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


def some(kind, name, chance):
    """An object of a kind, anyhow."""
    metadata = {"name": name, "labels": {"n": str(chance.randrange(1000))}}
    match kind:
        case "configmaps":
            data = {"v": "x" * chance.randrange(3000)}
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        case "serviceaccounts":
            return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        case "services":
            spec = {"clusterIP": "None", "selector": {"n": str(chance.randrange(9))}}
            return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        case "pods":
            containers = [{"name": "c", "image": "i"}]
            spec = {"containers": containers, "nodeName": "nowhere", "terminationGracePeriodSeconds": 0}
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    endpoints = [{"addresses": [f"10.0.0.{chance.randrange(1, 200)}"]}] if chance.random() < 0.7 else []
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
    return {**slices, "addressType": "IPv4", "endpoints": endpoints}


GROUPS = {"endpointslices": "/apis/discovery.k8s.io/v1"}
CHANGED = ("configmaps", "serviceaccounts", "services", "pods", "endpointslices")


async def change(server, where, chance):
    kind, name = chance.choice(CHANGED), f"o{chance.randrange(12)}"
    path = f"{GROUPS.get(kind, '/api/v1')}/namespaces/{where}/{kind}/{name}"
    if chance.random() < 0.3:
        with contextlib.suppress(api.ApiError):
            await server.delete(path)
    else:
        await server.apply(path, some(kind, name, chance))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_becomes_of_the_connections_the_store_equals_a_fresh_list(apiserver, server, seed):
    chance, where = random.Random(seed), f"chaos-{seed}"
    await namespace(server, where)
    async with through_proxy(apiserver, chance) as (proxy, spoilt), reflecting(spoilt) as kept:
        await synced(kept)
        for round_ in range(30):
            for _ in range(chance.randrange(1, 6)):
                await change(server, where, chance)
            match chance.randrange(7):
                case 0:
                    proxy.kill()
                case 1:
                    proxy.freeze()
                case 2:
                    proxy.truncate()
                case 3:
                    proxy.corrupt()
                case 4:
                    proxy.delay(chance.random() / 5)
                case 5:
                    proxy.refuse(True)
                    proxy.kill()
                case _:
                    proxy.refuse(False)
            if round_ % 10 == 9:
                proxy.refuse(False)
                await same(server, kept)
        assert kept.found == ()
        assert proxy.accepted > 3 * len(READS)


def etcd(config, path, **body):
    """A call of etcd's JSON gateway, with the keys of the control plane that `config` is of."""
    flags = _command(config, "kube-apiserver")
    found = dict(flag.lstrip("-").split("=", 1) for flag in flags[1:])
    context = ssl.create_default_context(cafile=found["etcd-cafile"])
    context.load_cert_chain(found["etcd-certfile"], found["etcd-keyfile"])
    url = urllib.parse.urlsplit(found["etcd-servers"])
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=60)
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer


def _command(config, name):
    record = json.loads((config.parent / "pids" / f"{name}.json").read_text())
    return pathlib.Path(f"/proc/{record['pid']}/cmdline").read_text().rstrip("\0").split("\0")


async def restart(config, server):
    command, folder = _command(config, "kube-apiserver"), config.parent
    processes.end(folder / "pids", "kube-apiserver")
    processes.start(folder / "pids", "kube-apiserver", command, logs=folder / "logs", tied=True)

    async def ready():
        with contextlib.suppress(api.Error):
            return await server.content("/readyz") == b"ok"

    await wait.until_async(ready, "the API server is back", 180, every=0.2)


async def test_a_version_that_etcd_has_compacted_leads_to_a_list(apiserver, server):
    await namespace(server, "gone")
    path = MAPS.format("gone")
    for name in "abc":
        await server.apply(f"{path}/{name}", some("configmaps", name, random.Random(1)))
    with structlog.testing.capture_logs() as logs:
        async with through_proxy(apiserver) as (proxy, spoilt), reflecting(spoilt) as kept:
            await synced(kept)
            proxy.refuse(True)
            proxy.kill()
            await server.delete(f"{path}/a")
            await server.apply(f"{path}/b", {**some("configmaps", "b", random.Random(2)), "data": {"v": "new"}})
            latest = await server.apply(f"{path}/d", some("configmaps", "d", random.Random(3)))
            etcd(apiserver, "/v3/kv/compaction", revision=latest["metadata"]["resourceVersion"], physical=True)
            await restart(apiserver, server)
            kept.is_synced = False
            proxy.refuse(False)
            await same(server, kept)
            names = {ref.name for ref in kept.objects if ref.namespace == "gone"}
            assert names == {"b", "c", "d"}
    assert any("too old resource version" in entry.get("reason", "") for entry in logs)


async def test_the_api_server_may_restart(apiserver, server):
    await namespace(server, "restarted")
    async with await api.connect(apiserver) as other, reflecting(other) as kept:
        await synced(kept)
        await server.apply(f"{MAPS.format('restarted')}/before", some("configmaps", "before", random.Random(1)))
        await restart(apiserver, server)
        await server.apply(f"{MAPS.format('restarted')}/after", some("configmaps", "after", random.Random(1)))
        await same(server, kept)


async def test_a_kind_comes_and_goes_with_its_definition(apiserver, server, routes):
    await namespace(server, "kinds")
    path, _ = crd("HTTPRoute", "httproutes")
    ref = findings.Ref("HTTPRoute", "kinds", "r")
    async with await api.connect(apiserver) as other, reflecting(other) as kept:
        await synced(kept)
        await server.apply(f"{routes.format('kinds')}/r", route("r"))
        await wait.until_async(lambda: ref in kept.objects, "the route")
        await server.delete(path)
        await wait.until_async(lambda: ref not in kept.objects, "no route", 150)


async def test_of_a_broken_route_the_last_good_state_stays(apiserver, server, routes):
    await namespace(server, "broken")
    path, ref = f"{routes.format('broken')}/r", findings.Ref("HTTPRoute", "broken", "r")
    async with await api.connect(apiserver) as other, reflecting(other) as kept:
        await server.apply(path, route("r"))
        await wait.until_async(lambda: ref in kept.objects, "the route")
        await server.apply(path, route("r", "NOT_A_HOST"))
        await wait.until_async(lambda: kept.found, "a finding")
        assert [(f.code, f.object) for f in kept.found] == [("RT0011", str(ref))]
        assert kept.objects[ref].spec.hostnames == ("a.example.com",)
        await server.apply(path, route("r", "b.example.com"))
        await wait.until_async(lambda: not kept.found, "no finding")
        assert kept.objects[ref].spec.hostnames == ("b.example.com",)


async def test_secrets_of_certificates_are_read_and_no_others(apiserver, server):
    chain, key = (base64.b64encode(each).decode() for each in tls_pairs.pair("a.example.com"))
    pair = {"type": "kubernetes.io/tls", "data": {"tls.crt": chain, "tls.key": key}}
    for where in ("secrets", "retic-system"):
        await namespace(server, where)
        for name, rest in (("pair", pair), ("other", {"stringData": {"password": "hunter2"}})):
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **rest}
            await server.apply(f"/api/v1/namespaces/{where}/secrets/{name}", body)
    async with await api.connect(apiserver) as other, reflecting(other) as kept:
        await synced(kept)
        found = [ref for ref in kept.objects if ref.kind == "Secret"]
    assert found == [findings.Ref("Secret", "secrets", "pair")]


async def test_a_missing_right_is_named_until_it_is_given(apiserver, server, tmp_path):
    await namespace(server, "rights")
    account = "/api/v1/namespaces/rights/serviceaccounts/reader"
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
    await server.apply(account, body)
    token = await server.create(f"{account}/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"})
    await allow(server, "pods")
    access = kubeconfig.load(apiserver)
    file = tmp_path / "token"
    file.write_text("expired")
    user = kubeconfig.User(token_file=str(file))
    reads = tuple(read for read in READS if read.plural in {"pods", "services"})
    async with reflecting(client.Api(msgspec.structs.replace(access, user=user)), reads) as kept:
        file.write_text(token["status"]["token"])
        await wait.until_async(lambda: [one.object for one in kept.found] == ["Service"], "the finding of Services", 60)
        (found,) = kept.found
        assert found.code == "RT0610"
        assert "list and watch services in all namespaces" in found.message
        assert "system:serviceaccount:rights:reader" in found.message
        assert not kept.is_synced
        await allow(server, "pods", "services")
        await synced(kept)
        await wait.until_async(lambda: not kept.found, "no finding")
        await same(server, kept, reads)


async def allow(server, *plurals):
    rules = [{"apiGroups": [""], "resources": list(plurals), "verbs": ["list", "watch"]}]
    base = "/apis/rbac.authorization.k8s.io/v1"
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reflect:reader"}}
    await server.apply(f"{base}/clusterroles/reflect:reader", {**head, "kind": "ClusterRole", "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reflect:reader"}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "rights"}
    binding = {**head, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]}
    await server.apply(f"{base}/clusterrolebindings/reflect:reader", binding)
