"""The Secrets that the agent answers itself: identities of its pods, and the trust bundle.

Names of another form (gateways' certificates, `tls/...`) are the control plane's. An identity that no pod
of this node has does not exist here, whoever asks.
"""

import enum

import msgspec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from retic.identity import spiffe
from retic.node import keys, trust

ROOT = "root"
# The same certificate under a second name, for a pod's own listeners: Envoy 1.40 never answers a second
# watcher of one name on one delta stream, and clients choose theirs by the plain name (on_demand_secret).
SERVER = "server:"


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
    return name == ROOT or name.removeprefix(SERVER).startswith(spiffe.SCHEME)


class Secrets:
    """Answers by name, from the pods' keys, the agent's own (for gateways), and the bundle."""

    def __init__(self, pods: keys.Keys, own: keys.Keys | None, roots: trust.Trust) -> None:
        self._stores = [pods] if own is None else [pods, own]
        self._roots = roots

    def answer(self, name: str) -> Held | Answer:
        """The secret of a name that is `ours`."""
        secret = secret_pb2.Secret(name=name)
        if name == ROOT:
            secret.validation_context.trusted_ca.inline_bytes = self._roots.bundle
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
