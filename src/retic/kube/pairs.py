"""The authority's key and certificates as they stand in a Secret: read strictly, written, never shown.

The form is cert-manager's: tls.crt is the signer and what leads from it to a root, tls.key its key, ca.crt the
roots. What could not sign for the mesh is refused with words on what is wrong, before anything is signed.
"""

import base64
import binascii
import datetime
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from retic.identity import authority, certificate, clock, rotation

CERTIFICATE, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"
NEXT_CERTIFICATE, NEXT_KEY = "next.crt", "next.key"


class FaultyError(ValueError):
    """Content that cannot be used. The message names the key of the Secret, and quotes no key material."""


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
            trust_domain, authority.load_key(self.key), [one for one in certificates if not _is_root(one)],
            x509.load_pem_x509_certificates(bundle), signer=certificates[0], lifetime=lifetime, time=time,
        )  # fmt: skip


def new(trust_domain: str, now: datetime.datetime) -> Pair:
    """A new root and its key."""
    key = certificate.new_key()
    root = authority.self_signed(trust_domain, key, now).public_bytes(serialization.Encoding.PEM)
    return Pair(root, certificate.key_pem(key), root)


def read(
    data: Mapping[str, Any], now: datetime.datetime, *, crt: str = CERTIFICATE, key: str = KEY
) -> Pair:
    """The pair in a Secret's `data`. FaultyError when it cannot sign at that time."""
    chain = _certificates(content(data, crt), crt)
    private = content(data, key)
    try:
        own = authority.load_key(private)
    except ValueError as error:
        raise FaultyError(f"{key}: {error}") from None
    if own.public_key() != chain[0].public_key():
        raise FaultyError(f"{key} does not belong to the first certificate of {crt}: give the pair")
    if crt == CERTIFICATE and data.get(ROOTS):
        roots = _certificates(content(data, ROOTS), ROOTS)
    else:
        roots = [one for one in chain if _is_root(one)]
        if not roots:
            raise FaultyError(f"{ROOTS} is missing: put the root there that {crt} leads to")
    _check(chain, roots, now, crt)
    return Pair(_pem(chain), private, _pem(roots))


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


def _certificates(text: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise FaultyError(f"{name} holds no certificates in PEM") from None


def _check(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime.datetime, crt: str
) -> None:
    """Whether every proxy will accept what is signed: authorities all the way, each issued by the next, in time."""
    root = _root_of(chain, roots)
    path = [one for one in chain if not _is_root(one)]
    for below, one in enumerate([*path, root]):
        where = f"certificate {below + 1} of {crt}" if below < len(path) else f"the root of {crt}"
        if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
            raise FaultyError(
                f"{where} holds from {one.not_valid_before_utc:%Y-%m-%d %H:%M} to"
                f" {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, not now: renew it"
            )
        try:
            basic = one.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = _usage(one)
        except (x509.ExtensionNotFound, ValueError):
            basic, usage = None, None
        if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
            raise FaultyError(f"{where} is no certificate authority's: issue it with isCA: true")
        if basic.path_length is not None and basic.path_length < below:
            raise FaultyError(f"{where} allows {basic.path_length} authorities below it, not {below}: raise pathLen")


def _root_of(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> x509.Certificate:
    """The root that the chain leads to, each certificate issued by the next. FaultyError when it leads to none."""
    path = [one for one in chain if not _is_root(one)]
    if not path:
        if chain[0] not in roots:
            raise FaultyError(f"{ROOTS} does not hold the self-signed certificate of {CERTIFICATE}: add it")
        return chain[0]
    for one, issuer in itertools.pairwise(path):
        if not _issued(one, issuer):
            raise FaultyError(f"the certificates of {CERTIFICATE} do not lead from one to the next: order them")
    for root in roots:
        if _issued(path[-1], root):
            return root
    raise FaultyError(f"{ROOTS} does not hold the root that {CERTIFICATE} leads to: add it")


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_root(one: x509.Certificate) -> bool:
    return one.subject == one.issuer and _issued(one, one)


def _usage(one: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return one.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
