"""Whom an Envoy trusts: each trust domain is bound to those who sign for it, servers' apart from callers'."""

import pytest
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic.identity import current
from retic.node import keys, secrets, trust
from retic.testing import authorities, clock

OWN, PARTNER = authorities.root("own"), authorities.root("partner")
DOMAINS = (current.Domain("old.example"), current.Domain("partner.example", PARTNER.pem.decode()))


@pytest.fixture
def told(tmp_path):
    (tmp_path / "root.pem").write_bytes(OWN.pem)
    return trust.Trust(tmp_path / "root.pem", tmp_path / "bundle.pem")


@pytest.fixture
def answering(told, tmp_path):
    async def nobody(_identity, _request):
        raise OSError

    held = keys.Keys(tmp_path / "keys", nobody, time=clock.Fake())
    return secrets.Secrets(held, None, told, "shop.example")


def bundles(answering, name):
    """By trust domain, the certificates that are trusted."""
    held = answering.answer(name)
    resource = discovery_pb2.Resource.FromString(held.resource)
    secret = secret_pb2.Secret()
    resource.resource.Unpack(secret)
    validator = secret.validation_context.custom_validator_config
    assert validator.name == "envoy.tls.cert_validator.spiffe"
    found = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
    validator.typed_config.Unpack(found)
    return {
        each.name: x509.load_pem_x509_certificates(each.trust_bundle.inline_bytes) for each in found.trust_domains
    }


def test_the_own_domain_alone(answering):
    for name in secrets.ROOTS:
        assert bundles(answering, name) == {"shop.example": [OWN.certificate]}


def test_aliases_have_our_roots_and_partners_theirs_in_bounds(answering, told):
    told.learn(OWN.pem, 1, DOMAINS)
    servers, callers = (bundles(answering, name) for name in secrets.ROOTS)
    assert servers == {"shop.example": [OWN.certificate], "old.example": [OWN.certificate]}
    theirs = callers.pop("partner.example")
    assert callers == servers
    assert PARTNER.certificate not in theirs
    assert [one.public_key() == PARTNER.key.public_key() for one in theirs] == [False, True]
    limits = theirs[1].extensions.get_extension_for_class(x509.NameConstraints).value
    assert x509.UniformResourceIdentifier("partner.example") in limits.permitted_subtrees


def test_what_is_the_same_has_the_same_version_and_bytes(answering, told):
    told.learn(OWN.pem, 1, DOMAINS)
    first = answering.answer(secrets.CALLERS)
    assert answering.answer(secrets.CALLERS) == first, "keys are not made at each question"
    told.learn(OWN.pem, 2, DOMAINS[:1])
    assert answering.answer(secrets.CALLERS).version != first.version


def test_domains_are_known_again_after_a_restart(told, tmp_path):
    told.learn(OWN.pem, 1, DOMAINS)
    again = trust.Trust(tmp_path / "root.pem", tmp_path / "bundle.pem")
    assert (again.domains, again.version) == (DOMAINS, told.version)
    (tmp_path / "domains.json").write_text("{")
    assert trust.Trust(tmp_path / "root.pem", tmp_path / "bundle.pem").domains == ()


def test_roots_that_cannot_be_read_change_nothing(told):
    told.learn(OWN.pem, 1, DOMAINS)
    with pytest.raises(ValueError):
        told.learn(OWN.pem, 2, (current.Domain("partner.example", "nonsense"),))
    assert told.domains == DOMAINS
