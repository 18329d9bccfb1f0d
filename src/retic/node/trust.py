"""The roots that the agent trusts and gives to its Envoy: the file it was given, then what it was told."""

import hashlib
import pathlib
from collections.abc import Callable

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from retic.identity import authority, current, holdings

GIVEN = "given.pem"  # beside what is kept: a copy of the file that was given last
SERIAL = "bundle.serial"
DOMAINS = "domains.json"


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


class BehindError(ValueError):
    """An answer of a control plane that does not know the newest bundle yet. Another try may meet another one."""


class Trust:
    """`issuer` is who signs now, "" before that is known.

    `bundle` is for Envoy; `roots` for talking to the control plane: the file's roots stay in it.

    The file may be replaced while the agent runs (a cluster's ConfigMap is), and is read again whenever `roots`
    is asked for: whoever was cut off during a whole change of roots finds the way back by it.
    """

    def __init__(
        self, given: pathlib.Path, kept: pathlib.Path, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._file = given
        self._given = given.read_bytes()
        self._kept = kept
        self._changed = changed
        authority.write_private(kept.with_name(GIVEN), self._given)
        if not kept.exists():
            authority.write_private(kept, self._given)
        self._bundle = kept.read_bytes()
        self._serial = _serial(kept.with_name(SERIAL))
        self._domains = _domains(kept.with_name(DOMAINS))
        self.issuer = ""

    @property
    def bundle(self) -> bytes:
        """The trust domain's roots, PEM, as the control plane told them last."""
        return self._bundle

    @property
    def domains(self) -> tuple[current.Domain, ...]:
        """The trust domains that are accepted beside the own one."""
        return self._domains

    @property
    def version(self) -> str:
        """A hash of the bundle and the other trust domains."""
        told = self._bundle + msgspec.json.encode(self._domains)
        return hashlib.blake2b(told, digest_size=8).hexdigest()

    @property
    def digest(self) -> str:
        """What the bundle is called towards the control plane."""
        return holdings.digest(self._bundle)

    @property
    def roots(self) -> bytes:
        """Whoever's certificate leads to one of these is the control plane."""
        self._read_again()
        certificates = x509.load_pem_x509_certificates(self._given + b"\n" + self._bundle)
        return b"".join(
            one.public_bytes(serialization.Encoding.PEM) for one in dict.fromkeys(certificates)
        )

    def learn(
        self, bundle: bytes, serial: int = 0, domains: tuple[current.Domain, ...] = (), issuer: str = ""
    ) -> None:
        """Take what the control plane says. ValueError when it is no certificates, BehindError when it is older
        than what was learnt before. A serial of 0 says nothing of age; an `issuer` of "" says nothing either."""
        if 0 < serial < self._serial:
            raise BehindError("this control plane knows an older trust bundle than is in use here")
        changed = bundle != self._bundle
        if changed:
            x509.load_pem_x509_certificates(bundle)
            authority.write_private(self._kept, bundle)
            self._bundle = bundle
        if serial > self._serial:
            authority.write_private(self._kept.with_name(SERIAL), str(serial).encode())
            self._serial = serial
        if domains != self._domains:
            for each in domains:
                if each.roots:
                    x509.load_pem_x509_certificates(each.roots.encode())
            authority.write_private(self._kept.with_name(DOMAINS), msgspec.json.encode(domains))
            self._domains, changed = domains, True
        if issuer and issuer != self.issuer:
            self.issuer, changed = issuer, True
        if changed:
            self._changed()

    def _read_again(self) -> None:
        try:
            found = self._file.read_bytes()
            if found == self._given:
                return
            x509.load_pem_x509_certificates(found)
        except (OSError, ValueError):
            return  # being replaced, or broken: the last good one stays
        self._given = found
        authority.write_private(self._kept.with_name(GIVEN), found)


def _domains(file: pathlib.Path) -> tuple[current.Domain, ...]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=tuple[current.Domain, ...])
    except (OSError, msgspec.DecodeError):
        return ()


def _serial(file: pathlib.Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
