"""Who gets which certificate on a cluster: a real API server's pods and tokens, and every way to get more."""

import asyncio
import datetime
import json
import pathlib
import time

import enrolling
import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from enrolling import Caller, refused

from retic import graph, objects
from retic.identity import attest, certificate, service, spiffe
from retic.kube import agents, review, tokens
from retic.mesh import network, tables
from retic.sources import api
from retic.testing import clock, wait
from retic.wiring import inputs

DENIED, INVALID = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
SHOP = "spiffe://cluster.local/ns/shop/sa/cart"


@pytest.fixture
async def rig(apiserver: pathlib.Path, tmp_path, monkeypatch):
    monkeypatch.setattr(agents, "NEWS_SECONDS", 1.0)
    monkeypatch.setattr(inputs, "_NEWS_SECONDS", 1.0)
    async with await api.connect(apiserver) as cluster:
        made = enrolling.Rig(cluster, tmp_path, apiserver.parent / "keys")
        await made.control.start()
        yield made
        await made.control.stop()


async def test_an_agent_enrols_and_gets_what_its_node_runs(rig):
    agent = await rig.agent("n1")
    await rig.pod("shop", "cart", "n1")
    caller = Caller(rig, "node/n1")
    answer = await caller.enroll(await rig.token(agent))
    leaf = x509.load_pem_x509_certificate(answer.certificate.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert certificate.identity_of(leaf) == caller.identity, "one SPIFFE id, with the node's name"
    pod = f"{agent['metadata']['uid']}.pod.retic.internal"
    assert names.get_values_for_type(x509.DNSName) == [pod, "metrics.retic.internal"]
    signed = await caller.sign(SHOP)
    workload = x509.load_pem_x509_certificate(signed.certificate.encode())
    alternative = workload.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.UniformResourceIdentifier(SHOP)], "a workload's is bound to no pod"
    again = x509.load_pem_x509_certificate((await caller.sign(str(caller.identity))).certificate.encode())
    assert again.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == names
    assert rig.refused == {}


async def test_a_gateway_enrols_and_gets_its_own_account(rig):
    pod = await rig.gateway("shop", "web")
    caller = Caller(rig, "gateway/shop/web")
    await caller.enroll(await rig.token(pod))
    await caller.sign("spiffe://cluster.local/ns/shop/sa/web-retic")
    await rig.pod("shop", "cart", "n1")
    await refused(caller.sign(SHOP), DENIED, "runs no pod")
    assert rig.refused == {"identity": 1}


async def test_two_agents_of_one_node_at_once(rig):
    """An upgrade with surge: the new agent is there before the old one goes."""
    old, new = await rig.agent("n1"), await rig.agent("n1")
    await rig.pod("shop", "cart", "n1")
    callers = Caller(rig, "node/n1"), Caller(rig, "node/n1")
    for caller, pod in zip(callers, (old, new), strict=True):
        await caller.enroll(await rig.token(pod))
    for caller in callers:
        await caller.sign(SHOP)
    await rig.delete(old)
    rig.forget(old)
    await callers[1].sign(SHOP)
    await refused(callers[0].sign(SHOP), DENIED, "is gone")
    await refused(callers[0].sign(str(callers[0].identity)), DENIED, "is gone")
    assert rig.refused == {"pod": 2}


async def test_an_agent_that_restarts_uses_its_token_again(rig):
    token = await rig.token(await rig.agent("n1"))
    for _ in range(3):
        await Caller(rig, "node/n1").enroll(token)
    assert rig.reviews.asked == 1, "and the API server is asked once"
    assert rig.refused == {}


async def test_an_agent_that_is_ahead_of_its_news_waits(rig, monkeypatch):
    monkeypatch.setattr(agents, "NEWS_SECONDS", 20.0)
    agent = await rig.agent("n1", known=False)
    enrolling_now = asyncio.create_task(Caller(rig, "node/n1").enroll(await rig.token(agent)))
    await wait.until_async(lambda: len(rig.tokens._peers) == 1, "the call is there")
    rig.learn(agent)
    await enrolling_now


async def test_the_identity_of_another_node(rig):
    one, _ = await rig.agent("n1"), await rig.agent("n2")
    await refused(Caller(rig, "node/n2").enroll(await rig.token(one)), DENIED, "runs on node n1")
    caller = Caller(rig, "node/n1")
    await caller.enroll(await rig.token(one))
    await refused(caller.sign("spiffe://cluster.local/retic/node/n2"), DENIED, "may not hold")
    await rig.pod("shop", "cart", "n2")
    await refused(caller.sign(SHOP), DENIED, "runs no pod")
    assert rig.refused == {"node": 1, "identity": 2}


async def test_a_pod_that_is_not_meant_for_the_mesh(rig):
    """A stolen node speaks for what its mesh is about, not for every account whose pods it runs."""
    rig.db.commit([graph.Set(tables.SETTINGS, tables.ONE, network.Settings(enrolment="labelled"))])
    caller = Caller(rig, "node/n1")
    await caller.enroll(await rig.token(await rig.agent("n1")))
    await rig.pod("shop", "cart", "n1")
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    rig.db.commit([graph.Set(tables.NAMESPACES, tables.Key("", "shop"), objects.decode(shop))])
    await refused(caller.sign(SHOP), DENIED, "runs no pod")
    shop["metadata"]["labels"] = {"retic.dev/mesh": "enabled"}
    rig.db.commit([graph.Set(tables.NAMESPACES, tables.Key("", "shop"), objects.decode(shop))])
    await caller.sign(SHOP)
    await refused(caller.sign("spiffe://cluster.local/ns/retic-system/sa/retic-node"), DENIED, "runs no pod")


async def test_a_forged_node_name(rig):
    """Neither the client's word nor a changed token makes another node of it."""
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    bound = enrolling.claims(token)["kubernetes.io"]
    assert bound["node"]["name"] == "n1"
    other = {**bound, "node": {"name": "n2"}}
    await refused(
        Caller(rig, "node/n1").enroll(enrolling.altered(token, **{"kubernetes.io": other})), DENIED, "server refuses"
    )
    await refused(
        Caller(rig, "node/n2").enroll(enrolling.altered(token, **{"kubernetes.io": other})), DENIED, "runs on node n1"
    )
    # Signed by the API server's own key, for a pod that the objects have on another node.
    await refused(
        Caller(rig, "node/n1").enroll(rig.forged(token, **{"kubernetes.io": other})), DENIED, "bound to node n2"
    )
    assert rig.refused == {"token": 1, "node": 2}


async def test_the_token_of_a_deleted_pod(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    assert (await rig.reviews.of(token)).pod_uid == agent["metadata"]["uid"]
    await rig.delete(agent)

    async def says_no():
        try:
            await review.Reviews(rig.cluster, time.monotonic).of(token)
        except attest.RefusedError as error:
            return "its pod is gone" in str(error)
        return False

    # API servers keep what they found good for ten seconds: that is why the objects are asked too.
    await wait.until_async(says_no, "the API server itself refuses it", 20, every=0.5)
    rig.reviews._kept.clear()
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "its pod is gone")
    rig.forget(agent)
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "not there (any more)")
    assert rig.refused == {"token": 1, "pod": 1}


async def test_a_kept_review_is_no_use_once_the_pod_is_gone(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    await Caller(rig, "node/n1").enroll(token)
    rig.forget(agent)
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "not there (any more)")


async def test_a_pod_of_the_same_name_is_another_pod(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    rig.learn({**agent, "metadata": {**agent["metadata"], "uid": "11111111-2222-3333-4444-555555555555"}})
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "not there (any more)")


async def test_a_finished_pod(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    rig.learn({**agent, "status": {"phase": "Failed"}})
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "not there (any more)")


async def test_tokens_of_other_accounts_and_audiences(rig):
    agent = await rig.agent("n1")
    workload = await rig.pod("shop", "cart", "n1")
    impostor = await rig.pod("shop", "retic-node", "n1")
    for pod in (workload, impostor):
        await refused(Caller(rig, "node/n1").enroll(await rig.token(pod)), DENIED, "of service account shop/")
    everyday = await rig.token(agent, audience="https://kubernetes.default.svc.cluster.local")
    await refused(Caller(rig, "node/n1").enroll(everyday), DENIED, "not for the audience")
    default = await rig.token(agent, audience=None)
    await refused(Caller(rig, "node/n1").enroll(default), DENIED, "not for the audience")
    unbound = await rig.token_of("retic-system", "retic-node")
    await refused(Caller(rig, "node/n1").enroll(unbound), DENIED, "bound to no pod")
    assert rig.refused == {"account": 2, "audience": 2, "pod": 1}
    assert rig.reviews.asked == 0, "nobody had to be asked"


async def test_claims_that_only_say_so(rig):
    """Another account's token that says it is the agent's: the API server knows."""
    agent = await rig.agent("n1")
    theirs = await rig.token(await rig.pod("shop", "cart", "n1"))
    mine = enrolling.claims(await rig.token(agent))
    await refused(Caller(rig, "node/n1").enroll(enrolling.altered(theirs, **mine)), DENIED, "API server refuses")
    assert rig.refused == {"token": 1}


async def test_a_legacy_token_in_a_secret(rig):
    """Made by hand as the token controller did: without audience, without end, bound to no pod."""
    agent = await rig.agent("n1")
    bound = {
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:retic-system:retic-node",
        "kubernetes.io/serviceaccount/namespace": "retic-system",
        "kubernetes.io/serviceaccount/service-account.name": "retic-node",
        "kubernetes.io/serviceaccount/secret.name": "old",
    }  # fmt: skip
    token = await rig.token(agent)
    gone = dict.fromkeys(enrolling.claims(token))
    legacy = rig.forged(token, **{**gone, **bound})
    await refused(Caller(rig, "node/n1").enroll(legacy), DENIED, "")
    assert sum(rig.refused.values()) == 1
    assert rig.reviews.asked == 0


async def test_a_token_that_has_ended(rig):
    agent = await rig.agent("n1")
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    ended = rig.forged(await rig.token(agent), exp=int(past.timestamp()), iat=int(past.timestamp()) - 600, nbf=0)
    await refused(Caller(rig, "node/n1").enroll(ended), DENIED, "has ended")
    assert rig.reviews.asked == 0
    # With a clock that is behind: the API server's own clock counts.
    rig.control.certificates._may_enroll = tokens.Tokens(
        rig.reviews, rig.db, "cluster.local", time=clock.Fake(past - datetime.timedelta(hours=1))
    )
    await refused(Caller(rig, "node/n1").enroll(ended), DENIED, "API server refuses")
    assert rig.reviews.asked == 1
    assert rig.refused == {"token": 2}


async def test_a_gateway_of_another_namespace(rig):
    web = await rig.gateway("shop", "web")
    token = await rig.token(web)
    await refused(Caller(rig, "gateway/bank/web").enroll(token), DENIED, "of service account shop/web-retic")
    await refused(Caller(rig, "gateway/shop/other").enroll(token), DENIED, "of service account shop/web-retic")
    await refused(Caller(rig, "node/n1").enroll(token), DENIED, "of service account shop/web-retic")
    plain = await rig.pod("shop", "web-retic", "n1")
    await refused(Caller(rig, "gateway/shop/web").enroll(await rig.token(plain)), DENIED, "is none of gateway/shop/web")
    assert rig.refused == {"account": 3, "pod": 1}


def signing_request(key, *names, subject=(), more=()):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(certificate.serialization.Encoding.PEM)


async def test_signing_requests_that_ask_for_more(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    caller = Caller(rig, "node/n1")
    await caller.enroll(token)
    own = x509.UniformResourceIdentifier("spiffe://cluster.local/retic/node/n1")
    other = x509.UniformResourceIdentifier("spiffe://cluster.local/retic/node/n2")
    uid = x509.DNSName("11111111-2222-3333-4444-555555555555.pod.retic.internal")
    host = x509.DNSName("control.retic.internal")
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    wrong = {
        "second id": signing_request(caller.key, own, other),
        "another id": signing_request(caller.key, other),
        "another pod": signing_request(caller.key, own, uid),
        "the control plane's host": signing_request(caller.key, own, host),
        "a subject": signing_request(caller.key, own, subject=[organisation]),
        "an authority": signing_request(caller.key, own, more=[x509.BasicConstraints(ca=True, path_length=None)]),
        "no PEM": b"hello",
        "cut off": certificate.request(caller.key, caller.identity)[:200],
        "oversized": certificate.request(caller.key, caller.identity) + b"#" * 9000,
        "many names": signing_request(caller.key, own, *[x509.DNSName(f"a{i}.example") for i in range(2000)]),
    }
    for request in wrong.values():
        await refused(caller.enroll(token, request), INVALID, "")
        await refused(caller.sign(str(caller.identity), request), INVALID, "")
    assert rig.refused == {"malformed": 2 * len(wrong)}
    assert rig.control.certificates.counts.signed == 1


async def test_messages_beyond_any_size(rig):
    agent = await rig.agent("n1")
    caller = Caller(rig, "node/n1")
    big = b"-----BEGIN CERTIFICATE REQUEST-----\n" + b"A" * 100_000
    await refused(caller.enroll(await rig.token(agent), big), INVALID, "at most 8192 bytes")
    await refused(caller.enroll("a.b." + "c" * 20_000), DENIED, "at most 16384 bytes")
    for token in ("", "a.b.c", "..", "a.e30.c", "ä.ö.ü", "." * 1000, "a." + "W" * 4001 + ".c"):
        await refused(caller.enroll(token), DENIED, "")
    assert rig.refused == {"malformed": 1, "token": 7, "audience": 1}


async def test_a_flood_of_enrolments_does_not_reach_the_api_server(rig, monkeypatch):
    monkeypatch.setattr(enrolling.client, "SECONDS", 60.0)
    still = clock.Fake()
    rig.control.certificates._may_enroll = tokens.Tokens(rig.reviews, rig.db, "cluster.local", monotonic=still.seconds)
    agent = await rig.agent("n1")
    good = await rig.token(agent)
    said = enrolling.claims(good)

    async def attempt(number):
        try:
            await Caller(rig, "node/n1").enroll(enrolling.altered(good, **{**said, "jti": str(number)}))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None

    codes = await asyncio.gather(*(attempt(number) for number in range(120)))
    assert None not in codes
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) >= 100
    assert rig.reviews.asked <= 20
    assert rig.refused["busy"] == codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert len(rig.reviews._kept) <= 20
    still.advance(1)
    await Caller(rig, "node/n1").enroll(good)  # who comes a second later gets in


async def test_an_api_server_that_is_away(rig):
    agent = await rig.agent("n1")
    token = await rig.token(agent)
    review = rig.cluster.review

    async def away(*_):
        raise api.UnreachableError("nobody there")

    rig.cluster.review = away
    rig.reviews._cluster = rig.cluster
    await refused(Caller(rig, "node/n1").enroll(token), grpc.StatusCode.UNAVAILABLE, "could not be asked")
    rig.cluster.review = review
    await Caller(rig, "node/n1").enroll(token)
    assert rig.refused == {"unavailable": 1}


async def test_no_token_and_no_key_in_a_log(rig):
    agent = await rig.agent("n1")
    good = await rig.token(agent)
    bad = [
        enrolling.altered(good, exp=1), rig.forged(good, aud=["x"]), good[:-3] + "abc", good[:-40],
        await rig.token(await rig.pod("shop", "cart", "n1")),
    ]  # fmt: skip
    details = []
    with structlog.testing.capture_logs() as logs:
        await Caller(rig, "node/n1").enroll(good)
        for token in bad:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Caller(rig, "node/n1").enroll(token)
            details.append(caught.value.details())
    assert len(logs) == 1 + len(bad)
    text = json.dumps([logs, details], default=str)
    for token in (good, *bad):
        assert all(part not in text for part in token.split(".") if len(part) > 10)
    assert "BEGIN" not in text
    assert all(entry["kind"] for entry in logs[1:])


async def test_a_certificate_that_is_bound_to_no_pod(rig):
    """As signed before there was a binding, or in local mode."""
    caller = Caller(rig, "node/n1")
    request = certificate.request(caller.key, caller.identity)
    caller.chain = rig.control.authority.sign(request, caller.identity)
    await rig.pod("shop", "cart", "n1")
    await refused(caller.sign(SHOP), DENIED, "bound to no pod")
    assert rig.refused == {"pod": 1}


async def test_a_certificate_whose_pod_is_no_such_agent(rig):
    """A workload's uid in an agent's certificate."""
    pod = await rig.pod("shop", "cart", "n1")
    caller = Caller(rig, "node/n1")
    request = certificate.request(caller.key, caller.identity)
    caller.chain = rig.control.authority.sign(request, caller.identity, pod=pod["metadata"]["uid"])
    await refused(caller.sign(SHOP), DENIED, "runs as shop/cart")


def test_what_a_request_shows():
    assert "secret" not in repr(service.EnrollRequest("node/n1", "secret", "request"))
    assert isinstance(spiffe.parse(SHOP), spiffe.Workload)
