"""Reports of nodes over real gRPC and TLS: who may, and what is refused."""

import grpc
import msgspec
import pytest

from retic.identity import certificate, client, report, spiffe
from retic.testing import upstream

NODE = spiffe.Node("cluster.local", "node-1")
GATEWAY = spiffe.Gateway("cluster.local", "shop", "web")
CART = spiffe.Workload("cluster.local", "shop", "cart")


@pytest.fixture
async def control(tmp_path):
    made = upstream.Control(tmp_path / "ca")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def channel(control):
    """A channel with the certificate of the identity named."""
    opened = []

    def open_as(identity):
        key = certificate.new_key()
        chain = control.authority.sign(certificate.request(key, identity), identity)
        made = client.Channel(
            f"127.0.0.1:{control.port}", control.authority.bundle(), certificate.key_pem(key), chain
        )
        opened.append(made)
        return made

    yield open_as
    for one in opened:
        await one.close()


async def test_a_node_reports_what_it_has_captured(control, channel):
    said = report.Report(("u1", "u2"), (report.Plaintext("u1", 3),), envoy="1.40.0", retic="0.1.0")
    assert await channel(NODE).report(said) == report.Noted()
    assert control.reports == [("node-1", said)]


@pytest.mark.parametrize("identity", [GATEWAY, CART])
async def test_nobody_else_reports(control, channel, identity):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel(identity).report(report.Report(("u1",)))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert control.reports == []


async def test_without_a_certificate_no_report_gets_in(control):
    made = client.Channel(f"127.0.0.1:{control.enrol_port}", control.authority.bundle())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await made.report(report.Report(("u1",)))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, "the port without client certificates"
    await made.close()


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"[]", b'{"captured": [1]}', b'{"captured": [""]}', b'{"plaintext": [{"uid": "u", "connections": -1}]}',
        b'{"captured": ["' + b"u" * 129 + b'"]}', msgspec.json.encode({"captured": ["u"] * 4097}),
        b'{"envoy": "' + b"v" * 65 + b'"}', b" " * (report.LONGEST + 1),
    ],
    ids=lambda text: text[:24].decode(),
)  # fmt: skip
async def test_what_is_no_report_is_refused(control, channel, bad):
    call = channel(NODE).channel.unary_unary(f"/{report.NAME}/Report", lambda data: data, lambda data: data)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert control.reports == []
