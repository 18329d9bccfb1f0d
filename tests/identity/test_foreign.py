"""Other authorities' roots: what can be accepted, and that what is trusted in their stead holds them to their name.

That Envoy goes by it is shown in tests/e2e/test_own_authority.py.
"""

import datetime

import pytest
from cryptography import x509

from retic.identity import chains, foreign
from retic.testing import authorities

NOW = datetime.datetime.now(datetime.UTC)
OURS, PARTNER = "shop.example", "partner.example"
OWN = authorities.root("own")


def check(name, root, now=NOW):
    foreign.check(name, root, now, called="partner.pem", own=OURS, own_roots=[OWN.certificate])


def test_a_partner_may_be_accepted():
    check(PARTNER, authorities.root("partner").pem)


@pytest.mark.parametrize(("name", "root", "words"), [
    (OURS, authorities.root("partner").pem, "is the mesh's own trust domain"),
    (".example", authorities.root("partner").pem, "begins with a dot"),
    ("Partner", authorities.root("partner").pem, "is not a trust domain"),
    ("a/b", authorities.root("partner").pem, "is not a trust domain"),
    ("", authorities.root("partner").pem, "is not a trust domain"),
    (PARTNER, OWN.pem, "is the mesh's own root: accept partner.example with --trust-domain-alias partner.example"),
    (PARTNER, OWN.leaf("spiffe://partner.example/x").pem, "is no certificate authority's"),
    (PARTNER, authorities.root("partner", begin=-7200, end=-60).pem, "not now: renew it"),
    (PARTNER, b"nonsense", "partner.pem holds no certificates in PEM"),
    (PARTNER, authorities.root("partner", extensions=[
        (x509.NameConstraints([x509.UniformResourceIdentifier("other.example")], None), True)
    ]).pem, "so forbid spiffe://partner.example"),
])  # fmt: skip
def test_who_may_not_is_told_why(name, root, words):
    with pytest.raises(chains.FaultyError) as raised:
        check(name, root)
    assert words in str(raised.value)


def test_what_is_trusted_has_the_partners_key_and_only_its_name():
    excluded = x509.UniformResourceIdentifier("test.partner.example")
    own_limits = x509.NameConstraints([x509.DirectoryName(x509.Name([]))], [excluded])
    root = authorities.root("partner", path_length=1, extensions=[(own_limits, True)])
    anchor, below = x509.load_pem_x509_certificates(foreign.confined(PARTNER, root.pem))
    below.verify_directly_issued_by(anchor)
    anchor.verify_directly_issued_by(anchor)
    assert below.public_key() == root.key.public_key()
    assert anchor.public_key() != below.public_key()
    found = below.extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical
    assert [one.value for one in found.value.permitted_subtrees if isinstance(one, x509.UniformResourceIdentifier)] == [
        PARTNER
    ]
    assert x509.DNSName("") in found.value.excluded_subtrees
    assert excluded in found.value.excluded_subtrees, "what the root forbids itself stays forbidden"
    assert below.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 1
    assert (below.subject, below.serial_number) == (root.certificate.subject, root.certificate.serial_number)
    again = x509.load_pem_x509_certificates(foreign.confined(PARTNER, root.pem))
    assert again[0].public_key() != anchor.public_key(), "nobody has kept the anchor's key"
