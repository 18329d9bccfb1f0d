"""The authority over real gRPC and TLS: who gets what, and every way to get more than one may."""

import datetime

import grpc
import pytest
import structlog
from cryptography import x509

from retic.identity import (
    attest,
    authority,
    certificate,
    client,
    current,
    holdings,
    peer,
    server,
    service,
    spiffe,
)
from retic.testing import clock, upstream, wait

NODE = spiffe.Node("cluster.local", "node-1")
CART = spiffe.Workload("cluster.local", "shop", "cart")
TOKEN = attest.local_token(upstream.TOKEN_KEY, "node/node-1")


@pytest.fixture
async def control(tmp_path):
    made = upstream.Control(tmp_path / "ca")
    made.holds.table["node/node-1"] = {str(CART)}
    await made.start()
    yield made
    await made.stop()


class Caller:
    """One key and, once there, its certificate."""

    def __init__(self, control, identity):
        self.control, self.identity, self.key = control, identity, certificate.new_key()
        self.chain = None

    async def enroll(self, token, client_id=None, request=None):
        channel = client.Channel(f"127.0.0.1:{self.control.enrol_port}", self.control.authority.bundle())
        try:
            request = request or certificate.request(self.key, self.identity)
            answer = await channel.enroll(client_id or self.identity.client_id, token, request)
        finally:
            await channel.close()
        self.chain = answer.certificate.encode()
        return answer

    async def sign(self, identity, request=None):
        channel = client.Channel(
            f"127.0.0.1:{self.control.port}", self.control.authority.bundle(),
            certificate.key_pem(self.key), self.chain,
        )  # fmt: skip
        try:
            key = certificate.new_key()
            asked = request or certificate.request(key, spiffe.parse(identity))
            return await channel.sign(identity, asked)
        finally:
            await channel.close()


async def refused(awaitable, code, text):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    assert caught.value.code() is code, caught.value.details()
    assert text in caught.value.details()


async def test_a_node_enrols_and_gets_its_pods_identity(control):
    caller = Caller(control, NODE)
    await caller.enroll(TOKEN)
    answer = await caller.sign(str(CART))
    leaf = x509.load_pem_x509_certificate(answer.certificate.encode())
    assert certificate.identity_of(leaf) == CART
    assert answer.bundle.encode() == control.authority.bundle()


async def test_a_node_renews_its_own_certificate(control):
    caller = Caller(control, NODE)
    await caller.enroll(TOKEN)
    await caller.sign(str(NODE))


async def test_wrong_token(control):
    caller = Caller(control, NODE)
    for token in ("", "0" * 64, TOKEN[:-1], TOKEN.upper(), "ä"):
        await refused(caller.enroll(token), grpc.StatusCode.PERMISSION_DENIED, "not that of node/node-1")


async def test_the_token_of_another_node(control):
    other = attest.local_token(upstream.TOKEN_KEY, "node/node-2")
    await refused(Caller(control, NODE).enroll(other), grpc.StatusCode.PERMISSION_DENIED, "not that of")


async def test_enrolling_with_a_request_for_somebody_else(control):
    caller = Caller(control, NODE)
    for identity in (CART, spiffe.Control("cluster.local"), spiffe.Node("cluster.local", "node-2")):
        request = certificate.request(caller.key, identity)
        await refused(caller.enroll(TOKEN, request=request), grpc.StatusCode.INVALID_ARGUMENT, "must name")


async def test_client_ids_that_are_none(control):
    caller = Caller(control, NODE)
    for client_id in ("control", "node/../control", "ns/shop/sa/cart", "node/.."):
        await refused(caller.enroll(TOKEN, client_id), grpc.StatusCode.INVALID_ARGUMENT, "write")


async def test_an_identity_that_the_node_does_not_hold(control):
    caller = Caller(control, NODE)
    await caller.enroll(TOKEN)
    for identity in (
        "spiffe://cluster.local/ns/shop/sa/admin",
        "spiffe://cluster.local/retic/control",
        "spiffe://cluster.local/retic/node/node-2",
        "spiffe://cluster.local/retic/gateway/shop/web",
        "spiffe://other.example/ns/shop/sa/cart",
    ):
        await refused(caller.sign(identity), grpc.StatusCode.PERMISSION_DENIED, "")


async def test_a_request_that_names_more_than_was_asked_for(control):
    caller = Caller(control, NODE)
    await caller.enroll(TOKEN)
    request = certificate.request(certificate.new_key(), spiffe.Workload("cluster.local", "shop", "admin"))
    await refused(caller.sign(str(CART), request), grpc.StatusCode.INVALID_ARGUMENT, "must name")


async def test_a_workload_cannot_sign(control):
    """Whoever has stolen a pod's key has that pod's identity and no other."""
    node = Caller(control, NODE)
    await node.enroll(TOKEN)
    pod = Caller(control, CART)
    answer = await node.sign(str(CART), certificate.request(pod.key, CART))
    pod.chain = answer.certificate.encode()
    await refused(pod.sign(str(CART)), grpc.StatusCode.PERMISSION_DENIED, "neither a node nor a gateway")


async def test_without_a_certificate_nothing_is_signed(control):
    caller = Caller(control, NODE)
    channel = client.Channel(f"127.0.0.1:{control.port}", control.authority.bundle())
    try:
        await refused(
            channel.sign(str(CART), certificate.request(caller.key, CART)), grpc.StatusCode.UNAVAILABLE, ""
        )
    finally:
        await channel.close()


async def test_enrol_is_not_offered_where_sign_is_nor_the_other_way(control):
    channel = client.Channel(f"127.0.0.1:{control.enrol_port}", control.authority.bundle())
    try:
        await refused(
            channel.sign(str(CART), certificate.request(certificate.new_key(), CART)),
            grpc.StatusCode.UNIMPLEMENTED, "",
        )  # fmt: skip
        assert (await channel.bundle()).bundle.encode() == control.authority.bundle()
    finally:
        await channel.close()


async def test_an_expired_certificate(control, tmp_path):
    past = clock.Fake(datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2))
    old = authority.open_own(tmp_path / "ca", "cluster.local", time=past)
    caller = Caller(control, NODE)
    caller.chain = old.sign(certificate.request(caller.key, NODE), NODE)
    await refused(caller.sign(str(CART)), grpc.StatusCode.UNAVAILABLE, "")


async def test_a_certificate_from_elsewhere(control, tmp_path):
    elsewhere = authority.open_own(tmp_path / "elsewhere", "cluster.local")
    caller = Caller(control, NODE)
    caller.chain = elsewhere.sign(certificate.request(caller.key, NODE), NODE)
    await refused(caller.sign(str(CART)), grpc.StatusCode.UNAVAILABLE, "")


async def test_a_control_plane_from_elsewhere_gets_no_token(control, tmp_path):
    elsewhere = authority.open_own(tmp_path / "elsewhere", "cluster.local")
    channel = client.Channel(f"127.0.0.1:{control.enrol_port}", elsewhere.bundle())
    try:
        request = certificate.request(certificate.new_key(), NODE)
        await refused(channel.enroll("node/node-1", TOKEN, request), grpc.StatusCode.UNAVAILABLE, "")
    finally:
        await channel.close()


async def test_a_node_cannot_play_the_control_plane(control):
    """A node's certificate is good for TLS servers too, but it has not the control plane's host name."""
    node = Caller(control, NODE)
    await node.enroll(TOKEN)
    fake = grpc.aio.server()
    key = certificate.key_pem(node.key)
    port = fake.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, node.chain)]))
    await fake.start()
    channel = client.Channel(f"127.0.0.1:{port}", control.authority.bundle())
    try:
        await refused(channel.bundle(), grpc.StatusCode.UNAVAILABLE, "")
    finally:
        await channel.close()
        await fake.stop(0)


async def test_payloads_that_are_no_json(control):
    channel = client.Channel(f"127.0.0.1:{control.enrol_port}", control.authority.bundle())
    call = channel.channel.unary_unary(f"/{service.NAME}/Enroll")
    try:
        await refused(call(b"{", timeout=5), grpc.StatusCode.INVALID_ARGUMENT, "")
        await refused(call(b"{}", timeout=5), grpc.StatusCode.INVALID_ARGUMENT, "client_id")
    finally:
        await channel.close()


async def test_the_servers_certificate_is_renewed_while_it_serves(tmp_path):
    """Whoever connects after half-life sees another certificate; nothing is restarted."""
    time = clock.Fake(datetime.datetime.now(datetime.UTC))
    signer = authority.open_own(tmp_path, "cluster.local", lifetime=datetime.timedelta(days=4), time=time)
    own = server._Certificate(current.Current(signer))
    own.initial()
    assert own.fetch() is None
    time.advance(2 * 86400)
    assert own.fetch() is not None
    assert own.fetch() is None


@pytest.mark.parametrize(
    "names",
    [
        (),
        (b"spiffe://cluster.local/retic/node/a", b"spiffe://cluster.local/retic/node/b"),
        (b"spiffe://other/retic/node/a",),
        (b"spiffe://cluster.local/ns/a/sa/b",),
        (b"spiffe://cluster.local/retic/control",),
        (b"node/a",),
    ],
)
def test_peers_that_are_no_client(names):
    with pytest.raises(peer.UnknownPeerError):
        peer.client({"x509_subject_alternative_name": names}, "cluster.local")


async def test_no_token_in_a_log(control):
    with structlog.testing.capture_logs() as logs:
        caller = Caller(control, NODE)
        await caller.enroll(TOKEN)
        await refused(caller.enroll("b" * 64), grpc.StatusCode.PERMISSION_DENIED, "")
    assert len(logs) == 2
    assert TOKEN not in str(logs)
    assert "b" * 64 not in str(logs)
    assert TOKEN not in repr(service.EnrollRequest("node/node-1", TOKEN, ""))


async def test_refusals_are_counted_by_reason(control):
    caller = Caller(control, NODE)
    counts = control.certificates.counts
    assert set(counts.refused.values()) == {0}
    await caller.enroll(TOKEN)
    await refused(caller.enroll("x"), grpc.StatusCode.PERMISSION_DENIED, "")
    await refused(caller.enroll(TOKEN, request=b"x"), grpc.StatusCode.INVALID_ARGUMENT, "")
    await refused(caller.enroll(TOKEN, "node/"), grpc.StatusCode.INVALID_ARGUMENT, "")
    await refused(caller.sign("spiffe://cluster.local/ns/a/sa/b"), grpc.StatusCode.PERMISSION_DENIED, "")
    caller.key, caller.chain = workload(control)
    await refused(caller.sign(str(CART)), grpc.StatusCode.PERMISSION_DENIED, "neither")
    assert counts.signed == 1
    assert {k.value: v for k, v in counts.refused.items() if v} == {
        "token": 1, "malformed": 2, "identity": 1, "peer": 1,
    }  # fmt: skip


def workload(control):
    key = certificate.new_key()
    return key, control.authority.sign(certificate.request(key, CART), CART)


async def test_roots_are_followed_by_clients_only(control):
    key, chain = workload(control)
    channel = client.Channel(
        f"127.0.0.1:{control.port}", control.authority.bundle(), certificate.key_pem(key), chain
    )  # fmt: skip
    try:
        await refused(channel.roots().read(), grpc.StatusCode.PERMISSION_DENIED, "neither a node nor a gateway")
    finally:
        await channel.close()
    assert control.certificates.holdings.held() == {}


async def test_a_client_says_what_it_goes_by(control):
    caller = Caller(control, NODE)
    await caller.enroll(TOKEN)
    channel = client.Channel(
        f"127.0.0.1:{control.port}", control.authority.bundle(), certificate.key_pem(caller.key), caller.chain
    )  # fmt: skip
    heard = control.certificates.holdings
    bundle = control.authority.bundle()
    try:
        call = channel.roots()
        assert service.msgspec.json.decode(await call.read(), type=service.Bundle).bundle.encode() == bundle
        assert heard.without(bundle) == {"node/node-1"}
        for said in (b"{}", b"[", b'{"held":"x"}', b'{"held":5}'):
            await call.write(said)
        await call.write(service.msgspec.json.encode(service.Holds(holdings.digest(bundle))))
        await wait.until_async(lambda: not heard.without(bundle), "its word")
        assert heard.without(b"another") == {"node/node-1"}
        await call.write(service.msgspec.json.encode(service.Holds("")))
        await wait.until_async(lambda: heard.without(bundle), "its word taken back")
    finally:
        await channel.close()
    await wait.until_async(lambda: heard.held() == {}, "it has gone")


def test_a_peer_that_is_bound_to_a_pod():
    names = [b"spiffe://cluster.local/retic/node/a", b"u1.pod.retic.internal"]
    auth = {"x509_subject_alternative_name": names}
    assert peer.bearer(auth, "cluster.local") == attest.Bearer("node/a", "u1")
    assert peer.bearer({"x509_subject_alternative_name": names[:1]}, "cluster.local") == attest.Bearer("node/a")
    with pytest.raises(peer.UnknownPeerError, match="more than one pod"):
        peer.bearer({"x509_subject_alternative_name": [*names, b"u2.pod.retic.internal"]}, "cluster.local")


def test_an_authority_that_may_be_out_of_date_signs_for_no_workload(tmp_path):
    time = clock.Fake()
    made = current.Current(authority.open_own(tmp_path, "cluster.local", time=time))
    made.replace(made.signer, serial=1, until=time.now() + datetime.timedelta(seconds=30))

    def sign(identity):
        return made.sign(certificate.request(certificate.new_key(), identity), identity)

    sign(CART)
    time.advance(31)
    with pytest.raises(authority.StaleError, match="a root is being replaced"):
        sign(CART)
    sign(NODE)
    made.replace(made.signer, serial=1)
    sign(CART)
    with pytest.raises(ValueError, match=r"never other\.example"):
        made.replace(authority.open_own(tmp_path / "other", "other.example"), serial=2)


@pytest.mark.parametrize("uid", ["", "a.b", "A", "-a", "a" * 64, "ä", "a\n"])
def test_what_can_be_no_uid_is_in_no_certificate(tmp_path, uid):
    signer = authority.open_own(tmp_path, "cluster.local")
    request = certificate.request(certificate.new_key(), NODE)
    if uid:
        with pytest.raises(spiffe.InvalidIdError):
            signer.sign(request, NODE, pod=uid)
    with pytest.raises(spiffe.InvalidIdError):
        certificate.pod_name(uid)
