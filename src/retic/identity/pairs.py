"""The authority's key and certificates as they stand in a Secret or in files: read strictly, written, never shown.

The form is cert-manager's: tls.crt is the signer and what leads from it to a root, tls.key its key, ca.crt the
roots. What could not sign for the mesh is refused with words on what is wrong, before anything is signed.
"""

import base64
import binascii
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from retic.identity import authority, certificate, chains, clock, rotation
from retic.identity.chains import Called, FaultyError

CERTIFICATE, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"


class Pair(msgspec.Struct, frozen=True):
    """A signer: its chain (its own certificate first), its key and its roots, all PEM. `repr` shows none."""

    chain: bytes
    key: bytes
    roots: bytes

    def __repr__(self) -> str:
        return f"<Pair {self.signer[:12]}>"

    @property
    def signer(self) -> str:
        """Its fingerprint. Other roots beside the same chain make another one: they are made known as any."""
        return rotation.fingerprint(self.chain + self.roots)

    @property
    def candidate(self) -> rotation.Candidate:
        """As rotation knows it."""
        return rotation.Candidate(self.signer, self.roots)

    def authority(
        self, trust_domain: str, bundle: bytes, lifetime: datetime.timedelta, time: clock.Clock
    ) -> authority.Authority:
        """An authority that signs with it, in a mesh that trusts `bundle`."""
        certificates = x509.load_pem_x509_certificates(self.chain)
        return authority.Authority(
            trust_domain, authority.load_key(self.key), [one for one in certificates if not chains.is_root(one)],
            x509.load_pem_x509_certificates(bundle), signer=certificates[0], lifetime=lifetime, time=time,
        )  # fmt: skip


def new(trust_domain: str, now: datetime.datetime) -> Pair:
    """A new root and its key."""
    key = certificate.new_key()
    root = authority.self_signed(trust_domain, key, now).public_bytes(serialization.Encoding.PEM)
    return Pair(root, certificate.key_pem(key), root)


def read(
    data: Mapping[str, Any], now: datetime.datetime, trust_domain: str = "", *, crt: str = CERTIFICATE, key: str = KEY
) -> Pair:
    """The pair in a Secret's `data`. FaultyError when it cannot sign at that time, in that trust domain."""
    roots = content(data, ROOTS) if crt == CERTIFICATE and data.get(ROOTS) else b""
    return checked(content(data, crt), content(data, key), roots, now, trust_domain, Called(crt, key, ROOTS))


def checked(
    chain_pem: bytes, key_pem: bytes, roots_pem: bytes, now: datetime.datetime, trust_domain: str, called: Called
) -> Pair:
    """The three as a Pair. FaultyError when it cannot sign at that time, in that trust domain.

    Without `roots_pem` the root is the self-signed certificate of the chain.
    """
    chain = chains.read(chain_pem, called.certificate)
    try:
        own = authority.load_key(key_pem)
    except ValueError as error:
        raise FaultyError(f"{called.key}: {error}") from None
    if own.public_key() != chain[0].public_key():
        raise FaultyError(
            f"{called.key} does not belong to the first certificate of {called.certificate}: give the pair"
        )
    if roots_pem:
        roots = chains.read(roots_pem, called.roots)
    else:
        roots = [one for one in chain if chains.is_root(one)]
        if not roots:
            raise FaultyError(f"{called.roots} is missing: put the root there that {called.certificate} leads to")
    chains.check(chain, roots, now, trust_domain, called)
    return Pair(_pem(chain), key_pem, _pem(roots))


def write(pair: Pair, upcoming: Pair | None = None) -> dict[str, str]:
    """The `data` of a Secret with the pair, and the pair that is to follow."""
    data = {CERTIFICATE: pair.chain, KEY: pair.key, ROOTS: pair.roots}
    if upcoming:
        data |= {NEXT_CERTIFICATE: upcoming.chain, NEXT_KEY: upcoming.key}
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


def content(data: Mapping[str, Any], name: str) -> bytes:
    """What stands under a name of a Secret's `data`. FaultyError when nothing does."""
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise FaultyError(f"{name} is missing")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise FaultyError(f"{name} is not base64") from None


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
