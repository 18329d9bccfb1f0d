"""The client over real sockets: TLS, credentials that change, what is tried again and what is not."""

import asyncio
import base64
import contextlib
import json
import os
import ssl
import stat
import sys

import msgspec
import pytest
import structlog.testing

from retic.sources import api
from retic.sources.api import connections, kubeconfig
from retic.testing import api_server as fake
from retic.testing import faulty_proxy, tls_pairs, wait

MAPS = "/api/v1/configmaps"
REFUSED = fake.Answer(401, fake.status(401, "Unauthorized", "Unauthorized"))


@pytest.fixture
async def server():
    made = fake.Server()
    made.put(MAPS, "a", "default")
    await made.start()
    yield made
    await made.stop()


class Secure:
    """A server with TLS for kubernetes.default, and its authority."""

    def __init__(self, folder, clients=None):
        self.chain, key = tls_pairs.pair("kubernetes.default")
        (folder / "server.pem").write_bytes(self.chain + key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem")
        if clients:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(cadata=clients.decode())

    @property
    def authority(self):
        return {"certificate_authority_data": base64.b64encode(self.chain).decode()}

    @property
    def cluster(self):
        return {**self.authority, "tls_server_name": "kubernetes.default"}


async def test_a_request_and_its_answer(server):
    async with server.api() as client:
        found = await client.get(MAPS, limit=5, labelSelector=None, fieldSelector="a=b,c!=d")
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    assert server.requests[0].query == {"limit": "5", "fieldSelector": "a=b,c!=d"}


async def test_a_server_below_a_path(server):
    server.put("/k8s/clusters/c-1/api/v1/configmaps", "b")
    async with server.api(server=f"{server.url}/k8s/clusters/c-1") as client:
        assert (await client.get(MAPS))["items"][0]["metadata"]["name"] == "b"


async def test_a_refusal_says_what_and_why(server):
    server.answers[MAPS] = [fake.Answer(403, fake.status(403, "Forbidden", "User x cannot"))]
    async with server.api() as client:
        with pytest.raises(api.ApiError, match=r"^GET /api/v1/configmaps: User x cannot \(403 Forbidden\)$") as caught:
            await client.get(MAPS)
        assert (caught.value.status, caught.value.reason, caught.value.message) == (403, "Forbidden", "User x cannot")
        server.answers[MAPS] = [fake.Answer(502, b"<html>\nbad gateway")]
        with pytest.raises(api.ApiError, match="<html>"):
            await client.get(MAPS)
        server.answers[MAPS] = [fake.Answer(200, b"<html>")]
        with pytest.raises(api.UnreachableError, match="is this the address of an API server"):
            await client.get(MAPS)
        server.answers[MAPS] = [fake.Answer(302, headers={"Location": "http://127.0.0.1:1/"})]
        with pytest.raises(api.ApiError, match="302"):
            await client.get(MAPS)


async def test_a_server_that_is_not_there_is_said(server):
    await server.stop()
    async with server.api() as client:
        with pytest.raises(api.UnreachableError, match=r"cannot be reached \(a test\): Connection refused; is the"):
            await client.get(MAPS)
        with pytest.raises(api.UnreachableError, match="Connection refused"):
            async with client.lines(MAPS, watch=True):
                pass


async def test_what_is_to_be_tried_again_later_is(server):
    server.answers[MAPS] = [fake.Answer(429, headers={"Retry-After": "0"})] * 3
    async with server.api() as client:
        assert await client.get(MAPS)
        server.answers[MAPS] = [fake.Answer(429, headers={"Retry-After": "0"})] * 9
        with pytest.raises(api.ApiError) as caught:
            await client.get(MAPS)
        assert (caught.value.status, caught.value.retry_after) == (429, 0.0)
        assert len(server.answers[MAPS]) == 4
        server.answers[MAPS] = [fake.Answer(429)]
        with pytest.raises(api.ApiError):
            await client.get(MAPS)


@pytest.mark.parametrize(
    ("call", "times"), [("get", 2), ("delete", 2), ("apply", 2), ("create", 1), ("replace", 1), ("review", 2)]
)
async def test_only_what_may_be_done_twice_is_tried_again_over_a_new_connection(server, call, times):
    server.answers[MAPS] = [fake.Answer(200, b'{"a"', {"Content-Length": "99"}), fake.Answer(200, b"{}")]
    async with server.api() as client:
        body = () if call in {"get", "delete"} else ({},)
        with contextlib.suppress(api.UnreachableError) if times == 1 else contextlib.nullcontext():
            await getattr(client, call)(MAPS, *body)
            assert times == 2
    assert len(server.requests) == times


async def test_a_token_is_read_again_for_each_request_and_after_a_refusal(server, tmp_path):
    file = tmp_path / "token"
    file.write_text("one\n")
    async with server.api(kubeconfig.User(token_file=str(file))) as client:
        await client.get(MAPS)
        file.write_text("two")
        await client.get(MAPS)
        server.answers[MAPS] = [REFUSED]
        with pytest.raises(api.ApiError, match="does not accept these credentials; log in again"):
            await client.get(MAPS)
        file.unlink()
        with pytest.raises(api.UnreachableError, match="cannot be read: No such file"):
            await client.get(MAPS)
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer one", "Bearer two", "Bearer two"]


async def test_who_acts_as_somebody_else_says_so(server):
    user = kubeconfig.User(username="u", password="p", as_="root", as_groups=("a",), as_user_extra={"k": ("v",)})
    async with server.api(user) as client:
        await client.get(MAPS)
    headers = server.requests[0].headers
    assert headers["authorization"] == "Basic dTpw"
    assert [headers[f"impersonate-{name}"] for name in ("user", "group", "extra-k")] == ["root", "a", "v"]


def plugin(tmp_path, body, **fields):
    """A user whose credentials a script prints; `body` is Python."""
    script = tmp_path / "plugin.py"
    script.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{body}\n")
    script.chmod(0o700)
    values = {"command": "./plugin.py", "api_version": "client.authentication.k8s.io/v1", **fields}
    return kubeconfig.User(exec=kubeconfig.Exec(**values))


def with_plugin(server, tmp_path, user, **cluster):
    made = kubeconfig.Cluster(**{"server": server.url, **cluster})
    return api.Api(kubeconfig.Access("a test", made, user, folder=str(tmp_path)))


PRINTS = """
file = pathlib.Path(__file__).with_name("count")
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
status = {"token": f"t{count}", "expirationTimestamp": os.environ.get("EXPIRES", "2099-01-01T00:00:00Z")}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


async def test_a_plugin_is_run_once_and_again_when_it_is_refused(server, tmp_path):
    async with with_plugin(server, tmp_path, plugin(tmp_path, PRINTS)) as client:
        await asyncio.gather(*(client.get(MAPS) for _ in range(5)))
        server.answers[MAPS] = [REFUSED]
        await client.get(MAPS)
        server.answers[MAPS] = [REFUSED]
        async with client.lines(MAPS, watch=True, resourceVersion="0"):
            pass
    sent = [r.headers["authorization"] for r in server.requests]
    assert sent == ["Bearer t1"] * 6 + ["Bearer t2"] * 2 + ["Bearer t3"]


async def test_a_plugin_is_run_again_when_its_answer_has_expired(server, tmp_path):
    env = (kubeconfig.Variable("EXPIRES", "2001-01-01T00:00:00Z"),)
    async with with_plugin(server, tmp_path, plugin(tmp_path, PRINTS, env=env)) as client:
        for _ in range(3):
            await client.get(MAPS)
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer t1", "Bearer t2", "Bearer t3"]


async def test_a_plugin_is_told_about_the_cluster(server, tmp_path):
    body = 'pathlib.Path(__file__).with_name("info").write_text(os.environ["KUBERNETES_EXEC_INFO"])' + PRINTS
    user = plugin(tmp_path, body, provide_cluster_info=True)
    async with with_plugin(server, tmp_path, user) as client:
        await client.get(MAPS)
    info = json.loads((tmp_path / "info").read_text())
    assert info == {
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"server": server.url}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('not logged in')", "ended with code 1: not logged in; run it by hand"),
        ("print('hunter2')", "printed no ExecCredential$"),
        ("print('{\"kind\": \"ExecCredential\", \"apiVersion\": \"v9\"}')", "printed no ExecCredential of client"),
        (PRINTS.replace('"token"', '"tok"'), "printed neither a token nor a certificate"),
        (PRINTS.replace('"token"', '"clientKeyData"'), "a key without certificate"),
    ],
)
async def test_a_plugin_that_fails_is_said(server, tmp_path, body, message):
    async with with_plugin(server, tmp_path, plugin(tmp_path, body)) as client:
        with pytest.raises(api.UnreachableError, match=message):
            await client.get(MAPS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": "no-such-plugin", "install_hint": "brew install it"}, "no-such-plugin is not installed: brew"),
        ({"command": "./absent"}, "cannot be started: No such file"),
        ({"api_version": "client.authentication.k8s.io/v1alpha1"}, "write client.authentication.k8s.io/v1$"),
        ({"interactive_mode": "Always"}, "there is no terminal"),
    ],
)
async def test_a_plugin_that_cannot_be_run_is_said(server, tmp_path, fields, message):
    async with with_plugin(server, tmp_path, plugin(tmp_path, PRINTS, **fields)) as client:
        with pytest.raises(api.UnreachableError, match=message):
            await client.get(MAPS)


async def test_the_servers_certificate_is_checked_for_its_name(tmp_path):
    secure, server = Secure(tmp_path), fake.Server()
    server.put(MAPS, "a")
    await server.start(secure.context)
    try:
        async with server.api(**secure.cluster) as client:
            assert await client.get(MAPS)
        async with server.api(**secure.authority) as client:
            with pytest.raises(api.UnreachableError, match="its certificate was refused: IP address mismatch"):
                await client.get(MAPS)
        other, _ = tls_pairs.pair("kubernetes.default")
        async with server.api(certificate_authority_data=base64.b64encode(other).decode()) as client:
            with pytest.raises(api.UnreachableError, match="does certificate-authority belong to this server"):
                await client.get(MAPS)
        with structlog.testing.capture_logs() as logs:
            async with server.api(insecure_skip_tls_verify=True) as client:
                assert await client.get(MAPS)
        assert [entry["log_level"] for entry in logs] == ["warning"]
    finally:
        await server.stop()


async def test_corrupt_bytes_within_tls_are_a_lost_connection(tmp_path):
    secure, server = Secure(tmp_path), fake.Server()
    server.put(MAPS, "a")
    await server.start(secure.context)
    proxy = faulty_proxy.Proxy("127.0.0.1", int(server.url.rpartition(":")[2]))
    await proxy.start()
    try:
        async with (
            server.api(**secure.cluster, server=f"https://127.0.0.1:{proxy.port}") as client,
            client.lines(MAPS, watch=True, silence=2, resourceVersion="0") as lines,
        ):
            assert await anext(lines)
            proxy.corrupt()
            server.put(MAPS, "b")
            with pytest.raises(api.UnreachableError, match=r"broke|fell silent"):  # silent: a length was changed
                await anext(lines)
    finally:
        await proxy.stop()
        await server.stop()


async def test_a_client_certificate_from_files_is_taken_anew_when_they_change(tmp_path):
    first, second = tls_pairs.pair("first"), tls_pairs.pair("second")
    secure, server = Secure(tmp_path, clients=first[0] + second[0]), fake.Server()
    server.put(MAPS, "a")
    await server.start(secure.context)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(first[0])
    key.write_bytes(first[1])
    user = kubeconfig.User(client_certificate=str(certificate), client_key=str(key))
    try:
        async with server.api(user, **secure.cluster) as client:
            await client.get(MAPS)
            async with client.lines(MAPS, watch=True, resourceVersion="0") as lines:
                await anext(lines)
                certificate.write_bytes(second[0])
                key.write_bytes(second[1])
                await client.get(MAPS)
                server.put(MAPS, "b")
                assert b'"b"' in await anext(lines)
            key.write_bytes(first[1])
            with pytest.raises(api.UnreachableError, match="do not fit"):
                await client.get(MAPS)
        subjects = [dict(pair[0] for pair in peer["subject"])["commonName"] for peer in server.peers]
        assert subjects == ["first", "first", "second"]
    finally:
        await server.stop()


async def test_a_plugin_may_give_a_certificate(tmp_path):
    chain, key = tls_pairs.pair("plugged")
    secure, server = Secure(tmp_path, clients=chain), fake.Server()
    server.put(MAPS, "a")
    await server.start(secure.context)
    status = {"clientCertificateData": chain.decode(), "clientKeyData": key.decode()}
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    user = plugin(tmp_path, f"print({json.dumps(answer)!r})")
    try:
        async with with_plugin(server, tmp_path, user, **secure.cluster) as client:
            await client.get(MAPS)
        assert server.peers[0]["subject"][0][0] == ("commonName", "plugged")
        assert key.decode()[40:60] not in repr(client) + repr(vars(client))
    finally:
        await server.stop()


async def test_keys_leave_no_file_behind(tmp_path, monkeypatch):
    chain, key = (base64.b64encode(each).decode() for each in tls_pairs.pair("me"))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    real = ssl.SSLContext.load_cert_chain

    def load(self, path, **options):
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        return real(self, path, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    user = kubeconfig.User(client_certificate_data=chain, client_key_data=key)
    access = kubeconfig.Access("a test", kubeconfig.Cluster(server="https://127.0.0.1:1"), user)
    async with api.Api(access) as client:
        with pytest.raises(api.UnreachableError, match="refused"):
            await client.get(MAPS)
    assert (seen, list(tmp_path.iterdir())) == ([0o600], [])


async def test_a_proxy_is_asked_for_the_server(server):
    asked = []

    async def proxying(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(proxying, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    try:
        async with server.api(server="https://kubernetes.example:6443", proxy_url=url) as client:
            with pytest.raises(api.UnreachableError, match="the proxy refused: 407"):
                await client.get(MAPS)
    finally:
        proxy.close()
    assert asked == [b"CONNECT kubernetes.example:6443 HTTP/1.1"]


@pytest.mark.parametrize(
    ("server", "excepted", "asked"),
    [
        ("https://kubernetes.example:6443", "", True),
        ("https://kubernetes.example:6443", "other, .example", False),
        ("https://10.43.0.1:443", "10.43.0.0/16", False),
        ("https://10.44.0.1:443", "10.43.0.0/16", True),
        ("https://127.0.0.1:6443", "", False),
        ("https://localhost:6443", "", False),
    ],
)
def test_the_environments_proxy_is_asked_but_for_what_it_excepts(monkeypatch, server, excepted, asked):
    for name in ("https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert connections.environment_proxy(server) == ("http://proxy:3128" if asked else None)


async def test_a_proxy_that_cannot_be_used_is_said(server):
    async with server.api(proxy_url="ftp://x") as client:
        with pytest.raises(api.UnreachableError, match="proxy-url cannot be used"):
            await client.get(MAPS)


async def test_many_watches_leave_room_for_requests(server):
    async with server.api() as client, contextlib.AsyncExitStack() as stack:
        for _ in range(150):
            lines = await stack.enter_async_context(client.lines(MAPS, watch=True, resourceVersion="0"))
            await anext(lines)
        assert len(server.watches) == 150
        assert await asyncio.wait_for(client.get(MAPS), 5)
    await wait.until_async(lambda: not server.watches, "all watches are closed")


async def test_a_watch_that_falls_silent_is_lost(server):
    async with server.api() as client:
        with pytest.raises(api.UnreachableError, match="fell silent"):
            async with client.lines(MAPS, watch=True, silence=0.05, resourceVersion="99") as lines:
                await anext(lines)


async def test_what_the_caller_raises_stays_as_it_is(server):
    async with server.api() as client:
        with pytest.raises(ConnectionResetError):
            async with client.lines(MAPS, watch=True, resourceVersion="0"):
                raise ConnectionResetError


async def test_discovery_is_remembered_and_absence_is_not(server):
    pods = {"name": "pods", "kind": "Pod", "namespaced": True}
    listed = {"resources": [{"name": "pods/status", "kind": "Pod", "namespaced": True}, pods]}
    async with server.api() as client:
        assert await client.resource("apps/v1", "Deployment") is None
        server.answers["/api/v1"] = [fake.Answer(200, msgspec.json.encode(listed))]
        found = await client.resource("v1", "Pod")
        assert found == await client.resource("v1", "Pod") == api.Resource("v1", "Pod", "pods", True)
        assert found.path() == "/api/v1/pods"
        assert found.path("shop", "a b") == "/api/v1/namespaces/shop/pods/a%20b"
        with pytest.raises(ValueError, match="its namespace is missing"):
            found.path(None, "a")
        assert api.Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", False).path(
            "ignored", "system:x"
        ) == "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x"


async def test_an_edit_is_done_again_on_what_somebody_else_wrote(server):
    path = f"{MAPS}/a"
    first, second = {"metadata": {"resourceVersion": "1"}, "n": 1}, {"metadata": {"resourceVersion": "2"}, "n": 5}
    conflict = fake.Answer(409, fake.status(409, "Conflict"))
    server.answers[path] = [
        fake.Answer(200, msgspec.json.encode(first)), conflict, fake.Answer(200, msgspec.json.encode(second)),
        fake.Answer(200, b'{"n": 6}'), fake.Answer(200, msgspec.json.encode(second)),
    ]  # fmt: skip
    async with server.api() as client:
        assert await api.edit(client, path, lambda value: {**value, "n": value["n"] + 1}) == {"n": 6}
        assert await api.edit(client, path, lambda value: None) == second
    assert [r.method for r in server.requests] == ["GET", "PUT", "GET", "PUT", "GET"]
