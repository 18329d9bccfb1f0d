"""Keys, signing requests and what is read from certificates; refuses to sign: that is the authority's."""

import datetime
import hashlib
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from retic.identity import spiffe

BACKDATE = datetime.timedelta(minutes=5)  # certificates begin that long before they are made: clocks differ
# An agent's certificate says which pod it was made for by a DNS name below this one: X509-SVID allows one URI, the
# SPIFFE id, and any number of DNS names (section 2). The name is nobody's address.
POD_SUFFIX = ".pod.retic.internal"
METRICS_NAME = "metrics.retic.internal"
"""A DNS name in every agent's own certificate, and in the control plane's for its metrics: whoever reads those knows by
it that a mesh of this root answers. It is nobody's address."""
_UID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as PKCS 8 PEM, not encrypted: for files of mode 0600 and the proxy's socket only."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request(key: ec.EllipticCurvePrivateKey, identity: spiffe.Id) -> bytes:
    """A signing request (PKCS 10, PEM) whose only name is the identity."""
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(name, critical=True).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def pod_name(uid: str) -> str:
    """The DNS name that binds a certificate to the pod of that uid. InvalidIdError for what can be no uid."""
    if not _UID.fullmatch(uid):
        raise spiffe.InvalidIdError(f"{uid[:80]!r} is no pod's uid")
    return uid + POD_SUFFIX


def identity_of(certificate: x509.Certificate) -> spiffe.Id:
    """The certificate's SPIFFE id. InvalidIdError unless it has exactly one URI (X509-SVID, section 2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise spiffe.InvalidIdError("a certificate without a SPIFFE id") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise spiffe.InvalidIdError(f"a certificate has exactly one URI name, this one {len(uris)}")
    return spiffe.parse(uris[0])


def pod_of(certificate: x509.Certificate) -> str:
    """The uid of the pod that the certificate is bound to; "" for none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    bound = (name for name in names.get_values_for_type(x509.DNSName) if name.endswith(POD_SUFFIX))
    return next(bound, "").removesuffix(POD_SUFFIX)


def has_metrics_name(certificate: x509.Certificate) -> bool:
    """Whether it can serve metrics: the authority of an older version makes agents' without that name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return METRICS_NAME in names.get_values_for_type(x509.DNSName)


def renew_at(certificate: x509.Certificate) -> datetime.datetime:
    """Half-life: the middle between when the certificate was made and when it ends, in UTC."""
    made = certificate.not_valid_before_utc + BACKDATE
    return made + (certificate.not_valid_after_utc - made) / 2


def key_id(authority: x509.Certificate) -> bytes:
    """What certificates call the key of the authority that signed them. Its own word for it counts, if it has one:
    where the two differ, nobody finds the way from one to the other (RFC 5280, section 4.2.1.1)."""
    try:
        found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        found = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    return found.digest


def issuer_of(chain: Sequence[x509.Certificate]) -> str:
    """A name for who signed the first of the chain: other signers, or another way to the root, another name."""
    leaf = chain[0]
    try:
        key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        key = None
    return issuer_name(leaf.issuer, key or b"", chain[1:])


def issuer_name(subject: x509.Name, key: bytes, above: Sequence[x509.Certificate]) -> str:
    """As `issuer_of`, of certificates that this subject signs with a key of that id."""
    parts = (subject.public_bytes(), key, *(one.public_bytes(serialization.Encoding.DER) for one in above))
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
