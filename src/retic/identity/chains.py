"""Whether an authority's certificates can sign for a mesh: every fault that a proxy would refuse them for, beforehand.

The rules are RFC 5280's, as BoringSSL has them, which is Envoy's and gRPC's, and X509-SVID's (sections 3 and 4).
Messages name the place as the user knows it, and say what to write instead.
"""

import datetime
import itertools
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from retic.identity import certificate, constraints

_CURVES = (ec.SECP256R1, ec.SECP384R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_LEAST_RSA, _MOST_RSA = 2048, 8192  # bits; BoringSSL verifies no signature of a longer key
LONGEST = 8  # certificates below a root, the signer included
# What we put into certificates beside SPIFFE ids: names of the control plane and of pods.
_OWN_NAMES = ("control.retic.internal", "x" + certificate.POD_SUFFIX)
E = TypeVar("E", bound=x509.ExtensionType)


class FaultyError(ValueError):
    """Content that cannot be used. The message names where it stands, and quotes no key material."""


class Called(msgspec.Struct, frozen=True):
    """What the three parts are called where the user gave them: keys of a Secret, or paths of files."""

    certificate: str
    key: str
    roots: str


def check(
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime.datetime,
    trust_domain: str,
    called: Called,
) -> None:
    """FaultyError unless every proxy will accept what is signed: authorities all the way, each issued by the next.

    `trust_domain` "": of any. All roots count, also those that the chain does not lead to: they are trusted too.
    """
    root = _root_of(chain, roots, called)
    path = [one for one in chain if not is_root(one)]
    if len(path) > LONGEST:
        raise FaultyError(
            f"{called.certificate} has {len(path)} certificates below its root, more than {LONGEST}: shorten it"
        )
    for below, one in enumerate([*path, root]):
        where = f"certificate {below + 1} of {called.certificate}" if below < len(path) else _root_called(chain, called)
        check_one(one, where, now, trust_domain)
        basic = _extension(one, x509.BasicConstraints)
        length = basic.path_length if basic else None
        if length is not None and length < below:
            raise FaultyError(
                f"{where} allows {length} authorities below it, not {below}: make it with pathlen:{below} or more"
            )
    for number, other in enumerate(roots, 1):
        if other is not root:
            check_one(other, f"certificate {number} of {called.roots}", now, "")


def _root_called(chain: Sequence[x509.Certificate], called: Called) -> str:
    own = any(is_root(one) for one in chain)
    return f"certificate {len(chain)} of {called.certificate}" if own else f"the root in {called.roots}"


def _root_of(
    chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], called: Called
) -> x509.Certificate:
    """The root that the chain leads to, each certificate issued by the next. FaultyError when it leads to none."""
    path = [one for one in chain if not is_root(one)]
    if not path:
        if chain[0] not in roots:
            raise FaultyError(
                f"{called.roots} does not hold the self-signed certificate of {called.certificate}: add it"
            )
        return chain[0]
    for number, (one, issuer) in enumerate(itertools.pairwise(path), 1):
        if not issued(one, issuer):
            raise FaultyError(
                f"certificate {number + 1} of {called.certificate} did not issue certificate {number}: write the"
                " signer's own certificate first, and behind each the one that issued it"
            )
    for root in roots:
        if issued(path[-1], root):
            return root
    raise FaultyError(f"{called.roots} does not hold the root that {called.certificate} leads to: add it")


def check_one(one: x509.Certificate, where: str, now: datetime.datetime, trust_domain: str) -> None:
    """FaultyError unless one authority's certificate, which stands at `where`, can be used, looked at by itself."""
    begin, end = one.not_valid_before_utc, one.not_valid_after_utc
    if not begin <= now <= end:
        raise FaultyError(
            f"{where} holds from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, not now: renew it"
        )
    try:
        _form(one, where)
        _strength(one, where)
        _names(one, where, trust_domain)
    except (x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise FaultyError(f"{where} cannot be read: make another one") from error


def _form(one: x509.Certificate, where: str) -> None:
    try:
        found = list(one.extensions)
    except ValueError as error:
        raise FaultyError(f"{where} has extensions that cannot be read: make another one") from error
    basic, usage = _extension(one, x509.BasicConstraints), _extension(one, x509.KeyUsage)
    if basic is None or not basic.ca:
        raise FaultyError(
            f"{where} is no certificate authority's: make it with basicConstraints=critical,CA:TRUE"
            " (cert-manager: isCA: true)"
        )
    if usage is not None and not usage.key_cert_sign:
        raise FaultyError(f"{where} may not sign certificates: make it with keyUsage=critical,keyCertSign,cRLSign")
    extended = _extension(one, x509.ExtendedKeyUsage)
    needed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    if extended is not None and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in extended and needed - set(extended):
        raise FaultyError(
            f"{where} may not sign for both clients and servers: leave extendedKeyUsage out, or write"
            " extendedKeyUsage=clientAuth,serverAuth"
        )
    for extension in found:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise FaultyError(
                f"{where} has the critical extension {extension.oid.dotted_string}, which proxies do not know:"
                " leave it out, or make it not critical"
            )


def _strength(one: x509.Certificate, where: str) -> None:
    try:
        key = one.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    fit = (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)) or (
        isinstance(key, rsa.RSAPublicKey) and _LEAST_RSA <= key.key_size <= _MOST_RSA
    )
    if not fit:
        raise FaultyError(
            f"{where} has {_said(key)}, which proxies do not take: make an ECDSA key on P-256 or P-384, or RSA with"
            f" {_LEAST_RSA} to {_MOST_RSA} bits"
        )
    if not is_root(one) and not isinstance(one.signature_hash_algorithm, _HASHES):
        raise FaultyError(f"{where} is signed with a weak hash: let it be signed with SHA-256")


def _said(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"a key on {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"an RSA key of {key.key_size} bits"
    return "a key of another kind"


def _names(one: x509.Certificate, where: str, trust_domain: str) -> None:
    if not trust_domain:
        return
    wanted: list[tuple[constraints.Kind, str]] = [(x509.UniformResourceIdentifier, trust_domain)]
    wanted += [(x509.DNSName, name) for name in _OWN_NAMES]
    for kind, name in wanted:
        if wrong := constraints.objection(one, name, kind):
            raise FaultyError(f"the name constraints of {where} {wrong}")


def issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed it."""
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_root(one: x509.Certificate) -> bool:
    """Whether it is signed by itself."""
    return one.subject == one.issuer and issued(one, one)


def read(text: bytes, name: str) -> list[x509.Certificate]:
    """Certificates in PEM; FaultyError when there is none, or when the text is something else."""
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise FaultyError(f"{name} holds no certificates in PEM: write -----BEGIN CERTIFICATE----- ...") from None


def _extension(one: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return one.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None

