"""Another authority's roots, bound to its own trust domain before any proxy sees them.

Envoy's SPIFFE validator chooses a bundle by a certificate's first URI, and policies compare all its URIs and DNS
names: an authority that is trusted as it is could sign names of ours beside its own. So proxies trust, in its stead,
a certificate for its key with name constraints (RFC 5280, section 4.2.1.10), which TLS itself enforces.
"""

import datetime
from collections.abc import Collection

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from retic.identity import certificate, chains, spiffe
from retic.identity.authority import ca_usage
from retic.identity.chains import FaultyError

_PEM = serialization.Encoding.PEM


def check(
    name: str, roots: bytes, now: datetime.datetime, *, called: str, own: str, own_roots: Collection[x509.Certificate]
) -> None:
    """FaultyError unless these roots (PEM, of the file `called`) can be those of that trust domain, beside `own`."""
    check_name(name, own)
    keys = [one.public_key() for one in own_roots]
    for number, one in enumerate(chains.read(roots, called), 1):
        where = f"certificate {number} of {called}"
        chains.check_one(one, where, now, name)
        if one.public_key() in keys:
            raise FaultyError(f"{where} is the mesh's own root: accept {name} with --trust-domain-alias {name}")


def check_name(name: str, own: str) -> None:
    """FaultyError unless a trust domain of that name can be accepted beside `own`."""
    try:
        spiffe.check_trust_domain(name)
    except spiffe.InvalidIdError as error:
        raise FaultyError(str(error)) from None
    if name.startswith("."):
        raise FaultyError(f"the trust domain {name} begins with a dot, which constraints take for all below it")
    if name == own:
        raise FaultyError(f"{name} is the mesh's own trust domain: only its own authority signs for that")


def confined(name: str, roots: bytes) -> bytes:
    """Certificates (PEM) to trust instead of `roots`: what they sign counts for `name` only, and as a SPIFFE id only.

    Each root gets an anchor, whose key is thrown away, and its own key's certificate below that. ValueError when
    `roots` cannot be read.
    """
    return b"".join(
        made.public_bytes(_PEM)
        for root in x509.load_pem_x509_certificates(roots)
        for made in _confined(name, root)
    )


def _confined(name: str, root: x509.Certificate) -> tuple[x509.Certificate, x509.Certificate]:
    key = certificate.new_key()
    # Of the root's own name, so that certificates which name their issuer's issuer and number find it too.
    anchor = (
        _ca(root, key_id=x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest, length=None)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
    )  # fmt: skip
    basic = _extension_length(root)
    below = (
        _ca(root, key_id=certificate.key_id(root), length=basic)
        .public_key(root.public_key()).serial_number(root.serial_number)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(_limits(name, root), critical=True)
    )  # fmt: skip
    return anchor.sign(key, hashes.SHA256()), below.sign(key, hashes.SHA256())


def _ca(root: x509.Certificate, *, key_id: bytes, length: int | None) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(root.subject).issuer_name(root.subject)
        .not_valid_before(root.not_valid_before_utc).not_valid_after(root.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
        .add_extension(ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(key_id), critical=False)
    )  # fmt: skip


def _extension_length(root: x509.Certificate) -> int | None:
    try:
        return root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except x509.ExtensionNotFound:
        return None


def _limits(name: str, root: x509.Certificate) -> x509.NameConstraints:
    """Ours, and those that the root has itself."""
    permitted: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name)]
    excluded: list[x509.GeneralName] = [x509.DNSName("")]
    try:
        own = root.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return x509.NameConstraints(permitted, excluded)
    permitted += [one for one in own.permitted_subtrees or () if not isinstance(one, x509.UniformResourceIdentifier)]
    excluded += own.excluded_subtrees or ()
    return x509.NameConstraints(permitted, excluded)
