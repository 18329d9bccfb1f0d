"""The authority of the moment: one that can be replaced while it is served, as roots are rotated.

Whoever signs or trusts asks it anew each time. Read from gRPC's threads, replaced in the event loop.
"""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from retic.identity import authority, clock, spiffe


class Domain(msgspec.Struct, frozen=True, order=True):
    """A trust domain beside the mesh's own. `roots` (PEM) are its authority's; "": it is the mesh's own one."""

    name: str
    roots: str = ""


class Roots(msgspec.Struct, frozen=True):
    """A trust bundle (PEM) and its serial: of two bundles the one with the greater is the newer.

    `issuer` signs now (`certificate.issuer_of`); `domains` are accepted beside the own one.
    """

    bundle: bytes
    serial: int
    issuer: str = ""
    domains: tuple[Domain, ...] = ()


class _Held(msgspec.Struct, frozen=True):
    signer: authority.Authority
    serial: int
    until: datetime.datetime | None


class Current:
    """Does what `authority.Authority` does, with the one given last."""

    def __init__(self, signer: authority.Authority, *, serial: int = 0) -> None:
        self._held = _Held(signer, serial, None)
        self._domains: tuple[Domain, ...] = ()
        self._followers: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"<Current {self._held.signer!r}>"

    @property
    def signer(self) -> authority.Authority:
        """The authority itself: another object, another signer or another bundle."""
        return self._held.signer

    @property
    def trust_domain(self) -> str:
        """The trust domain, which never changes."""
        return self._held.signer.trust_domain

    @property
    def lifetime(self) -> datetime.timedelta:
        """How long certificates live."""
        return self._held.signer.lifetime

    @property
    def time(self) -> clock.Clock:
        """The clock that certificates are dated with."""
        return self._held.signer.time

    @property
    def roots(self) -> Roots:
        """The bundle and what goes with it."""
        held = self._held
        return Roots(held.signer.bundle(), held.serial, held.signer.issuer, self._domains)

    def bundle(self) -> bytes:
        """The roots that everybody in the trust domain trusts, PEM."""
        return self._held.signer.bundle()

    def sign(self, request_pem: bytes, identity: spiffe.Id, *, pod: str = "") -> bytes:
        """As `authority.Authority.sign`. StaleError when a workload's certificate may find a proxy that does not
        trust it; an agent's own is for the control plane, which trusts every root that there is."""
        held = self._held
        stale = held.until is not None and held.signer.time.now() > held.until
        if stale and isinstance(identity, spiffe.Workload):
            raise authority.StaleError(
                "a root is being replaced, and this control plane does not know yet who trusts the new one: ask later"
            )
        return held.signer.sign(request_pem, identity, pod=pod)

    def issue(
        self,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        identity: spiffe.Id,
        *,
        dns: Sequence[str] = (),
    ) -> bytes:
        """As `authority.Authority.issue`, for the control plane itself."""
        return self._held.signer.issue(key, identity, dns=dns)

    def replace(
        self, signer: authority.Authority, *, serial: int, until: datetime.datetime | None = None
    ) -> None:
        """From now on this one. After `until`, if given, it signs for no workload: by then a root may have gone,
        and only others know. ValueError when the trust domain is another."""
        if signer.trust_domain != self.trust_domain:
            raise ValueError(f"the trust domain is {self.trust_domain}, and never {signer.trust_domain}")
        before = self.roots
        self._held = _Held(signer, serial, until)
        self._tell(before)

    def accept(self, domains: Sequence[Domain]) -> None:
        """From now on these trust domains, too, and no others than these and the own one."""
        before, self._domains = self.roots, tuple(sorted(domains))
        self._tell(before)

    def _tell(self, before: Roots) -> None:
        if self.roots != before:
            for each in self._followers:
                each.set()

    async def follow(self) -> AsyncIterator[Roots]:
        """The bundle, at once and whenever it is another; what changes in between is not kept."""
        changed = asyncio.Event()
        self._followers.add(changed)
        try:
            while True:
                changed.clear()
                yield self.roots
                await changed.wait()
        finally:
            self._followers.discard(changed)
