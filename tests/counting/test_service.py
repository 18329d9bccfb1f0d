"""The service over real gRPC and mTLS: what it answers, and to whom."""

import grpc
import pytest
import structlog
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2

from retic import ads, findings
from retic.counting import embedded, service, store
from retic.identity import authority, certificate, client, current, server, spiffe
from retic.mesh import limit
from retic.testing import wait

WEB = findings.Ref("RateLimit", "shop", "web")
LIMITS = {
    each.name: each
    for each in (
        limit.Limit(WEB, 0, requests=2, seconds=60, burst=2, scope=limit.Scope.GLOBAL),
        limit.Limit(WEB, 1, requests=1, seconds=3600, burst=1, scope=limit.Scope.GLOBAL, dry_run=True),
        limit.Limit(WEB, 2, requests=5, seconds=1, burst=5),
    )
}
OTHER = "node/other"  # which none of them is for
METHOD = f"/{service.NAME}/{service.METHOD}"
OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


class Gone:
    """A store that is away until it is `there`."""

    there = False

    async def take(self, wants):
        await self.look()
        return [store.Taken(True, 1, 1.0) for _ in wants]

    async def look(self):
        if not self.there:
            raise store.StoreError("it is away")

    async def close(self):
        pass


def question(*descriptors, domain=limit.DOMAIN):
    asked = rls_pb2.RateLimitRequest(domain=domain)
    for entries in descriptors:
        made = [ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
        asked.descriptors.add(entries=made)
    return asked


def of(number, *entries):
    return (("limit", f"shop/web/{number}"), *entries)


@pytest.fixture
async def signer(tmp_path):
    return current.Current(authority.open_own(tmp_path / "ca", "cluster.local"))


async def serving(signer, counting, failing=lambda _: None):
    def known(proxy, name):
        return LIMITS.get(name) if proxy != OTHER else None

    made = service.Service(counting, known, ads.by_certificate("cluster.local"), failing)
    rpc = grpc.aio.server(options=server.SERVER_OPTIONS)
    rpc.add_generic_rpc_handlers((made.handlers(),))
    port = rpc.add_secure_port("127.0.0.1:0", server.credentials(signer, require_client=True))
    await rpc.start()
    return made, rpc, port


async def ask(signer, port, asked, who=None):
    key = certificate.new_key()
    chain = signer.signer.issue(key.public_key(), who or spiffe.Node("cluster.local", "node-1"))
    channel = client.Channel(f"127.0.0.1:{port}", signer.bundle(), certificate.key_pem(key), chain)
    try:
        data = asked if isinstance(asked, bytes) else asked.SerializeToString()
        call = channel.channel.unary_unary(METHOD, lambda same: same, rls_pb2.RateLimitResponse.FromString)
        return await call(data, timeout=5)
    finally:
        await channel.close()


async def refused(awaitable, code):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    assert caught.value.code() is code
    return caught.value.details()


async def test_proxies_are_answered_and_nobody_else(signer):
    _, rpc, port = await serving(signer, embedded.Embedded())
    full = question(of(0))
    for who in (spiffe.Node("cluster.local", "node-1"), spiffe.Gateway("cluster.local", "shop", "door")):
        assert (await ask(signer, port, full, who)).overall_code == OK
    # A pod with its own certificate uses up nothing.
    pod = spiffe.Workload("cluster.local", "shop", "web")
    assert "is not a discovery client" in await refused(
        ask(signer, port, question(of(0, ("identity", "x"))), pod), grpc.StatusCode.PERMISSION_DENIED
    )
    # Nor does an agent to whose pods nobody sends what the limit counts.
    asked, other = question(of(0, ("identity", "x"))), spiffe.Node("cluster.local", "other")
    assert [(await ask(signer, port, asked, other)).overall_code for _ in range(5)] == [OK] * 5
    codes = [(await ask(signer, port, asked)).overall_code for _ in range(3)]
    assert codes == [OK, OK, OVER]
    channel = client.Channel(f"127.0.0.1:{port}", signer.bundle())
    call = channel.channel.unary_unary(METHOD, lambda same: same, lambda same: same)
    await refused(call(full.SerializeToString(), timeout=3), grpc.StatusCode.UNAVAILABLE)
    await channel.close()
    await rpc.stop(0)


async def test_what_it_says(signer):
    made, rpc, port = await serving(signer, embedded.Embedded())
    answer = await ask(signer, port, question(of(0)))
    (status,) = answer.statuses
    assert (status.current_limit.requests_per_unit, status.limit_remaining) == (2, 1)
    assert status.current_limit.unit == rls_pb2.RateLimitResponse.RateLimit.MINUTE
    assert 0 < status.duration_until_reset.seconds <= 60
    await ask(signer, port, question(of(0)))
    answer = await ask(signer, port, question(of(0)))
    assert answer.overall_code == OVER
    (wait_for,) = answer.response_headers_to_add
    assert wait_for.key == "retry-after"
    assert 0 < int(wait_for.value) <= 60
    assert (made.counts.asked, made.counts.refused) == (3, 1)
    await rpc.stop(0)


async def test_conditions_are_no_part_of_a_window_and_a_request_counts_once(signer):
    _, rpc, port = await serving(signer, embedded.Embedded())
    twice = question(of(0, ("match", "match")), of(0, ("match", "match"), ("match", "match")))
    answers = [await ask(signer, port, twice) for _ in range(3)]
    assert [each.overall_code for each in answers] == [OK, OK, OVER]
    assert len(answers[0].statuses) == 2
    await rpc.stop(0)


async def test_a_dry_run_is_counted_and_a_limit_that_is_gone_is_not(signer):
    with structlog.testing.capture_logs() as logs:
        await _dry(signer)
    (told,) = [each for each in logs if "dry run" in each["event"]]
    assert (told["limit"], told["times"]) == ("shop/web/1", 1)


async def _dry(signer):
    made, rpc, port = await serving(signer, embedded.Embedded())
    for asked in (of(1), of(2), of(7), (("limit", "no name"),), (("other", "x"),), ()):
        assert [(await ask(signer, port, question(asked))).overall_code for _ in range(7)] == [OK] * 7
    assert (made.counts.dry, made.counts.refused) == (6, 0)
    await rpc.stop(0)


async def test_nonsense_is_refused(signer):
    _, rpc, port = await serving(signer, embedded.Embedded())
    await refused(ask(signer, port, b"\xff\xff"), grpc.StatusCode.INVALID_ARGUMENT)
    await refused(ask(signer, port, question(of(0), domain="other")), grpc.StatusCode.INVALID_ARGUMENT)
    await refused(ask(signer, port, question(*[of(0)] * 1025)), grpc.StatusCode.INVALID_ARGUMENT)
    await rpc.stop(0)


async def test_a_store_that_is_away_is_told_of_once_and_looked_for(signer, monkeypatch):
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.05)
    gone, told = Gone(), []
    made, rpc, port = await serving(signer, gone, told.append)
    for _ in range(3):
        await refused(ask(signer, port, question(of(0))), grpc.StatusCode.UNAVAILABLE)
    assert (told, made.counts.failed) == (["it is away"], 3)
    gone.there = True
    await wait.until_async(lambda: told == ["it is away", ""], "nobody asks, and it is found all the same")
    await made.close()
    await rpc.stop(0)
