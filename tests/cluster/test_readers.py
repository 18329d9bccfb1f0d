"""Who may read metrics: a real API server's tokens and RBAC."""

import pathlib
from http import HTTPStatus

import pytest
import yaml

from retic.kube import readers
from retic.sources import api
from retic.testing import clock, wait

GROUP = "rbac.authorization.k8s.io"
SPACE = "/api/v1/namespaces/default"


@pytest.fixture
async def rig(apiserver: pathlib.Path):
    async with await api.connect(apiserver) as cluster:
        for name in ("prometheus", "nobody"):
            meta = {"name": f"retic-{name}", "namespace": "default"}
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
            await cluster.apply(f"{SPACE}/serviceaccounts/retic-{name}", body)
        time = clock.Fake()
        yield cluster, readers.Readers(cluster, time.seconds), time


async def token(cluster, account, audience=readers.AUDIENCE):
    spec = {"audiences": [audience] if audience else [], "expirationSeconds": 600}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = await cluster.create(f"{SPACE}/serviceaccounts/retic-{account}/token", body)
    return answer["status"]["token"]


async def grant(cluster, rule):
    """Of prometheus, and only this."""
    meta = {"name": "retic-test-reader"}
    role = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": meta, "rules": [rule]}
    subject = {"kind": "ServiceAccount", "name": "retic-prometheus", "namespace": "default"}
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": meta["name"]}
    binding = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": meta}
    await cluster.apply(f"/apis/{GROUP}/v1/clusterroles/{meta['name']}", role)
    await cluster.apply(
        f"/apis/{GROUP}/v1/clusterrolebindings/{meta['name']}", binding | {"roleRef": ref, "subjects": [subject]}
    )


def altered(token):
    """The token with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


async def says(found, time, token, status):
    """A role counts a moment after it was written: the authorizer follows by a watch."""

    async def now():
        time.advance(readers.KEPT_SECONDS + 1)
        return await found.judge(token, "node/a") is status

    await wait.until_async(now, f"{status!r}", 20, every=0.1)


async def test_rbac_decides(rig):
    cluster, found, time = rig
    await grant(cluster, {"nonResourceURLs": ["/metrics"], "verbs": ["get"]})
    good, other = await token(cluster, "prometheus"), await token(cluster, "nobody")
    await says(found, time, good, HTTPStatus.OK)
    said = [await found.judge(each, "node/a") for each in (other, "no.good.token", "", altered(good))]
    assert said == [HTTPStatus.FORBIDDEN, *[HTTPStatus.UNAUTHORIZED] * 3]
    for rule in (
        {"nonResourceURLs": ["/metrics"], "verbs": ["post"]}, {"nonResourceURLs": ["/healthz"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ):  # fmt: skip
        await grant(cluster, rule)
        await says(found, time, good, HTTPStatus.FORBIDDEN)


async def test_a_token_for_somebody_else_is_nobodys(rig):
    """That of an agent, for the audience retic.dev; and one for the API server, which nobody is to send around."""
    cluster, found, time = rig
    await grant(cluster, {"nonResourceURLs": ["/metrics"], "verbs": ["get"]})
    await says(found, time, await token(cluster, "prometheus"), HTTPStatus.OK)
    for audience in ("retic.dev", ""):
        assert await found.judge(await token(cluster, "prometheus", audience), "a") is HTTPStatus.UNAUTHORIZED
    assert await found.judge("x" * 20_000, "a") is HTTPStatus.UNAUTHORIZED


async def test_nobody_is_let_in_when_the_api_server_cannot_be_asked_or_does_not_answer_us(rig, apiserver, tmp_path):
    cluster, known, time = rig
    await grant(cluster, {"nonResourceURLs": ["/metrics"], "verbs": ["get"]})
    await says(known, time, await token(cluster, "prometheus"), HTTPStatus.OK)
    good, poor = await token(cluster, "prometheus"), await token(cluster, "nobody", "")
    away, without = yaml.safe_load(apiserver.read_text()), yaml.safe_load(apiserver.read_text())
    away["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    without["users"][0]["user"] = {"token": poor}
    for number, config in enumerate((away, without)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(config))
        async with await api.connect(file) as asked:
            found = readers.Readers(asked, time.seconds)
            assert await found.judge(good, "a") is HTTPStatus.SERVICE_UNAVAILABLE


async def test_one_asker_does_not_keep_the_others_from_asking(rig):
    cluster, found, time = rig
    plain = [await found.judge(f"guess-{number}", "node/a") for number in range(30)]
    assert plain == [HTTPStatus.UNAUTHORIZED] * 30, "what is no token for us is not asked about"
    await grant(cluster, {"nonResourceURLs": ["/metrics"], "verbs": ["get"]})
    good = await token(cluster, "prometheus")
    await says(found, time, good, HTTPStatus.OK)
    time.advance(readers.KEPT_SECONDS + 1)
    guesses = [await token(cluster, "nobody") for _ in range(2)]
    guesses = [f"{one}{end}" for one in guesses for end in ("A" * n for n in range(1, 16))]
    said = [await found.judge(guess, "node/a") for guess in guesses]
    assert said == [HTTPStatus.UNAUTHORIZED] * 20 + [HTTPStatus.SERVICE_UNAVAILABLE] * 10
    assert await found.judge(guesses[0], "node/a") is HTTPStatus.UNAUTHORIZED, "an answer that is kept costs nothing"
    assert await found.judge(good, "node/a") is HTTPStatus.OK, "who was let in is asked about whatever others do"
    assert await found.judge(guesses[-1], "node/b") is HTTPStatus.UNAUTHORIZED
    time.advance(1)
    assert await found.judge(guesses[-2], "node/a") is HTTPStatus.UNAUTHORIZED
