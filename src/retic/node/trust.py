"""The roots that the agent trusts and gives to its Envoy: the file it was given, then what it was told."""

import hashlib
import pathlib
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from retic.identity import authority

GIVEN = "given.pem"  # beside what is kept: a copy of the file given at the last start


def is_elsewhere(given: pathlib.Path, kept: pathlib.Path) -> bool:
    """Whether the file given is another one than before and shares no root with what is kept.

    Then another authority has taken over, and the certificates kept open nothing. A file that is merely old
    (the roots were rotated since) is the one of before.
    """
    before = kept.with_name(GIVEN)
    if not kept.exists() or not before.exists() or before.read_bytes() == given.read_bytes():
        return False
    known = x509.load_pem_x509_certificates(given.read_bytes())
    try:
        return not set(known) & set(x509.load_pem_x509_certificates(before.read_bytes() + kept.read_bytes()))
    except ValueError:
        return True


class Trust:
    """`bundle` is for Envoy; `roots` for talking to the control plane: the file's roots stay in it."""

    def __init__(
        self, given: pathlib.Path, kept: pathlib.Path, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._given = given.read_bytes()
        self._kept = kept
        self._changed = changed
        authority.write_private(kept.with_name(GIVEN), self._given)
        if not kept.exists():
            authority.write_private(kept, self._given)
        self._bundle = kept.read_bytes()

    @property
    def bundle(self) -> bytes:
        """The trust domain's roots, PEM, as the control plane told them last."""
        return self._bundle

    @property
    def version(self) -> str:
        """A hash of the bundle."""
        return hashlib.blake2b(self._bundle, digest_size=8).hexdigest()

    @property
    def roots(self) -> bytes:
        """Whoever's certificate leads to one of these is the control plane."""
        certificates = x509.load_pem_x509_certificates(self._given + b"\n" + self._bundle)
        return b"".join(
            one.public_bytes(serialization.Encoding.PEM) for one in dict.fromkeys(certificates)
        )

    def learn(self, bundle: bytes) -> None:
        """Take what the control plane says. ValueError when it is no certificates."""
        if bundle == self._bundle:
            return
        x509.load_pem_x509_certificates(bundle)
        authority.write_private(self._kept, bundle)
        self._bundle = bundle
        self._changed()
