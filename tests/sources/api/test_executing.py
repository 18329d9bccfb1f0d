"""A command in a container, against a server that speaks as the API server does, and as it does not."""

import contextlib
import json
import urllib.parse

import pytest
from websockets.asyncio import server as sockets
from websockets.datastructures import Headers
from websockets.http11 import Response

from retic.sources.api import client, errors, executing, kubeconfig

PLACE = executing.Place("retic-system", "retic-node-x", "agent")
SUCCESS = {"status": "Success"}


def failed(code):
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": "it failed", "details": {"causes": causes}}


@contextlib.asynccontextmanager
async def serving(*messages, refuse=None, seen=None):
    """`messages` to each caller, then the end; or (`refuse`) an answer instead."""

    async def talk(connection):
        if seen is not None:
            seen.append((connection.request, connection.subprotocol))
        for message in messages:
            await connection.send(message)

    async def answer(connection, request):
        return refuse

    async with sockets.serve(
        talk, "127.0.0.1", 0, subprotocols=["v5.channel.k8s.io"], process_request=answer if refuse else None
    ) as made:
        port = made.sockets[0].getsockname()[1]
        server = kubeconfig.Cluster(server=f"http://127.0.0.1:{port}")
        async with client.Api(kubeconfig.Access("a test", server, kubeconfig.User(token="secret"))) as api:
            yield api


def ended(status):
    return b"\x03" + json.dumps(status).encode()


async def test_output_and_exit_code():
    seen = []
    async with serving(b"\x01{\"a\":", b"\x02warning", b"\x011}", ended(SUCCESS), seen=seen) as api:
        done = await api.execute(PLACE, ["python", "-m", "x y", "&stdin=true"])
    assert done == executing.Executed(0, b'{"a":1}', b"warning")
    request, protocol = seen[0]
    path, _, query = request.path.partition("?")
    assert path == "/api/v1/namespaces/retic-system/pods/retic-node-x/exec"
    assert urllib.parse.parse_qsl(query) == [
        ("container", "agent"), ("stdout", "true"), ("stderr", "true"), ("command", "python"), ("command", "-m"),
        ("command", "x y"), ("command", "&stdin=true"),
    ]
    assert request.headers["Authorization"] == "Bearer secret"
    assert protocol == "v5.channel.k8s.io"


async def test_a_command_that_fails():
    async with serving(b"\x02no", ended(failed(37))) as api:
        assert await api.execute(PLACE, ["false"]) == executing.Executed(37, b"", b"no")


@pytest.mark.parametrize(("messages", "words"), [
    ((), "ended the connection before the command had ended"),
    ((b"\x01half",), "ended the connection before the command had ended"),
    ((b"\x03{",), "not so that it can be read"),
    ((b"", b"\x09?", "\x01text"), "ended the connection before the command had ended"),
])  # fmt: skip
async def test_a_server_that_breaks_off(messages, words):
    async with serving(*messages) as api:
        with pytest.raises(errors.LostError, match=words):
            await api.execute(PLACE, ["true"])


async def test_a_command_that_cannot_be_started():
    status = {"status": "Failure", "reason": "InternalError", "message": "no such file: python", "code": 500}
    async with serving(ended(status)) as api:
        with pytest.raises(errors.ApiError, match="no such file: python"):
            await api.execute(PLACE, ["python"])


async def test_no_right():
    body = json.dumps({"message": 'User "u" cannot get resource "pods/exec"', "reason": "Forbidden", "code": 403})
    refuse = Response(403, "Forbidden", Headers({"Content-Length": str(len(body))}), body.encode())
    async with serving(refuse=refuse) as api:
        with pytest.raises(errors.ApiError, match='cannot get resource "pods/exec"') as found:
            await api.execute(PLACE, ["true"])
    assert found.value.status == 403


async def test_credentials_follow_no_redirect():
    seen = []
    async with serving(ended(SUCCESS), seen=seen) as elsewhere:
        headers = Headers({"Location": f"{elsewhere.server.replace('http', 'ws')}/", "Content-Length": "0"})
        async with serving(refuse=Response(302, "Found", headers, b"")) as api:
            with pytest.raises(errors.ApiError):
                await api.execute(PLACE, ["true"])
    assert seen == []


async def test_nobody_there():
    async with serving() as api:
        pass
    with pytest.raises(errors.UnreachableError, match="no command can be run through the API server at http://127"):
        await api.execute(PLACE, ["true"])


async def test_a_command_that_does_not_end():
    import asyncio

    async def talk(connection):
        await connection.wait_closed()

    async with sockets.serve(talk, "127.0.0.1", 0, subprotocols=["v4.channel.k8s.io"]) as made:
        port = made.sockets[0].getsockname()[1]
        access = kubeconfig.Access("a test", kubeconfig.Cluster(server=f"http://127.0.0.1:{port}"), kubeconfig.User())
        async with client.Api(access) as api:
            with pytest.raises(errors.LostError, match=r"did not end within 0.2 s"):
                await asyncio.wait_for(api.execute(PLACE, ["sleep"], seconds=0.2), 20)
