"""A command that one speaks with, against a server that speaks as the API server does, and as it does not."""

import asyncio
import contextlib
import json
import urllib.parse

import pytest
from websockets.asyncio import server as sockets
from websockets.datastructures import Headers
from websockets.http11 import Response

from retic.sources.api import client, conversing, errors, executing, kubeconfig

PLACE = executing.Place("retic-system", "retic-node-x", "agent")
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
SUCCESS = b'\x03{"status": "Success"}'


def failed(code):
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return b"\x03" + json.dumps({"status": "Failure", "details": {"causes": causes}}).encode()


@contextlib.asynccontextmanager
async def serving(talk, *, protocol=V5, refuse=None):
    async def answer(connection, request):
        return refuse

    async with sockets.serve(
        talk, "127.0.0.1", 0, subprotocols=[protocol], process_request=answer if refuse else None
    ) as made:
        server = kubeconfig.Cluster(server=f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}")
        async with client.Api(kubeconfig.Access("a test", server, kubeconfig.User(token="secret"))) as api:
            yield api


@contextlib.asynccontextmanager
async def conversing_with(*messages, protocol=V5):
    """A conversation with somebody who says this."""

    async def talk(connection):
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    async with (
        serving(talk, protocol=protocol) as api,
        contextlib.aclosing(await api.converse(PLACE, ["python"])) as made,
    ):
        yield made


async def test_lines_go_both_ways_however_they_are_cut():
    heard, asked = [], []

    async def talk(connection):
        asked.append(connection.request)
        await connection.send(b"\x01one\ntw")
        await connection.send(b"\x02a warning")
        await connection.send(b"\x01o\n\nlast\n")
        async for message in connection:
            heard.append(message)
            if message == b"\xff\x00":
                await connection.send(SUCCESS)

    async with serving(talk) as api:
        made = await api.converse(PLACE, ["python", "-m", "x"])
        await made.send(b"hello\n")
        assert [await made.line() for _ in range(4)] == [b"one\n", b"two\n", b"\n", b"last\n"]
        await made.aclose()
    assert heard == [b"\x00hello\n", b"\xff\x00"]
    query = urllib.parse.parse_qsl(asked[0].path.partition("?")[2])
    assert query == [
        ("container", "agent"), ("stdout", "true"), ("stderr", "true"), ("stdin", "true"), ("command", "python"),
        ("command", "-m"), ("command", "x"),
    ]  # fmt: skip
    assert asked[0].headers["Authorization"] == "Bearer secret"


async def test_a_command_that_ends_says_how():
    async with conversing_with(b"\x01line\nhalf", b"\x02no module\n", b"\x02of that name", failed(3)) as made:
        assert await made.line() == b"line\n"
        with pytest.raises(conversing.EndedError, match="retic-node-x ended: of that name") as found:
            await made.line()
    assert (found.value.code, found.value.said) == (3, "no module\nof that name")


async def test_a_command_that_is_not_started():
    status = {"status": "Failure", "reason": "InternalError", "message": "no such file: python", "code": 500}
    async with conversing_with(b"\x03" + json.dumps(status).encode()) as made:
        with pytest.raises(errors.ApiError, match="no such file: python"):
            await made.line()


async def test_whoever_leaves_ends_the_input_and_waits_for_the_end():
    ended = asyncio.Event()

    async def talk(connection):
        assert await connection.recv() == b"\xff\x00"
        await connection.send(b"\x01what nobody hears\n" * 1000)
        ended.set()
        await connection.send(SUCCESS)
        await connection.wait_closed()

    async with serving(talk) as api:
        await (await api.converse(PLACE, ["python"])).aclose()
    assert ended.is_set()


async def test_a_server_that_cannot_end_the_input_has_the_connection_end():
    heard = []

    async def talk(connection):
        heard.extend([message async for message in connection])
        heard.append("the end")

    async with serving(talk, protocol=V4) as api:
        await (await api.converse(PLACE, ["python"])).aclose()
    assert heard == ["the end"]


async def test_a_command_that_does_not_end_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(conversing, "PATIENCE", 0.1)
    async with asyncio.timeout(5):
        async with conversing_with(b"\x01line\n") as made:
            assert await made.line() == b"line\n"


async def test_a_connection_that_breaks():
    async def talk(connection):
        connection.transport.abort()

    async with serving(talk) as api, contextlib.aclosing(await api.converse(PLACE, ["python"])) as made:
        with pytest.raises(errors.LostError, match="the connection to retic-system/retic-node-x broke"):
            await made.line()
        with pytest.raises(errors.LostError):
            await made.send(b"\n")


async def test_a_line_without_end(monkeypatch):
    monkeypatch.setattr(conversing, "LONGEST_LINE", 10)
    async with conversing_with(b"\x01012345", b"\x016789ab") as made:
        with pytest.raises(errors.LostError, match="a line of more than 10 bytes"):
            await made.line()


async def test_no_right():
    body = json.dumps({"message": 'User "u" cannot create resource "pods/exec"', "reason": "Forbidden", "code": 403})
    refuse = Response(403, "Forbidden", Headers({"Content-Length": str(len(body))}), body.encode())

    async def talk(connection):
        raise AssertionError("nobody is let in")

    async with serving(talk, refuse=refuse) as api:
        with pytest.raises(errors.ApiError, match='cannot create resource "pods/exec"') as found:
            await api.converse(PLACE, ["python"])
    assert found.value.status == 403
