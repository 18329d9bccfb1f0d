"""The control socket, really: a server on a unix socket, asked by the client that commands use."""

import asyncio
import contextlib
import json
import os
import stat

import pytest

from retic import findings
from retic.control import client, model, server, service
from retic.explain import why
from retic.testing import control as fakes
from retic.testing import wait

FINDING = findings.Finding(
    "RT0201", findings.Severity.ERROR, "HTTPRoute shop/web", "shop.yaml", 12, "no such Service", "name one",
    "u",
)


@pytest.fixture
async def mesh(tmp_path):
    queries = fakes.Queries()
    path = tmp_path / "control.sock"
    listening = server.Server(service.Service(queries, tmp_path), path)
    await listening.start()
    yield queries, path
    await listening.close()
    assert not path.exists()


async def ask(path, request, **more):
    return await asyncio.to_thread(client.ask, path, request, **more)


async def test_the_socket_is_for_its_owner_only(mesh):
    _, path = mesh
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_ps_has_the_shape_that_is_documented(mesh):
    queries, path = mesh
    queries.state = model.Ps(
        pods=(model.Pod("shop", "web-1", "node-1", "10.244.1.2", "web", True, "Running", "Running", 3),),
        services=(model.Service("shop", "web", "ClusterIP", "10.96.1.1", (model.Port("http", 80, "TCP"),)),),
        gateways=(model.Gateway("shop", "edge", (model.Listener(80, "127.0.0.1:8080"),)),),
        processes=(model.Process("envoy", "node-1", 4711),),
        findings=(FINDING,),
    )
    assert await ask(path, model.AskPs()) == {
        "pods": [{"namespace": "shop", "name": "web-1", "node": "node-1", "ip": "10.244.1.2",
                  "service_account": "web", "ready": True, "status": "Running", "phase": "Running",
                  "restarts": 3}],
        "services": [{"namespace": "shop", "name": "web", "type": "ClusterIP", "address": "10.96.1.1",
                      "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}],
        "gateways": [{"namespace": "shop", "name": "edge",
                      "listeners": [{"port": 80, "address": "127.0.0.1:8080"}]}],
        "processes": [{"role": "envoy", "name": "node-1", "pid": 4711}],
        "findings": [{"code": "RT0201", "severity": "error", "object": "HTTPRoute shop/web",
                      "file": "shop.yaml", "line": 12, "message": "no such Service", "fix": "name one",
                      "url": "u"}],
    }


async def test_every_request_has_its_answer(mesh):
    queries, path = mesh
    queries.found = (FINDING,)
    queries.convergence = model.Converged(ready=False, reasons=("node-1 has not answered",))
    queries.answers["routes/shop"] = why.Why("routes/shop", True, (), why.Step("query", "q", "k"))
    assert await ask(path, model.AskVersion()) == {"retic": "1.2.3", "envoy": "1.40.0"}
    assert [one["line"] for one in await ask(path, model.AskFindings())] == [12]
    assert (await ask(path, model.AskWhy(resource="routes/shop")))["reads"]["name"] == "q"
    assert await ask(path, model.AskConverged(seconds=1)) == {
        "ready": False, "reasons": ["node-1 has not answered"], "sent": 0,
    }


async def test_refusals_reach_the_user_as_text(mesh):
    _, path = mesh
    for request, words in (
        (model.AskWhy(resource="nonsense"), "nonsense is no resource"),
        (model.AskProxy(proxy="node-9"), "no proxy node-9"),
        (model.AskProxy(proxy="node-1", section="keys"), "no section keys"),
        (model.AskProxy(proxy="../..", section="stats"), "no proxy"),
    ):
        with pytest.raises(client.Refused, match=words):
            await ask(path, request)


async def test_a_fault_of_ours_is_an_answer_too_and_the_server_lives_on(mesh, monkeypatch):
    queries, path = mesh

    async def broken():
        raise KeyError("pods")

    monkeypatch.setattr(queries, "ps", broken)
    with pytest.raises(client.Refused, match="could not answer"):
        await ask(path, model.AskPs())
    assert await ask(path, model.AskVersion())


async def raw(path, data):
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_what_is_no_request_is_refused(mesh):
    _, path = mesh
    for data in (b"hello\n", b"{}\n", b'{"ask":"everything"}\n', b'{"ask":"why"}\n', b"\xff\xfe\n"):
        assert "not a request" in json.loads(await raw(path, data))["error"]
    assert await raw(path, b"") == b""
    assert await raw(path, b"x" * 200_000) == b""
    assert await ask(path, model.AskVersion())


async def test_followers_see_each_change_and_leave_no_trace(mesh):
    queries, path = mesh
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"ask":"follow"}\n')
    assert json.loads(await reader.readline()) == {"answer": []}
    await queries.publish(FINDING)
    assert json.loads(await reader.readline())["answer"][0]["code"] == "RT0201"
    assert queries.followers == 1
    writer.close()
    await wait.until_async(lambda: queries.followers == 0, "the follower is gone")


async def test_a_socket_left_behind_is_replaced(tmp_path):
    path = tmp_path / "control.sock"
    for _ in range(2):
        left = server._bound(path)
        left.close()
        listening = server.Server(service.Service(fakes.Queries(), tmp_path), path)
        await listening.start()
        assert await ask(path, model.AskVersion())
        await listening.close()


async def test_nobody_there_is_told_from_a_refusal(tmp_path):
    with pytest.raises(client.Away):
        await ask(tmp_path / "control.sock", model.AskPs())


async def test_a_silent_server_runs_into_the_time_limit(tmp_path):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    listening = await asyncio.start_unix_server(silent, str(tmp_path / "s"))
    with pytest.raises(TimeoutError):
        await ask(tmp_path / "s", model.AskPs(), seconds=0.1)
    listening.close()


async def test_another_user_is_refused_whatever_the_file_says(tmp_path):
    path = tmp_path / "control.sock"
    queries = fakes.Queries()
    listening = server.Server(service.Service(queries, tmp_path), path, owner=os.geteuid() + 1)
    await listening.start()
    with pytest.raises(client.Refused, match="only the user"):
        await ask(path, model.AskPs())
    await listening.close()
