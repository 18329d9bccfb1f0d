"""Certificates in Secrets of type kubernetes.io/tls: whether a proxy can use the pair, and its time of validity.

Asks for what Envoy asks for, so that it never has to refuse one: PEM whose lines are whole, the server's own
certificate first, a key that fits it, RSA of 2048 bits or more or one of the curves P-256, P-384, P-521.
Judges no trust and no host names. Nothing that it says quotes a Secret.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from retic import findings
from retic.objects import core
from retic.sources import model

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

TYPE = "kubernetes.io/tls"
CHAIN = "tls.crt"
KEY = "tls.key"

_EDGE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_SHORTEST_RSA = 2048
_WRITE_CHAIN = "write the certificate chain as PEM, the server's own certificate first, each line on its own"
_WRITE_KEY = "write the certificate's private key as PEM, each line on its own"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one of the two fields (CHAIN or KEY), and what to write instead."""

    field: str
    message: str
    fix: str


def judge(chain: bytes, key: bytes) -> Iterator[Fault]:
    """Why a proxy could not serve with this pair; nothing when it can."""
    certificates = _chain(chain)
    private = _key(key)
    if isinstance(certificates, Fault):
        yield certificates
    elif unfit := _unfit(certificates[0]):
        yield unfit
    if isinstance(private, Fault):
        yield private
    if isinstance(certificates, Fault) or isinstance(private, Fault):
        return
    public = private.public_key()
    fitting = [i for i, each in enumerate(certificates) if _public(each) == public]
    if fitting and fitting[0] != 0:
        yield Fault(
            CHAIN, f"has the certificate of {KEY} in place {fitting[0] + 1}, not first",
            "put the server's own certificate first, then those that signed it",
        )
    elif not fitting:
        yield Fault(
            KEY, f"does not fit the certificate in {CHAIN}",
            "write the key that the certificate was made with, or the certificate of this key",
        )


def _chain(text: bytes) -> "tuple[x509.Certificate, ...] | Fault":
    from cryptography import x509

    if not _whole(text):
        return Fault(CHAIN, "is not PEM: a BEGIN or END line is missing, indented or cut", _WRITE_CHAIN)
    if not any(label.endswith(b"CERTIFICATE") for _, label in _EDGE.findall(text)):
        return Fault(CHAIN, "has no certificate in PEM", _WRITE_CHAIN)
    try:
        found = tuple(x509.load_pem_x509_certificates(text))
    except (ValueError, x509.InvalidVersion):
        return Fault(CHAIN, "has a certificate that cannot be read", _WRITE_CHAIN)
    return found


def _key(text: bytes) -> "PrivateKeyTypes | Fault":
    from cryptography import exceptions
    from cryptography.hazmat.primitives import serialization

    if not _whole(text):
        return Fault(KEY, "is not PEM: a BEGIN or END line is missing, indented or cut", _WRITE_KEY)
    if not any(label.endswith(b"PRIVATE KEY") for _, label in _EDGE.findall(text)):
        return Fault(KEY, "has no private key in PEM", _WRITE_KEY)
    try:
        return serialization.load_pem_private_key(text, None)
    except TypeError:
        return Fault(KEY, "is encrypted", "decrypt it: openssl pkey -in tls.key -out plain.key")
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return Fault(KEY, "has a private key that cannot be read", _WRITE_KEY)


def _whole(text: bytes) -> bool:
    """Whether every BEGIN and END stands on a line of its own, in pairs: Envoy skips or refuses others."""
    lines = [line.rstrip() for line in text.split(b"\n")]
    edges = [found for line in lines if (found := _EDGE.fullmatch(line))]
    if len(edges) != len(_EDGE.findall(text)) or len(edges) % 2:
        return False
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return all(a[1] == b"BEGIN" and b[1] == b"END" and a[2] == b[2] for a, b in pairs)


def _public(certificate: "x509.Certificate") -> object:
    """The public key; None for one of a kind that nobody here knows."""
    from cryptography import exceptions

    try:
        return certificate.public_key()
    except (ValueError, exceptions.UnsupportedAlgorithm):
        return None


def _unfit(certificate: "x509.Certificate") -> Fault | None:
    """Why Envoy would not serve with this certificate, whatever its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    public = _public(certificate)
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _SHORTEST_RSA:
        return Fault(
            CHAIN, f"has an RSA key of {public.key_size} bits", f"make one of {_SHORTEST_RSA} bits or more"
        )
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return None
    if public.curve.name not in _CURVES:
        return Fault(CHAIN, f"has a key on the curve {public.curve.name}", f"use one of {', '.join(_CURVES.values())}")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType):
        return None
    except (ValueError, x509.DuplicateExtension):
        return Fault(CHAIN, "has a certificate that cannot be read", _WRITE_CHAIN)
    if not usage.digital_signature:
        return Fault(CHAIN, "is not for signing by its key usage", "make it with the key usage digitalSignature")
    return None


def lapsed(
    objects: Mapping[findings.Ref, object], positions: Mapping[findings.Ref, model.Position], now: datetime.datetime
) -> Iterator[findings.Finding]:
    """A warning for each certificate that holds no longer or not yet. It is served all the same."""
    for ref, begin, end in _times(objects):
        if begin <= now < end:
            continue
        said = f"expired on {_date(end)}" if end <= now else f"is not valid before {_date(begin)}"
        position = positions.get(ref)
        yield model.finding(
            "RT0306", str(ref), file=position.file if position else "", line=_line(position),
            message=f"a certificate in {CHAIN} {said}: clients refuse it",
            fix=f"write a certificate that is valid now, and its key: {CHAIN} and {KEY}",
        )


def until_change(objects: Mapping[findings.Ref, object], now: datetime.datetime) -> float | None:
    """Seconds until the answer of `lapsed` changes by itself; None when it does not."""
    moments = [moment for _, begin, end in _times(objects) for moment in (begin, end) if moment > now]
    return (min(moments) - now).total_seconds() if moments else None


def _times(
    objects: Mapping[findings.Ref, object],
) -> Iterable[tuple[findings.Ref, datetime.datetime, datetime.datetime]]:
    """From when until when each TLS Secret's chain holds: all of its certificates together."""
    for ref, value in objects.items():
        if isinstance(value, core.Secret) and value.type == TYPE:
            chain = _chain(value.data.get(CHAIN, b""))
            if not isinstance(chain, Fault):
                yield ref, max(c.not_valid_before_utc for c in chain), min(c.not_valid_after_utc for c in chain)


def _line(position: model.Position | None) -> int:
    if position is None:
        return 0
    written = [f"{place}[{CHAIN}]" for place in ("stringData", "data")]
    return next((position.fields[path] for path in written if path in position.fields), position.line)


def _date(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
