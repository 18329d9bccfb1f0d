"""Keys made on the node and the certificates for them: fetched, kept on disk, renewed at half-life.

A key never leaves the node: the authority sees a signing request. When renewal fails the last good pair
stays in use, and trying goes on with growing pauses. Files are 0600 in a folder of 0700, so that an agent
that restarts while the control plane is away still serves.
"""

import asyncio
import datetime
import hashlib
import pathlib
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import grpc
import msgspec
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from retic.identity import authority, certificate, clock, service, spiffe

Sign: TypeAlias = Callable[[spiffe.Id, bytes], Awaitable[service.Signed]]
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 60.0  # seconds between failed attempts
SPREAD = 2.0  # seconds among which certificates of another issuer are asked for, so that not all come at once
LOOK = 60.0  # seconds; a machine that slept notices within that time that certificates are due
_log = structlog.get_logger("retic.node")
OLDER_SOON = datetime.timedelta(hours=1)
"""After so long an agent asks again for a certificate with a name that an older control plane has not given it."""


class Pair(msgspec.Struct, frozen=True):
    """A private key and its certificate chain (leaf first), PEM. `repr` shows neither."""

    key: bytes
    chain: bytes
    renew_at: datetime.datetime
    ends: datetime.datetime
    issuer: str = ""

    def __repr__(self) -> str:
        return f"<Pair until {self.ends:%Y-%m-%dT%H:%M:%SZ}>"

    @property
    def version(self) -> str:
        """A hash of the certificate: another certificate, another version."""
        return hashlib.blake2b(self.chain, digest_size=8).hexdigest()


class MismatchError(ValueError):
    """A certificate that is not for the key and identity it was wanted for."""


def pair(key_pem: bytes, chain: bytes, identity: spiffe.Id) -> Pair:
    """The two as a Pair. MismatchError unless they belong together and to the identity."""
    certificates = x509.load_pem_x509_certificates(chain)
    leaf = certificates[0]
    key = serialization.load_pem_private_key(key_pem, None)
    if leaf.public_key() != key.public_key() or certificate.identity_of(leaf) != identity:
        raise MismatchError(f"the certificate is not for {identity} and its key")
    issuer = certificate.issuer_of(certificates)
    renew_at = certificate.renew_at(leaf)
    if isinstance(identity, spiffe.Node | spiffe.Gateway) and not certificate.has_metrics_name(leaf):
        renew_at = min(renew_at, leaf.not_valid_before_utc + certificate.BACKDATE + OLDER_SOON)
    return Pair(key_pem, chain, renew_at, leaf.not_valid_after_utc, issuer)


class Keys:
    """The pairs of the identities told by `keep`. `changed` is called with an identity that came or went.

    A kept pair that is bound to another pod than `pod` (a uid) is of no use any more; "": whatever it is bound to.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        sign: Sign,
        *,
        time: clock.Clock,
        changed: Callable[[spiffe.Id], None] = lambda _: None,
        pod: str = "",
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._sign = sign
        self._time = time
        self._changed = changed
        self._pod = pod
        self._pairs: dict[spiffe.Id, Pair] = {}
        self._tasks: dict[spiffe.Id, asyncio.Task[None]] = {}
        self._news = asyncio.Condition()
        self._issuer = ""
        self._tried: dict[spiffe.Id, str] = {}  # the issuer for whose sake a pair was last renewed
        self._other = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Keys of {len(self._tasks)} identities>"

    @property
    def wanted(self) -> frozenset[spiffe.Id]:
        """The identities told last."""
        return frozenset(self._tasks)

    def get(self, identity: spiffe.Id) -> Pair | None:
        """The identity's pair, the last good one; None as long as there has been none."""
        return self._pairs.get(identity)

    def keep(self, identities: Iterable[spiffe.Id]) -> None:
        """Hold exactly these from now on; pairs of others are forgotten, on disk too."""
        wanted = set(identities)
        for identity in self._tasks.keys() - wanted:
            self._tasks.pop(identity).cancel()
            self._tried.pop(identity, None)
            self._file(identity).unlink(missing_ok=True)
            if self._pairs.pop(identity, None):
                self._changed(identity)
        for identity in sorted(wanted - self._tasks.keys(), key=str):
            self._load(identity)
            self._tasks[identity] = asyncio.create_task(self._renew(identity), name=f"keys of {identity}")

    def of(self, issuer: str) -> None:
        """This one signs now: pairs of others are renewed at once, each at most one time for its sake."""
        if issuer and issuer != self._issuer:
            self._issuer = issuer
            self._other.set()
            self._other = asyncio.Event()

    async def ready(self, identity: spiffe.Id) -> Pair:
        """The identity's pair, as soon as there is one that has not ended. Waits; give it a time-out."""
        async with self._news:
            await self._news.wait_for(lambda: self._valid(identity) is not None)
        return self._pairs[identity]

    async def close(self) -> None:
        """Stop renewing; what is on disk stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def _valid(self, identity: spiffe.Id) -> Pair | None:
        found = self._pairs.get(identity)
        return found if found and found.ends > self._time.now() else None

    async def _renew(self, identity: spiffe.Id) -> None:
        pause = FIRST_PAUSE
        while True:
            held = self._valid(identity)
            now = self._time.now()
            issuer = self._issuer
            if held and now < held.renew_at and self._is_of(identity, held, issuer):
                await self._rest(min(LOOK, (held.renew_at - now).total_seconds()))
                continue
            try:
                if held and now < held.renew_at:
                    await self._time.sleep(random.uniform(0, SPREAD))
                await self._make(identity)
                self._tried[identity] = issuer
                pause = FIRST_PAUSE
            except Exception as error:  # whatever it is, the last good pair stays and trying goes on
                _log.warning(
                    "no certificate yet", identity=str(identity), reason=reason(error), kept=held is not None
                )
                await self._time.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(LONGEST_PAUSE, pause * 2)

    def _is_of(self, identity: spiffe.Id, held: Pair, issuer: str) -> bool:
        """Also when it is another's, and the authority has been asked in vain."""
        return not issuer or held.issuer == issuer or self._tried.get(identity) == issuer

    async def _rest(self, seconds: float) -> None:
        waiting = [
            asyncio.ensure_future(self._time.sleep(seconds)), asyncio.ensure_future(self._other.wait())
        ]  # fmt: skip
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _make(self, identity: spiffe.Id) -> None:
        key = certificate.new_key()
        answer = await self._sign(identity, certificate.request(key, identity))
        made = pair(certificate.key_pem(key), answer.certificate.encode(), identity)
        authority.write_private(self._file(identity), made.key + made.chain)
        self._pairs[identity] = made
        _log.info("certificate renewed", identity=str(identity), ends=made.ends.isoformat())
        async with self._news:
            self._news.notify_all()
        self._changed(identity)

    def _load(self, identity: spiffe.Id) -> None:
        try:
            text = self._file(identity).read_bytes()
            key, _, chain = text.partition(b"-----BEGIN CERTIFICATE-----")
            found = pair(key, b"-----BEGIN CERTIFICATE-----" + chain, identity)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning("a kept certificate is of no use", identity=str(identity), reason=str(error))
            return
        if self._pod and certificate.pod_of(x509.load_pem_x509_certificate(found.chain)) != self._pod:
            _log.info("a kept certificate is of another pod", identity=str(identity))
            return
        self._pairs[identity] = found
        self._changed(identity)

    def _file(self, identity: spiffe.Id) -> pathlib.Path:
        return self._folder / f"{hashlib.sha256(str(identity).encode()).hexdigest()[:32]}.pem"


def reason(error: BaseException) -> str:
    """What went wrong, in one line, for a log."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
