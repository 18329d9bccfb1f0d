"""A user's own authority, as files: what proxies would refuse is refused before anything starts, and said."""

import datetime
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from retic.identity import authority, certificate, chains, clock, ownfiles, pairs, spiffe
from retic.testing import authorities

NOW = datetime.datetime.now(datetime.UTC)
DOMAIN = "shop.example"
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName
ROOT = authorities.root("root")


@pytest.fixture
def give(tmp_path):
    """Writes the files, and reads them as the mesh does."""

    def write(held, *, roots=ROOT, key=None, domain=DOMAIN):
        texts = {
            "cert.pem": held if isinstance(held, bytes) else held.chain,
            "key.pem": held.key_pem if key is None else key,
            "root.pem": b"" if roots is None else roots if isinstance(roots, bytes) else roots.pem,
        }
        for name, text in texts.items():
            (tmp_path / name).touch(mode=0o600)
            (tmp_path / name).write_bytes(text)
        root = "" if roots is None else str(tmp_path / "root.pem")
        files = ownfiles.Files(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), root)
        return files.read(NOW, domain)

    return write


def limits(*permitted, without=()):
    return [(x509.NameConstraints(list(permitted) or None, list(without) or None), True)]


def usage(**allowed):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def changed(held, extension):
    """An authority made anew with another extension of that kind."""
    key, above = held.key, ROOT
    kept = [e for e in held.certificate.extensions if not isinstance(e.value, type(extension))]
    builder = (
        x509.CertificateBuilder().subject_name(held.certificate.subject).issuer_name(above.certificate.subject)
        .public_key(key.public_key()).serial_number(7)
        .not_valid_before(held.certificate.not_valid_before_utc).not_valid_after(held.certificate.not_valid_after_utc)
    )  # fmt: skip
    for each in kept:
        builder = builder.add_extension(each.value, critical=each.critical)
    made = builder.add_extension(extension, critical=True).sign(above.key, hashes.SHA256())
    return authorities.Held(made, key)


def unknown(critical):
    return [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical)]


USES = x509.ExtendedKeyUsageOID
BOTH, CLIENTS = x509.ExtendedKeyUsage([USES.CLIENT_AUTH, USES.SERVER_AUTH]), x509.ExtendedKeyUsage([USES.CLIENT_AUTH])
GOOD = {
    "an intermediate": lambda: ROOT.below("shop"),
    "two intermediates": lambda: ROOT.below("company").below("shop"),
    "as deep as it may be": lambda: ROOT.below("company", path_length=1).below("shop", path_length=0),
    "P-384": lambda: ROOT.below("shop", key=ec.generate_private_key(ec.SECP384R1())),
    "names that are permitted": lambda: ROOT.below(
        "shop", extensions=limits(URI(DOMAIN), DNS("retic.internal"), without=[URI("evil.example")])
    ),
    "no names but those that there must be": lambda: ROOT.below(
        "shop", extensions=limits(URI(DOMAIN), DNS("control.retic.internal"), DNS("pod.retic.internal"))
    ),
    "names below what is permitted": lambda: ROOT.below("shop", extensions=limits(URI(".example"))),
    "an unknown extension that nobody need know": lambda: ROOT.below("shop", extensions=unknown(critical=False)),
    "both uses": lambda: ROOT.below("shop", extensions=[(BOTH, False)]),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_signs(give, name):
    held = GOOD[name]()
    pair = give(held)
    signer = pair.authority(DOMAIN, pair.roots, authority.DAY, clock.System())
    for identity in (spiffe.Workload(DOMAIN, "shop", "cart"), spiffe.Node(DOMAIN, "node-1")):
        request = certificate.request(certificate.new_key(), identity)
        chain = x509.load_pem_x509_certificates(signer.sign(request, identity, pod="u-1"))
        assert chain[1:] == [held.certificate, *held.above]
        chain[0].verify_directly_issued_by(held.certificate)
        assert certificate.issuer_of(chain) == signer.issuer
        assert certificate.pod_of(chain[0]) == "u-1"
        named = isinstance(identity, spiffe.Node) and name != "no names but those that there must be"
        assert certificate.has_metrics_name(chain[0]) == named


def test_a_root_of_ones_own_needs_no_other_file(give):
    assert give(ROOT, roots=None).roots == ROOT.pem
    held = ROOT.below("shop")
    assert give(held.chain + ROOT.pem, key=held.key_pem, roots=None).roots == ROOT.pem


def test_what_is_signed_names_the_signers_key_as_the_signer_does():
    """Where the two differ, no verifier finds the way (RFC 5280, section 4.2.1.1)."""
    own_name = x509.SubjectKeyIdentifier(b"\x01" * 20)
    held = changed(ROOT.below("shop"), own_name)
    signer = pairs.Pair(held.chain, held.key_pem, ROOT.pem).authority(DOMAIN, ROOT.pem, authority.DAY, clock.System())
    identity = spiffe.Workload(DOMAIN, "shop", "cart")
    leaf = x509.load_pem_x509_certificate(signer.sign(certificate.request(certificate.new_key(), identity), identity))
    found = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert found.key_identifier == own_name.digest


BAD = {
    "no authority": (lambda: changed(ROOT.below("shop"), x509.BasicConstraints(ca=False, path_length=None)),
                     "cert.pem is no certificate authority's: make it with basicConstraints=critical,CA:TRUE"),
    "may not sign": (lambda: changed(ROOT.below("shop"), usage(digital_signature=True)),
                     "cert.pem may not sign certificates: make it with keyUsage=critical,keyCertSign,cRLSign"),
    "for clients only": (lambda: ROOT.below("shop", extensions=[(CLIENTS, False)]),
                         "may not sign for both clients and servers: leave extendedKeyUsage out"),
    "too deep": (lambda: ROOT.below("company", path_length=0).below("shop"),
                 "certificate 2 of {}cert.pem allows 0 authorities below it, not 1: make it with pathlen:1"),
    "too many": (lambda: deep(9), "has 9 certificates below its root, more than 8"),
    "ended": (lambda: ROOT.below("shop", begin=-7200, end=-3600), "UTC, not now: renew it"),
    "not begun": (lambda: ROOT.below("shop", begin=3600), "UTC, not now: renew it"),
    "ended further up": (lambda: ROOT.below("company", begin=-7200, end=-3600).below("shop"),
                         "certificate 2 of {}cert.pem holds from"),
    "short RSA": (lambda: ROOT.below("shop", key=rsa.generate_private_key(65537, 1024)),
                  "key.pem: the authority's key must be ECDSA on P-256 or P-384, or RSA with at least 2048 bits"),
    "a curve that Envoy does not take": (lambda: ROOT.below("shop", key=ec.generate_private_key(ec.SECP521R1())),
                                         "must be ECDSA on P-256 or P-384"),
    "a curve further up": (lambda: ROOT.below("company", key=ec.generate_private_key(ec.SECP521R1())).below("shop"),
                           "certificate 2 of {}cert.pem has a key on secp521r1, which proxies do not take"),
    "an unknown critical extension": (lambda: ROOT.below("shop", extensions=unknown(critical=True)),
                                      "has the critical extension 1.2.3.4, which proxies do not know"),
    "another domain permitted": (lambda: ROOT.below("shop", extensions=limits(URI("other.example"))),
                                 "permit other.example and so forbid spiffe://shop.example: permit it too"),
    "only those below permitted": (lambda: ROOT.below("shop", extensions=limits(URI(".shop.example"))),
                                   "forbid spiffe://shop.example"),
    "the domain forbidden": (lambda: ROOT.below("shop", extensions=limits(without=[URI(".example")])),
                             "the name constraints of certificate 1 of {}cert.pem forbid spiffe://shop.example"),
    "our names forbidden": (lambda: ROOT.below("shop", extensions=limits(DNS("shop.example"))),
                            "so forbid the DNS name control.retic.internal: permit it too"),
    "another root": (lambda: authorities.root("another").below("shop"),
                     "root.pem does not hold the root that {}cert.pem leads to: add it"),
}  # fmt: skip


def deep(count):
    held = ROOT
    for number in range(count):
        held = held.below(f"authority {number}")
    return held


@pytest.mark.parametrize("name", BAD)
def test_what_no_proxy_would_take_is_refused_with_words(give, tmp_path, name):
    make, words = BAD[name]
    with pytest.raises(chains.FaultyError) as raised:
        give(make())
    assert words.format(f"{tmp_path}/") in str(raised.value)
    assert "PRIVATE" not in str(raised.value)


def test_parts_that_do_not_belong_together(give):
    held, other = ROOT.below("shop"), ROOT.below("other")
    above = ROOT.below("company")
    below = above.below("shop")
    locked = held.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    tries = {
        "key.pem does not belong to the first certificate of": {"held": held, "key": other.key_pem},
        "key.pem: the authority's key cannot be read: give one in PEM, not encrypted": {"held": held, "key": locked},
        "did not issue certificate 1: write the signer's own certificate first": {
            "held": held.pem + other.pem, "key": held.key_pem,
        },
        "cert.pem holds no certificates in PEM": {"held": b"nonsense", "key": held.key_pem},
        "root.pem holds no certificates in PEM": {"held": held, "roots": b"nonsense"},
        "(--ca-root) is missing: put the root there": {"held": below, "roots": None},
    }  # fmt: skip
    for words, options in tries.items():
        with pytest.raises(chains.FaultyError) as raised:
            give(**options)
        assert words in str(raised.value)


def test_every_root_in_the_file_counts(give):
    ended = authorities.root("ended", begin=-7200, end=-3600)
    with pytest.raises(chains.FaultyError, match=r"certificate 2 of .*root\.pem holds from"):
        give(ROOT.below("shop"), roots=ROOT.pem + ended.pem)


def test_an_ed25519_root_is_refused(give):
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ed")])
    root = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(hours=1)).not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )  # fmt: skip
    with pytest.raises(chains.FaultyError, match="has a key of another kind, which proxies do not take"):
        give(ROOT.below("shop"), roots=ROOT.pem + root.public_bytes(serialization.Encoding.PEM))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    file = tmp_path / "key.pem"
    file.write_bytes(ROOT.key_pem)
    file.chmod(mode)
    with pytest.raises(chains.FaultyError, match=rf"is open to others \(mode {mode:04o}\): chmod 600 {file}"):
        ownfiles.content(str(file), private=True)
    file.chmod(0o400)
    assert ownfiles.content(str(file), private=True) == ROOT.key_pem


def test_files_that_are_none(tmp_path):
    with pytest.raises(chains.FaultyError, match="no such file or directory: give a file in PEM"):
        ownfiles.content(str(tmp_path / "nothing"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(chains.FaultyError, match=r"(is a directory: give a file|is not a file: write it to one)"):
            ownfiles.content(str(path), private=True)
    (tmp_path / "long").touch()
    os.truncate(tmp_path / "long", ownfiles.LONGEST + 1)
    with pytest.raises(chains.FaultyError, match="more than 1048576 bytes"):
        ownfiles.content(str(tmp_path / "long"))
