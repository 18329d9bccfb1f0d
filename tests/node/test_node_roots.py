"""A change of roots, seen from a node: known at once, and said to be known when Envoy goes by it."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time

import pytest
from node_rig import Rules, running
from test_node_agent import CART, PORTS, ask, pod, publish

from retic.identity import authority, certificate, rotation, spiffe
from retic.node import inside, trust
from retic.testing import wait

CALLER = spiffe.parse("spiffe://cluster.local/ns/shop/sa/caller")
PEM = certificate.serialization.Encoding.PEM


@pytest.fixture
def other(tmp_path):
    """Another authority of the same trust domain."""
    return authority.open_own(tmp_path / "other", "cluster.local")


def both(control, other, *, signer):
    """An authority that signs as one of two, and trusts both."""
    old = control.authority.signer
    roots = authority.x509.load_pem_x509_certificates(rotation.union(old.bundle(), other.bundle()))
    return authority.Authority("cluster.local", signer._key, [signer._signer], roots)


def handshake(netns, tmp_path, signer):
    """Whether the pod's listener lets in a caller whose certificate that authority has signed."""
    key = certificate.new_key()
    chain = signer.sign(certificate.request(key, CALLER), CALLER)
    (tmp_path / "caller.pem").write_bytes(certificate.key_pem(key) + chain)

    def connect():
        options = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        options.check_hostname, options.verify_mode = False, ssl.CERT_NONE
        options.load_cert_chain(tmp_path / "caller.pem")
        with options.wrap_socket(socket.create_connection(("127.0.0.1", PORTS["mtls"]), 5)) as secured:
            secured.settimeout(3)
            try:
                return secured.recv(1) == b""  # the listener leads nowhere: accepted, then closed
            except TimeoutError:
                return True
            except (ssl.SSLError, ConnectionError):
                return False

    return inside.network_namespace(netns, connect)


async def test_a_new_root_is_confirmed_when_envoy_goes_by_it(control, settings, netns, tmp_path, other):
    publish(control, netns)
    async with running(settings, Rules()):
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
        listening = control.certificates.holdings
        before = control.authority.bundle()
        await wait.until_async(lambda: listening.held() and not listening.without(before), "the first bundle confirmed")
        assert await asyncio.to_thread(handshake, netns, tmp_path, control.authority.signer)
        assert not await asyncio.to_thread(handshake, netns, tmp_path, other), "nobody's yet"

        spreading = both(control, other, signer=control.authority.signer)
        control.authority.replace(spreading, serial=10)
        assert listening.without(spreading.bundle()) == {"node/node-1"}, "not before it is so"
        await wait.until_async(lambda: not listening.without(spreading.bundle()), "both roots confirmed", 10)
        for signer in (control.authority.signer, other):
            assert await asyncio.to_thread(handshake, netns, tmp_path, signer)

        control.authority.replace(both(control, other, signer=other), serial=11)
        control.authority.replace(other, serial=12)
        await wait.until_async(lambda: not listening.without(other.bundle()), "the second alone", 10)
        assert not await asyncio.to_thread(handshake, netns, tmp_path, spreading)


class Handshakes:
    """A caller of the mesh that connects again and again: with a certificate of the moment, each time another, and
    trusting the bundle of the moment. `failed` says what went wrong."""

    def __init__(self, netns, tmp_path, signer):
        self._netns, self._file, self._signer = netns, tmp_path / "again.pem", signer
        self.done, self.failed, self._over = 0, [], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.is_set():
            try:
                inside.network_namespace(self._netns, self._once)
                self.done += 1
            except (OSError, ssl.SSLError) as error:
                self.failed.append(repr(error))

    def _once(self):
        key = certificate.new_key()
        chain = self._signer.sign(certificate.request(key, CALLER), CALLER)
        self._file.write_bytes(certificate.key_pem(key) + chain)
        options = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        options.check_hostname = False
        options.load_verify_locations(cadata=self._signer.bundle().decode())
        options.load_cert_chain(self._file)
        with options.wrap_socket(socket.create_connection(("127.0.0.1", PORTS["mtls"]), 5)) as secured:
            secured.settimeout(0.3)
            with contextlib.suppress(TimeoutError):  # accepted: the listener leads nowhere, so nothing comes
                secured.recv(1)  # a refusal comes after the handshake (RFC 8446, section 4.4.2.4)


async def test_no_connection_is_refused_while_a_root_is_replaced(control, settings, netns, tmp_path, monkeypatch):
    """The machine, a real agent and a real Envoy, whose certificates live for twelve seconds."""
    monkeypatch.setattr(authority, "MIN_LIFETIME", authority.datetime.timedelta(seconds=1))
    life = authority.datetime.timedelta(seconds=12)
    signers = {}
    for _ in range(2):
        key = certificate.new_key()
        root = authority.self_signed("cluster.local", key, authority.clock.System().now())
        signers[rotation.fingerprint(root.public_bytes(PEM))] = (key, root)
    old, new = (rotation.Candidate(name, root.public_bytes(PEM)) for name, (_, root) in signers.items())

    def use(state):
        key, root = signers[state.signer]
        roots = authority.x509.load_pem_x509_certificates(state.bundle)
        made = authority.Authority("cluster.local", key, (), roots, signer=root, lifetime=life)
        control.authority.replace(made, serial=state.serial)

    def now():
        return int(time.time())

    state = rotation.start(old, now(), int(life.total_seconds()))
    use(state)
    settings.root_file.write_bytes(state.bundle)
    publish(control, netns)
    async with running(settings, Rules()):
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        assert await ask(settings.folder / "cni.sock", add=pod(netns)) == {"ok": True}
        heard = control.certificates.holdings
        await wait.until_async(lambda: heard.held() and not heard.without(state.bundle), "the first root")
        await wait.until_async(lambda: asyncio.to_thread(handshake, netns, tmp_path, control.authority), "it serves")
        phases = []
        with Handshakes(netns, tmp_path, control.authority) as caller:
            await wait.until_async(lambda: caller.done > 10, "it is called", 60)

            def settled():
                nonlocal state
                after = rotation.step(state, new, now(), heard.without(state.bundle), slack=1)
                if after is not state:
                    state = after
                    use(state)
                    phases.append(state.phase)
                return state.phase is rotation.Phase.STEADY and not heard.without(state.bundle)

            settled()
            await wait.until_async(settled, "the second root alone", 90)
            before = caller.done
            await wait.until_async(lambda: caller.done > before + 20, "it is called still", 60)
        assert caller.failed == []
        assert phases == [rotation.Phase.SPREADING, rotation.Phase.RETIRING, rotation.Phase.STEADY]
        assert state.bundle == new.roots


async def test_what_an_agent_holds_is_known_as_long_as_it_is_connected(control, settings):
    listening = control.certificates.holdings
    async with running(settings):
        await wait.until_async(lambda: "" not in listening.held().values() and listening.held(), "the agent's word")
        assert {bearer.client_id for bearer in listening.held()} == {"node/node-1"}
    await wait.until_async(lambda: not listening.held(), "the agent gone")


async def test_what_a_control_plane_that_is_behind_signs_is_not_taken(control, settings, netns):
    publish(control, netns)
    async with running(settings) as agent:
        await wait.until_async(lambda: agent._own.get(settings.identity), "the agent's certificate")
        agent._trust.learn(control.authority.bundle(), 20)
        control.authority.replace(control.authority.signer, serial=19)
        await wait.until_async((settings.folder / "cni.sock").exists, "the CNI socket")
        adding = asyncio.create_task(ask(settings.folder / "cni.sock", add=pod(netns)))
        await wait.until_async(lambda: control.certificates.counts.signed >= 3, "more than one attempt")
        assert agent._keys.get(spiffe.parse(CART)) is None
        control.authority.replace(control.authority.signer, serial=20)
        assert await adding == {"ok": True}


def test_a_bundle_is_never_exchanged_for_an_older_one(tmp_path):
    one, two = (authority.open_own(tmp_path / name, "td").bundle() for name in ("a", "b"))
    (tmp_path / "root.pem").write_bytes(one)
    made = trust.Trust(tmp_path / "root.pem", tmp_path / "kept.pem")
    made.learn(one + two, 5)
    with pytest.raises(trust.BehindError):
        made.learn(one, 4)
    assert made.bundle == one + two
    made.learn(one + two, 0)  # of a control plane that tells no serial
    again = trust.Trust(tmp_path / "root.pem", tmp_path / "kept.pem")
    with pytest.raises(trust.BehindError):
        again.learn(one, 4)
    with pytest.raises(ValueError, match="PEM"):
        again.learn(b"nonsense", 6)
    again.learn(two, 5)
    assert again.bundle == two


def test_the_file_that_was_given_is_read_again(tmp_path):
    """A node that was cut off while the roots changed finds its control plane by what the kubelet brings."""
    one, two = (authority.open_own(tmp_path / name, "td").bundle() for name in ("a", "b"))
    file = tmp_path / "root.pem"
    file.write_bytes(one)
    made = trust.Trust(file, tmp_path / "kept.pem")
    file.write_bytes(two)
    assert made.roots == two + one
    file.write_bytes(b"half a certif")
    assert made.roots == two + one
    file.unlink()
    assert made.roots == two + one
    assert not trust.is_elsewhere(_written(file, two), tmp_path / "kept.pem")


def _written(file, data):
    file.write_bytes(data)
    return file
