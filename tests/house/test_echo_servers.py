"""The echo servers, each started as the process that tests and benchmarks start."""

import asyncio
import json
import socket
import urllib.error
import urllib.request

import grpc.aio
import httpx
import pytest
import websockets

from retic.testing.apps import echo_grpc
from retic.testing.load import http2


def get(url: str, **arguments) -> dict:
    with urllib.request.urlopen(urllib.request.Request(url, **arguments), timeout=10) as answer:
        return json.load(answer)


def test_http_tells_what_it_saw(start):
    port = start("echo_http")
    seen = get(f"http://127.0.0.1:{port}/a/b?c=d", headers={"X-Test": "yes"})
    assert (seen["name"], seen["version"], seen["protocol"]) == ("one", "v1", "HTTP/1.1")
    assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/a/b", "c=d")
    assert seen["headers"]["x-test"] == "yes"
    assert seen["peer"].startswith("127.0.0.1:")


def test_http_keeps_a_connection(start):
    port = start("echo_http")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [client.get("/").json() for _ in range(3)]
    assert [answer["request_of_connection"] for answer in answers] == [1, 2, 3]
    assert len({answer["peer"] for answer in answers}) == 1


def test_http_does_what_the_path_says(start):
    port = start("echo_http")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/status/503").status_code == 503
        assert client.get("/status/204").content == b""
        assert len(client.get("/bytes/100000").content) == 100000
        assert client.get("/stream/3").text == "0\n1\n2\n"
        assert client.head("/bytes/10").content == b""
        delayed = client.get("/delay/50")
        assert delayed.elapsed.total_seconds() >= 0.05
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/close")


def test_http_counts_chunks(start):
    port = start("echo_http")
    seen = httpx.post(f"http://127.0.0.1:{port}/", content=iter([b"a" * 10, b"b" * 20])).json()
    assert (seen["body_bytes"], seen["chunks"]) == (30, 2)
    seen = httpx.post(f"http://127.0.0.1:{port}/", content=b"a" * 200000).json()
    assert (seen["body_bytes"], seen["chunks"]) == (200000, 0)


def test_http_refuses_what_is_not_http(start):
    port = start("echo_http")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


async def test_http_speaks_websocket(start):
    port = start("echo_http")
    async with websockets.connect(f"ws://127.0.0.1:{port}/chat") as client:
        assert json.loads(await client.recv())["path"] == "/chat"
        for message in ("short", "m" * 1000, b"b" * 70000):
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())


async def test_grpc_in_all_four_ways(start):
    port = start("echo_grpc")
    method = f"/{echo_grpc.SERVICE}/"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        one = json.loads(await channel.unary_unary(method + "Unary")(b'{"message": "hi"}'))
        assert (one["name"], one["message"], one["peer"][:10]) == ("one", "hi", "127.0.0.1:")
        stream = channel.unary_stream(method + "Stream")(b'{"count": 3}')
        assert [json.loads(answer)["number"] async for answer in stream] == [1, 2, 3]
        chat = channel.stream_stream(method + "Chat")(iter([b'{"message": "a"}', b'{"message": "b"}']))
        assert [json.loads(answer)["message"] async for answer in chat] == ["a", "b"]
        total = await channel.stream_unary(method + "Sum")(iter([b"{}", b"{}"]))
        assert json.loads(total)["number"] == 2
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(method + "Unary")(b'{"code": "UNAVAILABLE", "message": "no"}')
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.UNAVAILABLE, "no")
        health = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        assert health == b"\x08\x01"


def test_tcp_waits_for_its_client_and_server_first_does_not(start):
    with socket.create_connection(("127.0.0.1", start("echo_tcp")), timeout=10) as client:
        client.sendall(b"hello\nworld\n")
        client.shutdown(socket.SHUT_WR)
        lines = client.makefile("rb").read().splitlines()
        peer = "{}:{}".format(*client.getsockname()).encode()
        assert lines == [b"one v1 " + peer + b" hello", b"one v1 " + peer + b" world"]
    with socket.create_connection(("127.0.0.1", start("server_first")), timeout=10) as client:
        assert client.makefile("rb").readline().endswith(b" ready\n")


def test_fast_http_answers_pipelined_and_split_requests(start):
    port = start("fast_http1", "--size", "5")
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nxxxxx"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        stream = client.makefile("rb")
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" * 2 + b"GET / HT")
        assert stream.read(2 * len(answer)) == answer * 2
        client.sendall(b"TP/1.1\r\n\r")
        client.sendall(b"\n")
        assert stream.read(len(answer)) == answer


async def test_h2_with_many_streams_and_small_windows(start):
    port = start("echo_h2")
    connection = await http2.connect("127.0.0.1", port)
    try:
        answers = await asyncio.gather(*(connection.request("GET", f"/n/{n}") for n in range(20)))
        assert {json.loads(answer.body)["path"] for answer in answers} == {f"/n/{n}" for n in range(20)}
        assert {json.loads(answer.body)["protocol"] for answer in answers} == {"HTTP/2"}
        big = await connection.request("GET", "/bytes/500000")
        assert len(big.body) == 500000
        assert (await connection.request("GET", "/status/404")).status == 404
    finally:
        connection.close()
