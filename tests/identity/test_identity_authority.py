"""What a certificate looks like, and which signing requests are refused."""

import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from retic.identity import authority, certificate, spiffe
from retic.testing import clock

SHOP = spiffe.Workload("cluster.local", "shop", "cart")
OTHER = spiffe.Workload("cluster.local", "shop", "admin")
PEM = serialization.Encoding.PEM


@pytest.fixture
def time():
    return clock.Fake()


@pytest.fixture
def signer(tmp_path, time):
    return authority.open_own(tmp_path / "ca", "cluster.local", time=time)


def csr(key, names=(str(SHOP),), *, subject=(), extra=None, algorithm=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(list(subject)))
    if names:
        general = [n if isinstance(n, x509.GeneralName) else x509.UniformResourceIdentifier(n) for n in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(key, algorithm).public_bytes(PEM)


def p256(**fields):
    return csr(certificate.new_key(), algorithm=hashes.SHA256(), **fields)


def test_a_leaf_is_what_the_mesh_needs(signer, time):
    key = certificate.new_key()
    leaf = x509.load_pem_x509_certificate(signer.sign(certificate.request(key, SHOP), SHOP))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier(str(SHOP))]
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert list(leaf.subject) == []
    assert leaf.public_key() == key.public_key()
    assert leaf.not_valid_before_utc == time.now() - datetime.timedelta(minutes=5)
    assert leaf.not_valid_after_utc == time.now() + datetime.timedelta(days=1)
    assert certificate.renew_at(leaf) == time.now() + datetime.timedelta(hours=12)
    assert certificate.identity_of(leaf) == SHOP
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(signer.bundle()))


def test_the_lifetime_is_an_option_with_a_bound(tmp_path, time):
    minute = datetime.timedelta(minutes=1)
    signer = authority.open_own(tmp_path, "cluster.local", lifetime=minute, time=time)
    leaf = x509.load_pem_x509_certificate(signer.sign(certificate.request(certificate.new_key(), SHOP), SHOP))
    assert leaf.not_valid_after_utc == time.now() + minute
    assert certificate.renew_at(leaf) == time.now() + minute / 2
    with pytest.raises(ValueError, match="at least 30 s"):
        authority.open_own(tmp_path, "cluster.local", lifetime=datetime.timedelta(seconds=1))


@pytest.mark.parametrize(
    ("request_pem", "reason"),
    [
        (b"nonsense", "cannot be read"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"),
        (p256(names=()), "one alternative name"),
        (p256(names=(str(OTHER),)), "must name"),
        (p256(names=(str(SHOP), str(OTHER))), "must name"),
        (p256(names=(str(SHOP), x509.DNSName("control.retic.internal"))), "must name"),
        (p256(names=(x509.DNSName(str(SHOP)),)), "must name"),
        (p256(subject=(x509.NameAttribute(NameOID.COMMON_NAME, "admin"),)), "subject"),
        (p256(extra=x509.BasicConstraints(ca=True, path_length=None)), "nothing else"),
        (csr(rsa.generate_private_key(65537, 1024), algorithm=hashes.SHA256()), "1024 bits"),
        (csr(ec.generate_private_key(ec.SECP192R1()), algorithm=hashes.SHA256()), "secp192r1"),
        (csr(ed25519.Ed25519PrivateKey.generate()), "of this kind"),
    ],
)
def test_requests_refused(signer, request_pem, reason):
    with pytest.raises(authority.RefusedRequestError, match=reason):
        signer.sign(request_pem, SHOP)


def test_a_tampered_request_is_refused(signer):
    """Another name written into a signed request, length kept: only the signature tells."""
    mine = spiffe.Workload("cluster.local", "shop", "cert")
    der = x509.load_pem_x509_csr(certificate.request(certificate.new_key(), mine)).public_bytes(
        serialization.Encoding.DER
    )
    changed = x509.load_der_x509_csr(der.replace(b"sa/cert", b"sa/cart")).public_bytes(PEM)
    with pytest.raises(authority.RefusedRequestError, match="signature"):
        signer.sign(changed, SHOP)


def test_another_trust_domain_is_refused(signer):
    elsewhere = spiffe.Workload("other.example", "shop", "cart")
    with pytest.raises(authority.RefusedRequestError, match="trust domain"):
        signer.sign(certificate.request(certificate.new_key(), elsewhere), elsewhere)


def test_the_root_is_kept_and_private(tmp_path):
    first = authority.open_own(tmp_path / "ca", "cluster.local")
    again = authority.open_own(tmp_path / "ca", "cluster.local")
    assert first.bundle() == again.bundle()
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ca").iterdir()} == {0o600}


def test_a_second_root_is_trusted_beside_the_first(tmp_path):
    other = authority.open_own(tmp_path / "b", "cluster.local").bundle()
    authority.open_own(tmp_path / "a", "cluster.local")
    file = tmp_path / "a" / "root.pem"
    file.write_bytes(file.read_bytes() + other)
    bundle = authority.open_own(tmp_path / "a", "cluster.local").bundle()
    assert len(x509.load_pem_x509_certificates(bundle)) == 2
    assert bundle.endswith(other)


def test_a_key_that_is_not_the_roots_is_refused(tmp_path):
    authority.open_own(tmp_path / "a", "cluster.local")
    authority.open_own(tmp_path / "b", "cluster.local")
    (tmp_path / "b" / "root.key").replace(tmp_path / "a" / "root.key")
    with pytest.raises(ValueError, match="does not belong"):
        authority.open_own(tmp_path / "a", "cluster.local")


def test_an_intermediate_sends_its_chain(tmp_path, time):
    """The root's pathLen is 0 for our own root, so the test makes a root of its own that allows one below."""
    root_key, key = certificate.new_key(), certificate.new_key()
    root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "company")])
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mesh")])

    def ca(subject, public, path_length):
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(root_name).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(time.now()).not_valid_after(time.now() + datetime.timedelta(hours=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .sign(root_key, hashes.SHA256())
        )  # fmt: skip

    root, middle = ca(root_name, root_key.public_key(), 1), ca(name, key.public_key(), 0)
    (tmp_path / "key").write_bytes(certificate.key_pem(key))
    (tmp_path / "chain").write_bytes(middle.public_bytes(PEM))
    (tmp_path / "roots").write_bytes(root.public_bytes(PEM))
    signer = authority.open_intermediate(
        tmp_path / "key", tmp_path / "chain", tmp_path / "roots", "cluster.local", time=time
    )
    chain = x509.load_pem_x509_certificates(
        signer.sign(certificate.request(certificate.new_key(), SHOP), SHOP)
    )
    assert chain[1:] == [middle]
    chain[0].verify_directly_issued_by(middle)
    assert chain[0].not_valid_after_utc == middle.not_valid_after_utc, "no leaf outlives its issuer"
    assert signer.bundle() == root.public_bytes(PEM)


def test_no_secret_in_a_repr(signer):
    assert repr(signer) == "<Authority of cluster.local>"
