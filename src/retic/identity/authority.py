"""The certificate authority: signs leaf certificates for SPIFFE ids, with its own root or an intermediate.

It decides what a certificate looks like, never who may have one: that is `attest`. What a request
asks for beyond its one name is refused, not ignored, so that nobody believes to have got it.
"""

import datetime
import os
import pathlib
from collections.abc import Sequence
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from retic.identity import certificate, clock, constraints, spiffe

DAY = datetime.timedelta(days=1)
ROOT_LIFETIME = datetime.timedelta(days=3650)
MIN_LIFETIME = datetime.timedelta(seconds=30)
_PEM = serialization.Encoding.PEM
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# A request for a key on P-384 or of RSA with 4096 bits has less than 2 KiB of PEM.
LONGEST_REQUEST = 8 * 1024
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class RefusedRequestError(ValueError):
    """A signing request that is not signed. The message says why, and holds no secret."""


class StaleError(RuntimeError):
    """Nothing can be signed at the moment; it is not the request's fault."""


class Authority:
    """Signs with one key. `chain` leads from the signer to (not including) a root; `roots` are trusted.

    The signer is the first of the chain, or without a chain the first of the roots, unless given. ValueError when
    the key is not the signer's.
    """

    def __init__(
        self,
        trust_domain: str,
        key: Key,
        chain: Sequence[x509.Certificate],
        roots: Sequence[x509.Certificate],
        *,
        signer: x509.Certificate | None = None,
        lifetime: datetime.timedelta = DAY,
        time: clock.Clock | None = None,
    ) -> None:
        if lifetime < MIN_LIFETIME:
            raise ValueError(f"certificates live for at least {MIN_LIFETIME.seconds} s, not {lifetime}")
        self.trust_domain = spiffe.check_trust_domain(trust_domain)
        self.lifetime = lifetime
        self._key = key
        self._signer = signer or (chain[0] if chain else roots[0])
        self._chain = tuple(chain)
        self._roots = tuple(roots)
        self._time = time or clock.System()
        if self._signer.public_key() != key.public_key():
            raise ValueError("the authority's key does not belong to its certificate: give the pair")
        above = (self._signer, *self._chain, *self._roots)
        self._names_metrics = all(constraints.permit(one, certificate.METRICS_NAME) for one in above)
        self._key_id = certificate.key_id(self._signer)

    def __repr__(self) -> str:
        return f"<Authority of {self.trust_domain}>"

    @property
    def issuer(self) -> str:
        """What `certificate.issuer_of` says of all that is signed here."""
        return certificate.issuer_name(self._signer.subject, self._key_id, self._chain)

    @property
    def time(self) -> clock.Clock:
        """The clock that certificates are dated with."""
        return self._time

    def bundle(self) -> bytes:
        """The roots that everybody in the trust domain trusts, as PEM, one after the other."""
        return b"".join(root.public_bytes(_PEM) for root in self._roots)

    def sign(self, request_pem: bytes, identity: spiffe.Id, *, pod: str = "") -> bytes:
        """A certificate chain (PEM, leaf first) for the identity and the request's key, bound to a pod's uid; an
        agent's has `certificate.METRICS_NAME` too, unless name constraints forbid it.

        RefusedRequestError when the request is damaged, its key weak, or it names anything else.
        """
        key = _check(request_pem, identity)
        dns = [certificate.pod_name(pod)] if pod else []
        if isinstance(identity, spiffe.Node | spiffe.Gateway):
            dns.append(certificate.METRICS_NAME)
        return self.issue(key, identity, dns=dns)

    def issue(
        self,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        identity: spiffe.Id,
        *,
        dns: Sequence[str] = (),
    ) -> bytes:
        """A certificate chain (PEM, leaf first) for a key that is known to be its holder's.

        `dns` is for the control plane's own certificate, since gRPC compares host names and not URIs, and for
        the pods that agents' are bound to.
        """
        if identity.trust_domain != self.trust_domain:
            raise RefusedRequestError(f"{identity} is not of the trust domain {self.trust_domain}")
        now = self._time.now().replace(microsecond=0)
        end = min(now + self.lifetime, self._signer.not_valid_after_utc)
        if end <= now:
            raise RefusedRequestError("the authority's own certificate has ended: give it a new one")
        if not self._names_metrics:  # an authority that may sign few names signed agents' before there was this one
            dns = [name for name in dns if name != certificate.METRICS_NAME]
        names = [x509.UniformResourceIdentifier(str(identity)), *(x509.DNSName(name) for name in dns)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._signer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - certificate.BACKDATE)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier(self._key_id, None, None), critical=False)
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        return b"".join(each.public_bytes(_PEM) for each in (leaf, *self._chain))


def ca_usage() -> x509.KeyUsage:
    """What an authority's key may be used for."""
    return _key_usage(signs_certificates=True)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )


def _check(request_pem: bytes, identity: spiffe.Id) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The request's key, once everything about the request is as it must be."""
    if len(request_pem) > LONGEST_REQUEST:
        raise RefusedRequestError(f"a signing request has at most {LONGEST_REQUEST} bytes, not {len(request_pem)}")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        valid = request.is_signature_valid
        extensions = list(request.extensions)
        subject = list(request.subject)
        algorithm = request.signature_hash_algorithm
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension, TypeError) as error:
        raise RefusedRequestError("the signing request cannot be read: send PKCS 10 as PEM") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            raise RefusedRequestError(f"a key on {key.curve.name} is refused: make one on P-256 or P-384")
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise RefusedRequestError(f"RSA with {key.key_size} bits is too weak: make an ECDSA P-256 key")
    else:
        raise RefusedRequestError("a key of this kind is refused: make an ECDSA P-256 key")
    if not valid:
        raise RefusedRequestError("the signing request's signature is not its key's: the request was changed")
    if not isinstance(algorithm, _HASHES):
        raise RefusedRequestError("the signing request is signed with a weak hash: use SHA-256")
    if subject:
        raise RefusedRequestError("the signing request has a subject: leave it empty")
    names = [each.value for each in extensions if isinstance(each.value, x509.SubjectAlternativeName)]
    if len(names) != len(extensions) or len(names) != 1:
        raise RefusedRequestError("the signing request must ask for one alternative name, and nothing else")
    if list(names[0]) != [x509.UniformResourceIdentifier(str(identity))]:
        raise RefusedRequestError(f"the signing request must name {identity}, and nothing else")
    return key


def open_own(
    folder: pathlib.Path,
    trust_domain: str,
    *,
    lifetime: datetime.timedelta = DAY,
    time: clock.Clock | None = None,
) -> Authority:
    """The authority with its own root in `folder` (root.key, root.pem; 0600 in 0700), made when not there.

    Certificates after the first in root.pem are trusted beside it: that is how a root is rotated.
    ValueError when the two files do not belong together.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file, root_file = folder / "root.key", folder / "root.pem"
    if not key_file.exists():
        write_private(key_file, certificate.key_pem(certificate.new_key()))
    key = _load_key(key_file)
    if not root_file.exists():
        now = (time or clock.System()).now()
        write_private(root_file, self_signed(trust_domain, key, now).public_bytes(_PEM))
    roots = x509.load_pem_x509_certificates(root_file.read_bytes())
    return Authority(trust_domain, key, (), roots, lifetime=lifetime, time=time)


def open_intermediate(
    key_file: pathlib.Path,
    chain_file: pathlib.Path,
    roots_file: pathlib.Path,
    trust_domain: str,
    *,
    lifetime: datetime.timedelta = DAY,
    time: clock.Clock | None = None,
) -> Authority:
    """The authority with an intermediate: its key, its chain (own certificate first, no root), the roots."""
    chain = x509.load_pem_x509_certificates(chain_file.read_bytes())
    roots = x509.load_pem_x509_certificates(roots_file.read_bytes())
    return Authority(trust_domain, _load_key(key_file), chain, roots, lifetime=lifetime, time=time)


def self_signed(
    trust_domain: str, key: Key, now: datetime.datetime
) -> x509.Certificate:
    """A root for the trust domain, which stands in it as its URI (X509-SVID, section 3.1)."""
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64])
    serial = x509.random_serial_number()
    name = x509.Name([organization, x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"[:16])])
    uri = x509.UniformResourceIdentifier(spiffe.SCHEME + trust_domain)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(serial)
        .not_valid_before(now - certificate.BACKDATE).not_valid_after(now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def write_private(file: pathlib.Path, data: bytes) -> None:
    """Write a file of mode 0600 so that it is there whole or not at all, also after a crash."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)


def load_key(pem: bytes) -> Key:
    """An authority's private key. ValueError when it is none, encrypted, or of a kind that proxies do not verify."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # What cryptography says may quote the text, and the text is a key.
        raise ValueError("the authority's key cannot be read: give one in PEM, not encrypted") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ValueError("the authority's key must be ECDSA on P-256 or P-384, or RSA with at least 2048 bits")


def _load_key(file: pathlib.Path) -> Key:
    try:
        return load_key(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
