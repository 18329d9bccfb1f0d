"""Certificates and keys as users make them for gateways: self-signed, of any kind and time."""

import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID


def key() -> ec.EllipticCurvePrivateKey:
    """A key on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def chain(
    private: Any, *hosts: str, begin: float = -3600, end: float = 86400, usage: tuple[bool, ...] | None = None
) -> bytes:
    """A self-signed certificate in PEM, valid from `begin` to `end`, in seconds from now. `usage`: its key usage."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (*hosts, "any.test")[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(seconds=begin))
        .not_valid_after(now + datetime.timedelta(seconds=end))
    )  # fmt: skip
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([_subject(h) for h in hosts]), critical=False)
    if usage is not None:
        made = made.add_extension(x509.KeyUsage(*usage), critical=True)
    own_hash = isinstance(private, ed25519.Ed25519PrivateKey)
    return made.sign(private, None if own_hash else hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def pem(
    private: Any,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    password: bytes = b"",
) -> bytes:
    """A private key in PEM."""
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    found: bytes = private.private_bytes(serialization.Encoding.PEM, form, locked)
    return found


def pair(*hosts: str, begin: float = -3600, end: float = 86400) -> tuple[bytes, bytes]:
    """A certificate for these hosts and its key."""
    private = key()
    return chain(private, *hosts, begin=begin, end=end), pem(private)
