"""An agent's metrics port: a real agent with a real Envoy, and a control plane that says whose token counts."""

import asyncio
import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus

import msgspec
import pytest
from node_rig import running

from retic.identity import certificate, client, spiffe
from retic.node import admin, readers
from retic.telemetry import endpoint
from retic.testing import clock, ports, wait

GOOD, OTHER = "good-token", "token-without-right"
KNOWN = {GOOD: HTTPStatus.OK, OTHER: HTTPStatus.FORBIDDEN}


@pytest.fixture
def port():
    return ports.free()


@pytest.fixture
async def node(control, settings, port):
    control.readers |= KNOWN
    async with running(msgspec.structs.replace(settings, metrics_port=port)) as made:
        await wait.until_async(lambda: made._measuring.port == port, "the port is served", 20)
        await wait.until_async(lambda: _says_numbers(made), "Envoy says its numbers", 20)
        yield made


async def _says_numbers(made):
    with contextlib.suppress(admin.AdminError):
        return await admin.get(made.proxies.current.slot.socket("admin"), "/ready")


class Reader:
    """Asks as Prometheus does, and wants a certificate of that name."""

    def __init__(self, control, port, server_name=certificate.METRICS_NAME):
        self._port, self._name = port, server_name
        self._context = ssl.create_default_context(cadata=control.authority.bundle().decode())

    async def get(self, authorization=None, path="/metrics", method="GET"):
        """Status and body. ssl.SSLError for a certificate that is another's."""
        lines = [f"{method} {path} HTTP/1.1", "host: metrics", "connection: close"]
        lines += [f"authorization: {authorization}"] if authorization else []
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname=self._name
        )
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return int(head.split()[1]), body.decode()


async def test_whoever_may_reads_what_envoy_has_counted(node, control, port):
    reader = Reader(control, port)
    status, page = await reader.get(f"Bearer {GOOD}")
    assert status == 200
    assert 'envoy_server_live{node="node-1"} 1' in page
    assert 'retic_series_over{node="node-1"} 0' in page
    assert control.judged == [("node/node-1", GOOD)]
    assert (await reader.get(f"bearer  {GOOD}"))[0] == 200, "schemes are the same in any case (RFC 9110, section 11.1)"
    assert [(await reader.get(f"Bearer {GOOD}", path))[0] for path in ("/", "/proxies/x/metrics")] == [404, 404]
    assert (await reader.get(f"Bearer {GOOD}", method="POST"))[0] == 405
    assert len(control.judged) == 1, "what was said of a token counts for a minute"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), (f"Basic {GOOD}", 401), (GOOD, 401),
        ("Bearer nobody", 401), (f"Bearer {GOOD}x", 401), (f"Bearer {OTHER}", 403),
    ],
)  # fmt: skip
async def test_others_are_told_nothing(node, control, port, authorization, status):
    for path in ("/metrics", "/no-such-page"):
        got, body = await Reader(control, port).get(authorization, path)
        assert got == status
        assert "envoy" not in body
        assert GOOD not in body


async def test_nobody_reads_in_plaintext_or_takes_another_for_it(node, control, port):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {GOOD}"})
    with pytest.raises((urllib.error.URLError, OSError)):
        await asyncio.to_thread(urllib.request.urlopen, request, timeout=5)
    with pytest.raises(ssl.SSLError):
        await Reader(control, port, "another.name").get(f"Bearer {GOOD}")


async def test_who_says_nothing_keeps_nobody_out_and_costs_little(node, control, port, monkeypatch):
    monkeypatch.setattr(endpoint, "STRANGER", 30.0)

    def connect():
        return [socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.3", 0)) for _ in range(100)]

    held = await asyncio.to_thread(connect)
    try:
        assert (await Reader(control, port).get(f"Bearer {GOOD}"))[0] == 200

        def left():
            return sum(_is_open(one) for one in held)

        await wait.until_async(lambda: left() <= endpoint.PER_ADDRESS, "those beyond the bound are closed", 15)
        assert left() == endpoint.PER_ADDRESS
        begun = asyncio.get_running_loop().time()
        await node._measuring.end()
        assert asyncio.get_running_loop().time() - begun < 20, "nobody is waited for who says nothing"
        await wait.until_async(lambda: left() == 0, "the rest is, too", 15)
    finally:
        for one in held:
            one.close()


async def test_strangers_are_waited_for_in_vain_for_some_seconds_only(node, control, port, monkeypatch):
    """In the middle of TLS's beginning, before a request, and at TLS's end."""
    monkeypatch.setattr(endpoint, "STRANGER", 3.0)
    context = ssl.create_default_context(cadata=control.authority.bundle().decode())

    def connect(request):
        raw = socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.3", 0))
        if request is None:
            return raw, None
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        spoken = context.wrap_bio(into, out, server_hostname=certificate.METRICS_NAME)
        while True:
            try:
                spoken.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(out.read())
                received = raw.recv(65536)
                assert received, "closed"
                into.write(received)
        if request:
            spoken.write(request)
        raw.sendall(out.read())
        return raw, spoken

    held = [await asyncio.to_thread(connect, each) for each in (None, b"", b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")]
    served = node._measuring._made
    try:
        await wait.until_async(lambda: not served._tasks, "all are given up", 40)
    finally:
        for raw, _ in held:
            raw.close()
    assert (await Reader(control, port).get(f"Bearer {GOOD}"))[0] == 200


def _is_open(one):
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


async def test_a_port_that_is_taken_is_had_later(control, settings, port):
    control.readers |= KNOWN
    with socket.create_server(("0.0.0.0", port)):
        made = running(msgspec.structs.replace(settings, metrics_port=port))
        agent = await made.__aenter__()
        await wait.until_async(lambda: settings.socket("agent").exists(), "the agent is in charge", 30)
        assert agent._measuring.port == 0
    try:
        await wait.until_async(lambda: agent._measuring.port == port, "the port is served", 20)
        await wait.until_async(lambda: _says_numbers(agent), "Envoy says its numbers", 20)
        assert (await Reader(control, port).get(f"Bearer {GOOD}"))[0] == 200
    finally:
        await made.__aexit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


async def test_no_port_is_opened_unasked(control, settings):
    async with running(settings) as agent:
        await wait.until_async(lambda: settings.socket("agent").exists(), "the agent is in charge", 30)
        assert agent._measuring.port == 0
        assert agent._measuring._task is None


@pytest.fixture
async def judge(control):
    """The agent's part alone, with a clock, and a certificate of the authority that it asks."""
    control.readers |= KNOWN
    key, identity = certificate.new_key(), spiffe.Node("cluster.local", "node-1")
    chain = control.authority.sign(certificate.request(key, identity), identity)

    def connect():
        bundle = control.authority.bundle()
        return client.Channel(f"127.0.0.1:{control.port}", bundle, certificate.key_pem(key), chain)

    time = clock.Fake()
    made = readers.Readers(connect, time.seconds)

    async def say(token, address="10.0.0.1"):
        return int(await made.judge(token, address))

    return say, time, made


async def test_a_right_counts_soon_after_it_is_given_and_ends_soon_after_it_is_taken(control, judge):
    say, time, _ = judge
    assert [await say(GOOD), await say(OTHER)] == [200, 403]
    control.readers |= {GOOD: HTTPStatus.FORBIDDEN, OTHER: HTTPStatus.OK}
    time.advance(9)
    assert [await say(GOOD), await say(OTHER)] == [200, 403], "as it was said"
    time.advance(2)
    assert [await say(GOOD), await say(OTHER)] == [200, 200]
    time.advance(50)
    assert await say(GOOD) == 403


async def test_while_nobody_can_be_asked_only_who_was_let_in_is(control, judge, monkeypatch):
    say, time, _ = judge
    assert [await say(GOOD), await say(OTHER)] == [200, 403]
    await control.stop()
    monkeypatch.setattr(readers, "SECONDS", 0.5)
    time.advance(300)
    assert [await say(GOOD), await say(OTHER), await say("new")] == [200, 503, 503]
    time.advance(301)
    assert await say(GOOD) == 503
    monkeypatch.undo()
    await control.start()
    assert await say(GOOD) == 200


async def test_who_asks_while_a_control_plane_ends_is_answered_by_the_next(control, judge):
    say, _, _ = judge
    await control.stop()
    asked = asyncio.create_task(say(GOOD))
    done, _ = await asyncio.wait([asked], timeout=1)
    assert not done
    await control.start()
    assert await asked == 200


async def test_an_answer_that_hangs_is_not_waited_for_by_who_was_let_in(judge, monkeypatch):
    say, time, made = judge
    assert await say(GOOD) == 200
    monkeypatch.setattr(readers, "GOOD_SECONDS", 0.2)
    monkeypatch.setattr(readers, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        made._connect = lambda: client.Channel(f"127.0.0.1:{silent.getsockname()[1]}", b"")
        time.advance(61)
        assert [await say(GOOD), await say("new")] == [200, 503]


async def test_guesses_cost_the_control_plane_little_and_others_nothing(control, judge):
    say, time, made = judge
    found = [await say(f"guess-{number}", "10.0.0.66") for number in range(40)]
    assert found == [401] * 5 + [503] * 35
    assert len(control.judged) == 5
    assert await say(GOOD, "10.0.0.1") == 200
    assert await say(GOOD, "10.0.0.66") == 200, "an answer that is kept costs nothing"
    time.advance(61)
    assert [await say(f"guess-{number}", "10.0.0.66") for number in range(100, 120)][-1] == 503
    control.readers[GOOD] = HTTPStatus.FORBIDDEN
    assert await say(GOOD, "10.0.0.66") == 403, "who was let in is asked about whatever else comes from there"
    control.readers[GOOD] = HTTPStatus.OK
    time.advance(1)
    assert await say("guess", "10.0.0.66") == 401
    for number in range(300):
        time.advance(1)
        await say(f"many-{number}")
    assert "256 known" in repr(made)
    assert GOOD not in repr(made)
