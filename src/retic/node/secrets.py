"""The Secrets that the agent answers itself: identities of its pods, and the trust bundle.

Names of another form (gateways' certificates, `tls/...`) are the control plane's. An identity that no pod
of this node has does not exist here, whoever asks.
"""

import enum
import functools

import msgspec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic.identity import foreign, spiffe
from retic.node import keys, trust

ROOT = "root"  # whom servers' certificates lead to
CALLERS = "callers"  # whom callers' certificates lead to: those, and the authorities of other trust domains
ROOTS = (ROOT, CALLERS)
# The same certificate under a second name, for a pod's own listeners: Envoy 1.40 never answers a second
# watcher of one name on one delta stream, and clients choose theirs by the plain name (on_demand_secret).
SERVER = "server:"
VALIDATOR = "envoy.tls.cert_validator.spiffe"


class Answer(enum.Enum):
    """What there is instead of a resource: nothing (say so at once), or nothing yet (say nothing)."""

    GONE = "gone"
    LATER = "later"


class Held(msgspec.Struct, frozen=True):
    """A secret as a serialized Resource. `repr` does not show it."""

    version: str
    resource: bytes

    def __repr__(self) -> str:
        return f"<Held {self.version}>"


def ours(name: str) -> bool:
    """Whether a Secret of that name is answered here."""
    return name in ROOTS or name.removeprefix(SERVER).startswith(spiffe.SCHEME)


class Secrets:
    """Answers by name, from the pods' keys, the agent's own (for gateways), and the bundle."""

    def __init__(self, pods: keys.Keys, own: keys.Keys | None, roots: trust.Trust, trust_domain: str) -> None:
        self._stores = [pods] if own is None else [pods, own]
        self._roots = roots
        self._trust_domain = trust_domain
        self._confined = functools.lru_cache(maxsize=64)(foreign.confined)  # keys are made: not at each question

    def _bundles(self, *, callers: bool) -> dict[str, bytes]:
        """By trust domain, who signs for it."""
        bundles = {self._trust_domain: self._roots.bundle}
        for domain in self._roots.domains:
            if not domain.roots:
                bundles.setdefault(domain.name, self._roots.bundle)
            elif callers:
                bundles.setdefault(domain.name, self._confined(domain.name, domain.roots.encode()))
        return bundles

    def answer(self, name: str) -> Held | Answer:
        """The secret of a name that is `ours`."""
        secret = secret_pb2.Secret(name=name)
        if name in ROOTS:
            # The validator asks the table only; this is for who looks at what the proxy has.
            secret.validation_context.trusted_ca.inline_bytes = self._roots.bundle
            found = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig()
            for domain, bundle in self._bundles(callers=name == CALLERS).items():
                found.trust_domains.add(name=domain).trust_bundle.inline_bytes = bundle
            validator = secret.validation_context.custom_validator_config
            validator.name = VALIDATOR
            validator.typed_config.Pack(found)
            return _held(secret, self._roots.version)
        try:
            identity = spiffe.parse(name.removeprefix(SERVER))
        except spiffe.InvalidIdError:
            return Answer.GONE
        for store in self._stores:
            if identity in store.wanted:
                pair = store.get(identity)
                if pair is None:
                    return Answer.LATER
                secret.tls_certificate.certificate_chain.inline_bytes = pair.chain
                secret.tls_certificate.private_key.inline_bytes = pair.key
                return _held(secret, pair.version)
        return Answer.GONE


def _held(secret: secret_pb2.Secret, version: str) -> Held:
    resource = discovery_pb2.Resource(name=secret.name, version=version)
    resource.resource.Pack(secret)
    return Held(version, resource.SerializeToString())
