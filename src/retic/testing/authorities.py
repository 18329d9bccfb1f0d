"""Certificate authorities as users and attackers make them: roots, intermediates and certificates of any sort.

Nothing is checked here: what is wrong is what a test wants to be wrong.
"""

import datetime
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from retic.identity import certificate

_PEM = serialization.Encoding.PEM


class Held(msgspec.Struct, frozen=True):
    """A certificate, its private key, and what leads from it towards a root (the root not included)."""

    certificate: x509.Certificate
    key: Any
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(_PEM)

    @property
    def chain(self) -> bytes:
        """The certificate and those above it."""
        return b"".join(one.public_bytes(_PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS 8."""
        return certificate.key_pem(self.key)

    def files(self, folder: pathlib.Path) -> tuple[str, str]:
        """Paths of new files with the key and the chain."""
        name = uuid.uuid4().hex
        paths = folder / f"{name}.key", folder / f"{name}.pem"
        paths[0].touch(mode=0o600)
        paths[0].write_bytes(self.key_pem)
        paths[1].write_bytes(self.chain)
        return str(paths[0]), str(paths[1])

    def below(
        self, name: str, *uris: str, extensions: Sequence[tuple[x509.ExtensionType, bool]] = (), **more: Any
    ) -> "Held":
        """An authority that this one has made; `uris` are its names. More: as for `leaf`."""
        return self._make(name, uris, ca=True, extensions=extensions, **more)

    def leaf(self, *uris: str, dns: Sequence[str] = (), **more: Any) -> "Held":
        """A certificate with these names.

        `begin` and `end` are seconds from now. `full_key_id`: it names its issuer's issuer and number too.
        """
        return self._make("", uris, dns=dns, ca=False, **more)

    def _make(
        self, name: str, uris: Sequence[str], *, ca: bool, dns: Sequence[str] = (), begin: float = -3600,
        end: float = 86400, full_key_id: bool = False, key: Any = None, path_length: int | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> "Held":  # fmt: skip
        own = key or certificate.new_key()
        above = self.certificate
        builder = _begun(name, own, begin, end, ca=ca, path_length=path_length).issuer_name(above.subject)
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not name)
        full = ([x509.DirectoryName(above.issuer)], above.serial_number) if full_key_id else (None, None)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier(certificate.key_id(above), *full), critical=False
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        is_root = above.subject == above.issuer
        return Held(builder.sign(self.key, hashes.SHA256()), own, () if is_root else (above, *self.above))


def root(
    name: str, *, key: Any = None, begin: float = -3600, end: float = 86400 * 30, path_length: int | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Held:  # fmt: skip
    """A new self-signed authority."""
    own = key or certificate.new_key()
    builder = _begun(name, own, begin, end, ca=True, path_length=path_length)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Held(builder.issuer_name(_named(name)).sign(own, hashes.SHA256()), own)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])


def _begun(
    name: str, key: Any, begin: float, end: float, *, ca: bool, path_length: int | None
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    usage = x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder().subject_name(_named(name)).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(seconds=begin))
        .not_valid_after(now + datetime.timedelta(seconds=end))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )  # fmt: skip
    if ca:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder
