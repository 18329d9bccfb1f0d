"""Keys: made here, renewed at half-life by the clock, the last good kept, known again after a restart."""

import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from retic.identity import authority, certificate, service, spiffe
from retic.node import keys
from retic.testing import clock, wait

CART = spiffe.Workload("cluster.local", "shop", "cart")
WEB = spiffe.Workload("cluster.local", "shop", "web")
DAY = 86400


class Signer:
    """An authority that can be away, and counts how often it was asked."""

    def __init__(self, folder, time):
        self.authority = authority.open_own(folder, "cluster.local", time=time)
        self.away, self.asked, self.requests = False, 0, []

    async def __call__(self, identity, request):
        self.asked += 1
        if self.away:
            raise OSError("nobody there")
        self.requests.append(request)
        chain, bundle = self.authority.sign(request, identity), self.authority.bundle()
        return service.Signed(chain.decode(), bundle.decode())


@pytest.fixture
def time():
    return clock.Fake()


@pytest.fixture
def signer(tmp_path, time):
    return Signer(tmp_path / "ca", time)


@pytest.fixture
async def made(tmp_path, signer, time):
    changed = []
    held = keys.Keys(tmp_path / "keys", signer, time=time, changed=changed.append)
    held.test_changed = changed
    yield held
    await held.close()


async def test_a_pair_is_made_and_the_key_stays_here(made, signer, tmp_path):
    made.keep([CART])
    pair = await made.ready(CART)
    leaf = x509.load_pem_x509_certificate(pair.chain)
    key = serialization.load_pem_private_key(pair.key, None)
    assert leaf.public_key() == key.public_key()
    assert b"PRIVATE" not in b"".join(signer.requests)
    files = list((tmp_path / "keys").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert "PRIVATE" not in repr(pair) + repr(made)


async def test_renewed_at_half_life_with_another_key(made, signer, time):
    made.keep([CART])
    first = await made.ready(CART)
    await wait.until_async(lambda: time.waiting, "a sleeper")
    time.advance(DAY / 2 - 1)
    await wait.until_async(lambda: time.waiting, "a sleeper")
    assert signer.asked == 1
    time.advance(2)
    await wait.until_async(lambda: made.get(CART) is not first, "a renewed pair")
    assert signer.asked == 2
    assert made.get(CART).key != first.key
    assert made.test_changed == [CART, CART]


async def test_an_agents_without_a_name_that_it_should_have_is_asked_for_again(made, signer, time, monkeypatch):
    """What control planes of older versions sign."""
    own = spiffe.Node("cluster.local", "node-1")
    monkeypatch.setattr(signer.authority, "_names_metrics", False)
    made.keep([own, CART])
    first = {each: await made.ready(each) for each in (own, CART)}
    assert first[own].renew_at - time.now() == keys.OLDER_SOON
    assert first[CART].renew_at - time.now() > keys.OLDER_SOON
    monkeypatch.setattr(signer.authority, "_names_metrics", True)
    await wait.until_async(lambda: len(time.waiting) == 2, "both rest")
    time.advance(keys.OLDER_SOON.total_seconds() + 1)
    await wait.until_async(lambda: made.get(own) is not first[own], "another one")
    assert made.get(own).renew_at - time.now() > keys.OLDER_SOON
    assert made.get(CART) is first[CART]


async def test_of_another_issuer_renewed_at_once_and_once(made, signer, time, tmp_path):
    made.keep([CART, WEB])
    first = [await made.ready(each) for each in (CART, WEB)]
    made.of(signer.authority.issuer)
    signer.authority = authority.open_own(tmp_path / "next", "cluster.local", time=time)
    await wait.until_async(lambda: len(time.waiting) == 2, "both rest")
    made.of(signer.authority.issuer)

    def after(done):
        """Time goes on until it is so."""

        def passing():
            time.advance(0.1)
            return done()

        return wait.until_async(passing, "the time has come", every=0.001)

    await after(lambda: all(made.get(each).issuer == signer.authority.issuer for each in (CART, WEB)))
    assert [made.get(each) for each in (CART, WEB)] != first
    assert signer.asked == 4
    made.of("f" * 64)  # one that the authority does not have, in the end
    await after(lambda: signer.asked == 6)
    begun = time.now()
    await after(lambda: (time.now() - begun).total_seconds() > 20)
    assert signer.asked == 6, "each has asked once for its sake"


async def test_the_last_good_pair_stays_while_the_authority_is_away(made, signer, time):
    made.keep([CART])
    first = await made.ready(CART)
    await wait.until_async(lambda: time.waiting, "a sleeper")
    signer.away = True
    time.advance(DAY / 2)
    pauses = []
    for asked in range(2, 14):
        await wait.until_async(lambda asked=asked: signer.asked == asked and time.waiting, "another attempt")
        pauses.append((time.waiting[0] - time.now()).total_seconds())
        time.advance(pauses[-1])
    assert made.get(CART) is first
    assert pauses[0] < 0.2
    assert pauses[0] < pauses[4] < pauses[-1] <= keys.LONGEST_PAUSE * 1.2
    signer.away = False
    await wait.until_async(lambda: time.waiting, "a sleeper")
    time.advance(100)
    await wait.until_async(lambda: made.get(CART) is not first, "a renewed pair")


async def test_a_restart_without_an_authority_serves_what_is_on_disk(made, signer, time, tmp_path):
    made.keep([CART])
    first = await made.ready(CART)
    await made.close()
    signer.away = True
    again = keys.Keys(tmp_path / "keys", signer, time=time)
    again.keep([CART])
    assert again.get(CART) == first
    assert signer.asked == 1
    await again.close()


async def test_what_ended_while_nobody_looked_is_renewed_and_not_ready(made, signer, time, tmp_path):
    made.keep([CART])
    first = await made.ready(CART)
    await made.close()
    time.advance(2 * DAY)
    again = keys.Keys(tmp_path / "keys", signer, time=time)
    again.keep([CART])
    renewed = await again.ready(CART)
    assert renewed.ends > time.now() > first.ends
    await again.close()


async def test_identities_no_longer_kept_are_forgotten_on_disk_too(made, tmp_path):
    made.keep([CART, WEB])
    await made.ready(CART)
    await made.ready(WEB)
    made.keep([WEB])
    assert made.get(CART) is None
    assert made.get(WEB) is not None
    assert len(list((tmp_path / "keys").iterdir())) == 1
    assert made.test_changed[-1] == CART


async def test_a_damaged_file_is_replaced(made, signer, time, tmp_path):
    made.keep([CART])
    await made.ready(CART)
    await made.close()
    (file,) = (tmp_path / "keys").iterdir()
    file.write_bytes(b"nonsense")
    again = keys.Keys(tmp_path / "keys", signer, time=time)
    again.keep([CART])
    assert (await again.ready(CART)).ends == time.now() + datetime.timedelta(days=1)
    await again.close()


async def test_a_certificate_for_somebody_else_is_not_taken(tmp_path, signer, time):
    async def wrong(identity, request):
        other = certificate.request(certificate.new_key(), identity)
        return await signer(identity, other)

    held = keys.Keys(tmp_path / "keys", wrong, time=time)
    held.keep([CART])
    await wait.until_async(lambda: time.waiting, "a failed attempt")
    assert held.get(CART) is None
    await held.close()


async def test_a_kept_pair_of_another_pod_is_of_no_use(tmp_path, signer, time):
    """An agent follows another one in the same folder: what is bound to that one's pod is refused soon."""
    own = spiffe.client("cluster.local", "node/node-1")

    def bound_to(pod):
        async def sign(identity, request):
            signer.asked += 1
            chain, bundle = signer.authority.sign(request, identity, pod=pod), signer.authority.bundle()
            return service.Signed(chain.decode(), bundle.decode())

        return keys.Keys(tmp_path / "own", sign, time=time, pod=pod)

    for pod, asked in (("uid-1", 1), ("uid-1", 1), ("uid-2", 2), ("", 2)):
        held = bound_to(pod)
        held.keep([own])
        leaf = x509.load_pem_x509_certificate((await held.ready(own)).chain)
        assert (certificate.pod_of(leaf), signer.asked) == (pod or "uid-2", asked)
        await held.close()
