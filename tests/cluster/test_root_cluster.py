"""The cluster's root: made once, the user's own, changed while it serves; two controllers, a real API server."""

import asyncio
import base64
import contextlib
import datetime
import json
import uuid

import enrolling
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from retic.identity import authority, certificate, pairs, rotation, spiffe
from retic.kube import authority as cluster_authority
from retic.kube import confirmations, ordering, rootfiles, watching
from retic.node import roots, trust
from retic.sources import api
from retic.testing import clock, wait

PEM = serialization.Encoding.PEM
CART = spiffe.Workload("cluster.local", "shop", "cart")
NODE = spiffe.Node("cluster.local", "n1")


@pytest.fixture
async def cluster(apiserver):
    async with await api.connect(apiserver) as made:
        yield made


@pytest.fixture
async def namespace(cluster):
    name = f"ca-{uuid.uuid4().hex[:8]}"
    await cluster.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


class Place:
    """One namespace's objects, and controllers over them."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace
        self.base = f"/api/v1/namespaces/{namespace}"
        self.absent = frozenset()

    def controller(self, **more):
        files = rootfiles.Files(self.cluster, self.namespace)
        return cluster_authority.Authority(files, "cluster.local", namespace=self.namespace, **more)

    async def missing(self, _bundle):
        return self.absent

    async def secret(self):
        return await self.cluster.get(f"{self.base}/secrets/retic-ca")

    async def bundle(self):
        return (await self.cluster.get(f"{self.base}/configmaps/retic-root"))["data"]["root.pem"].encode()

    async def give(self, pair):
        """Put a user's content into the Secret."""
        body = {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "retic-ca"}, "data": pairs.write(pair),
        }  # fmt: skip
        try:
            await self.cluster.create(f"{self.base}/secrets", body)
        except api.ApiError:
            await self.cluster.replace(f"{self.base}/secrets/retic-ca", body)

    async def patch(self, **data):
        encoded = {name.replace("_", "."): base64.b64encode(value).decode() for name, value in data.items()}
        await self.cluster.patch(f"{self.base}/secrets/retic-ca", {"data": encoded})


@pytest.fixture
def place(cluster, namespace):
    return Place(cluster, namespace)


def ca(name, key, issuer=None, issuer_key=None, *, path_length=None, days=30, is_ca=True):
    """A certificate authority's certificate, self-signed when there is no issuer."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None), critical=True)
        .sign(issuer_key or key, hashes.SHA256())
    )  # fmt: skip


def pem(*certificates):
    return b"".join(one.public_bytes(PEM) for one in certificates)


def given(name="company", key=None):
    """A root and an intermediate of a user's own: the pair, and the root with its key."""
    root_key, own_key = certificate.new_key(), key or certificate.new_key()
    root = ca(f"{name} root", root_key)
    middle = ca(name, own_key, root, root_key, path_length=0)
    return pairs.Pair(pem(middle), certificate.key_pem(own_key), pem(root)), root, root_key


def leaf_of(signer):
    chain = signer.sign(certificate.request(certificate.new_key(), CART), CART)
    return x509.load_pem_x509_certificates(chain)


def issued_by(leaf, bundle):
    for root in x509.load_pem_x509_certificates(bundle):
        with contextlib.suppress(Exception):
            leaf.verify_directly_issued_by(root)
            return True
    return False


async def test_two_controllers_that_start_at_once_end_with_one_root(place):
    both = [place.controller() for _ in range(2)]
    opened = await asyncio.gather(*(one.open() for one in both))
    assert opened[0].bundle() == opened[1].bundle()
    for one in opened:
        assert issued_by(leaf_of(one)[0], opened[0].bundle())
    assert (await place.secret())["type"] == "kubernetes.io/tls"
    await both[0].step(place.missing)
    await both[1].step(place.missing)
    assert await place.bundle() == opened[0].bundle()
    again = await place.controller().open()
    assert again.bundle() == opened[0].bundle(), "made once"


async def test_no_key_in_a_log_or_repr(place):
    with structlog.testing.capture_logs() as logs:
        made = place.controller()
        await made.open()
        await made.step(place.missing)
        await ordering.rotate(place.cluster, place.namespace)
        for _ in range(4):
            await made.step(place.missing)
        await place.patch(tls_key=b"-----BEGIN PRIVATE KEY-----\nSECRETSECRET\n-----END PRIVATE KEY-----\n")
        await made.look()
    text = json.dumps(logs, default=str) + repr(made) + repr(made._kept) + repr(made._pairs) + repr(made.current)
    data = base64.b64decode((await place.secret())["data"]["tls.crt"]).decode()
    assert "SECRETSECRET" not in text
    assert "SECRETSECRET" not in made.faults[0].message
    assert "PRIVATE" not in text
    assert data.splitlines()[1] not in text


async def test_an_intermediate_of_the_users_own(place):
    pair, root, _ = given()
    await place.give(pair)
    made = place.controller()
    signer = await made.open()
    chain = leaf_of(signer)
    assert [one.subject for one in chain[1:]] == [x509.load_pem_x509_certificate(pair.chain).subject]
    assert signer.bundle() == pem(root)
    await made.step(place.missing)
    assert await place.bundle() == pem(root)
    with pytest.raises(ordering.CannotRotateError, match="is your own: change it there"):
        await ordering.rotate(place.cluster, place.namespace)


async def test_an_rsa_key_as_cert_manager_makes_by_default(place):
    key = rsa.generate_private_key(65537, 2048)
    own = key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    root = ca("self-signed", key)
    await place.give(pairs.Pair(pem(root), own, pem(root)))
    signer = await place.controller().open()
    assert issued_by(leaf_of(signer)[0], signer.bundle())


async def test_a_renewed_intermediate_is_used_without_a_restart(place):
    pair, root, root_key = given()
    await place.give(pair)
    made = place.controller()
    signer = await made.open()
    await made.step(place.missing)
    key = certificate.new_key()
    middle = ca("renewed", key, root, root_key, path_length=0)
    await place.give(pairs.Pair(pem(middle), certificate.key_pem(key), pem(root)))
    async with running(place, made):
        await wait.until_async(lambda: leaf_of(signer)[1] == middle, "the renewed one signs")
    assert signer.bundle() == pem(root)


@contextlib.asynccontextmanager
async def running(place, *controllers, missing=None):
    """Controllers that follow both objects; all of them lead."""
    tasks = []
    for one in controllers:
        changes = asyncio.Event()
        tasks.append(one.run(changes))
        tasks.append(one.lead(missing or place.missing))
        for plural, name in (("secrets", "retic-ca"), ("configmaps", "retic-root")):
            tasks.append(watching.follow(place.cluster, f"{place.base}/{plural}", name, changes.set))
    started = [asyncio.create_task(each) for each in tasks]
    try:
        yield
        for task in started:
            assert not task.done(), task.exception()
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def test_content_that_cannot_sign_is_a_fault_and_the_last_good_one_stays(place):
    pair, root, root_key = given()
    await place.give(pair)
    made = place.controller()
    signer = await made.open()
    key, other = certificate.new_key(), given("other")[0]
    wrong = {
        "tls.key does not belong": {"tls_key": certificate.key_pem(key)},
        "tls.key: the authority's key cannot be read": {"tls_key": b"hello"},
        "tls.crt holds no certificates": {"tls_crt": b"hello"},
        "tls.key is missing": {"tls_key": b""},
        "does not hold the root": {"ca_crt": other.roots},
        "ca.crt is missing": {"ca_crt": b""},
        "no certificate authority's": {"tls_crt": pem(ca("leaf", key, root, root_key, is_ca=False)),
                                       "tls_key": certificate.key_pem(key)},
        "not now: renew it": {"tls_crt": pem(ca("old", key, root, root_key, days=-0.5)),
                              "tls_key": certificate.key_pem(key)},
        "allows 0 authorities below it": {"tls_crt": pem(ca("deep", key, short := ca("s", key, path_length=0), key)),
                                          "tls_key": certificate.key_pem(key), "ca_crt": pem(short)},
    }  # fmt: skip
    for message, data in wrong.items():
        await place.give(pair)
        await place.patch(**data)
        await made.look()
        assert message in made.faults[0].message, made.faults
        assert made.faults[0].code == "RT0603"
        assert str(made.faults[0].object) == f"Secret {place.namespace}/retic-ca"
        assert leaf_of(signer)[1] == x509.load_pem_x509_certificate(pair.chain)
        assert await made.step(place.missing) in {True, False}
    await place.give(pair)
    await made.look()
    assert made.faults == ()


async def test_a_controller_waits_for_a_secret_that_is_good(place):
    made = place.controller(make=False)
    opening = asyncio.create_task(made.open())
    await wait.until_async(lambda: made.faults, "it has looked")
    assert not opening.done()
    pair, _, _ = given()
    await place.give(pair)
    assert (await opening).bundle() == pair.roots


async def test_a_secret_that_is_deleted_is_written_again(place):
    made = place.controller()
    signer = await made.open()
    await made.step(place.missing)
    before = await place.secret()
    await place.cluster.delete(f"{place.base}/secrets/retic-ca")
    await place.cluster.delete(f"{place.base}/configmaps/retic-root")
    await made.look()
    leaf_of(signer)
    while await made.step(place.missing):
        pass
    assert (await place.secret())["data"] == before["data"]
    assert await place.bundle() == signer.bundle()
    assert made.faults == ()


async def test_a_rotation_by_order(place):
    """Each step by hand, and another controller from nothing after each: it goes on where the one before was."""
    time = clock.Fake(datetime.datetime.now(datetime.UTC))
    life = datetime.timedelta(seconds=60)

    async def fresh():
        made = place.controller(time=time, lifetime=life)
        return made, await made.open()

    made, signer = await fresh()
    assert (await ordering_status(place, made)).startswith("steady")
    old = signer.bundle()
    ordered = await ordering.rotate(place.cluster, place.namespace)
    assert ordered.ordered
    again = await ordering.rotate(place.cluster, place.namespace)
    assert again.ordered, "twice is once"
    place.absent = frozenset({"retic-system/retic-node-x on n1"})
    phases = []
    for _ in range(3):  # the pair, the state, who is missing
        made, signer = await fresh()
        await made.step(place.missing)
        phases.append((await ordering.status(place.cluster, place.namespace)).phase)
    assert phases == ["steady", "spreading", "spreading"]
    shown = await ordering.rotate(place.cluster, place.namespace)
    assert shown.missing == ("retic-system/retic-node-x on n1",)
    assert "1 agents to come: retic-system/retic-node-x on n1" in str(shown)
    assert issued_by(leaf_of(signer)[0], old)
    assert len(x509.load_pem_x509_certificates(await place.bundle())) == 2
    made, signer = await fresh()
    assert not await made.step(place.missing), "as long as one is missing"
    time.advance(29)
    leaf_of(signer)
    time.advance(2)
    with pytest.raises(authority.StaleError):  # it may have moved on, and this one has not seen it
        leaf_of(signer)
    await made.look()
    place.absent = frozenset()
    made, signer = await fresh()
    assert await made.step(place.missing)
    assert (await ordering.status(place.cluster, place.namespace)).phase == "retiring"
    leaf = leaf_of(signer)[0]
    assert not issued_by(leaf, old)
    assert issued_by(leaf, await place.bundle())
    made, signer = await fresh()
    assert await made.step(place.missing), "the key of the old root is removed"
    assert set((await place.secret())["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert not await made.step(place.missing)
    time.advance(60 + rotation.SLACK)
    made, signer = await fresh()
    assert await made.step(place.missing)
    done = await ordering.status(place.cluster, place.namespace)
    assert str(done).startswith("steady")
    assert not done.ordered
    assert len(x509.load_pem_x509_certificates(await place.bundle())) == 1
    assert signer.bundle() == await place.bundle() != old
    assert not await made.step(place.missing)
    assert (await ordering.rotate(place.cluster, place.namespace)).ordered, "the next one may begin"


async def ordering_status(place, made):
    with pytest.raises(ordering.CannotRotateError, match="is Retic installed"):
        await ordering.rotate(place.cluster, place.namespace)
    await made.step(place.missing)
    return str(await ordering.status(place.cluster, place.namespace))


async def test_another_root_of_the_users_own_is_made_known_first(place):
    time = clock.Fake(datetime.datetime.now(datetime.UTC))
    pair, root, _ = given("first")
    await place.give(pair)
    made = place.controller(time=time)
    signer = await made.open()
    await made.step(place.missing)
    second, other, _ = given("second")
    await place.give(second)
    place.absent = frozenset({"somebody"})
    await made.look()
    assert leaf_of(signer)[1] == x509.load_pem_x509_certificate(pair.chain), "from memory"
    await made.step(place.missing)
    assert signer.bundle() == await place.bundle() == pem(root, other)
    assert leaf_of(signer)[1] == x509.load_pem_x509_certificate(pair.chain)
    # Another controller, that never knew the first key: agents may enrol, workloads wait.
    stranger = await place.controller(time=time).open()
    stranger.sign(certificate.request(certificate.new_key(), NODE), NODE)
    with pytest.raises(authority.StaleError):
        leaf_of(stranger)
    place.absent = frozenset()
    assert await made.step(place.missing)
    assert leaf_of(signer)[1] == x509.load_pem_x509_certificate(second.chain)
    time.advance(86400 + rotation.SLACK)
    assert await made.step(place.missing)
    assert signer.bundle() == pem(other)


async def test_a_rotation_with_agents_and_two_controllers(place, cluster, apiserver, tmp_path, monkeypatch):
    """Real ports, pods, conditions: each controller hears its own agents, and the leader hears of all."""
    controllers = [place.controller(lifetime=datetime.timedelta(seconds=30), slack=4) for _ in range(2)]
    monkeypatch.setattr(cluster_authority, "ASK", 0.2)
    rigs, tasks = [], []
    for number, one in enumerate(controllers):
        rig = enrolling.Rig(cluster, tmp_path / str(number), apiserver.parent / "keys", await one.open())
        await rig.control.start()
        rigs.append(rig)
    missing = confirmations.Missing(cluster, enrolling.agents.Accounts(node=f"{place.namespace}/retic-node"))
    for rig in rigs:
        rig.tokens._accounts = rig.bound._accounts = enrolling.agents.Accounts(node=f"{place.namespace}/retic-node")
        writer = confirmations.Confirmations(cluster, rig.db, rig.control.certificates.holdings)
        tasks.append(asyncio.create_task(writer.run()))
    followers = []
    for number, rig in enumerate(rigs):
        follower, running_agent = await agent(place, rigs, rig, f"n{number}", tmp_path)
        followers.append(follower)
        tasks.append(running_agent)
    try:
        async with running(place, *controllers, missing=missing):
            await controllers[0].step(missing)
            await wait.until_async(lambda: confirmed(missing, place), "both agents have confirmed", 60)
            old = await place.bundle()
            await ordering.rotate(cluster, place.namespace)

            async def phase():
                return (await ordering.status(cluster, place.namespace)).phase

            async def spreading():
                return await phase() == "spreading"

            async def retiring():
                return await phase() == "retiring"

            followers[1].stubborn = True
            await wait.until_async(spreading, "the new root is made known", 60)
            said = await wait.until_async(lambda: one_missing(place), "one has still to confirm", 60)
            assert said[0].endswith(" on n1")
            followers[1].stubborn = False
            followers[1].roots.look()
            await wait.until_async(retiring, "everybody has confirmed", 60)
            for rig in rigs:
                await wait.until_async(
                    lambda rig=rig: not issued_by(leaf_of(rig.control.authority)[0], old), "both sign anew", 60
                )

            async def steady():
                return await phase() == "steady"

            await wait.until_async(steady, "the old root is gone", 60, every=0.3)
            for follower in followers:
                await wait.until_async(
                    lambda follower=follower: old not in follower.trust.bundle, "the agents know", 60
                )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for rig in rigs:
            await rig.control.stop()


class Follower:
    """An agent's part that follows roots; while `stubborn`, its Envoy does not take them."""

    stubborn = False


async def confirmed(missing, place):
    return not await missing(await place.bundle())


async def one_missing(place):
    found = (await ordering.status(place.cluster, place.namespace)).missing
    return found if len(found) == 1 else None


async def agent(place, rigs, rig, node, tmp_path):
    """A real pod object, a real enrolment, the real follower of roots."""
    pod = await rig.pod(place.namespace, "retic-node", node)
    for other in rigs:
        other.learn(pod)
    await place.cluster.patch(
        f"{place.base}/pods/{pod['metadata']['name']}/status", {"status": {"phase": "Running"}}, kind="strategic"
    )
    caller = enrolling.Caller(rig, f"node/{node}")
    await caller.enroll(await rig.token(pod))
    (tmp_path / f"{node}.pem").write_bytes(rig.control.authority.bundle())
    made = Follower()
    made.trust = trust.Trust(tmp_path / f"{node}.pem", tmp_path / f"{node}.kept", lambda: made.roots.look())  # noqa: PLW0108

    def channel():
        key = certificate.key_pem(caller.key)
        return enrolling.client.Channel(f"127.0.0.1:{rig.control.port}", made.trust.roots, key, caller.chain)

    def public():
        return enrolling.client.Channel(f"127.0.0.1:{rig.control.enrol_port}", made.trust.roots)

    made.roots = roots.Roots(made.trust, channel, public, lambda: not made.stubborn, roots.clock.System())
    return made, asyncio.create_task(made.roots.run())
