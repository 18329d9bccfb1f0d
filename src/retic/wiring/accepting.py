"""The trust domains that local mode accepts beside its own: aliases, and others with their authorities' roots in files.

Told at the start, or later by `retic ca trust`; the files are followed. What of them is not good leaves the last
good content in use, also after the control plane has died.
"""

import contextlib
import pathlib
from collections.abc import Callable

import msgspec
import structlog
from cryptography import x509

from retic.control import cluster
from retic.control import config as settings
from retic.identity import authority, chains, clock, current, foreign, ownfiles

FILE = "accepted.json"  # what was told last
KEPT = "foreign.json"  # the last good content of the roots' files
_log = structlog.get_logger("retic.control")


def read(
    root: settings.TrustedRoot, own: str, own_roots: bytes, time: clock.Clock
) -> current.Domain:
    """The domain with what its file holds. FaultyError when the file, or the domain, cannot be accepted."""
    text = ownfiles.content(root.file)
    ours = x509.load_pem_x509_certificates(own_roots) if own_roots else []
    foreign.check(root.trust_domain, text, time.now(), called=root.file, own=own, own_roots=ours)
    return current.Domain(root.trust_domain, text.decode("ascii", "replace"))


def check(accepted: settings.Accepted, own: str, time: clock.Clock, own_roots: bytes = b"") -> None:
    """FaultyError unless all of it can be accepted beside `own`."""
    seen: set[str] = set()
    for name in (*accepted.aliases, *(root.trust_domain for root in accepted.roots)):
        foreign.check_name(name, own)
        if name in seen:
            raise chains.FaultyError(
                f"the trust domain {name} is given twice: it is an alias, whose certificates our own root signs, or it"
                " has roots of its own, in one file"
            )
        seen.add(name)
    for root in accepted.roots:
        read(root, own, own_roots, time)


def by_values(config: cluster.Config, own_roots: bytes, time: clock.Clock) -> tuple[current.Domain, ...]:
    """What a cluster's values say. Roots that cannot be used are left out, with a word in the log: whose they are gets
    nothing."""
    found = [current.Domain(alias) for alias in config.trust_domain_aliases]
    ours = x509.load_pem_x509_certificates(own_roots)
    for root in config.trusted_roots:
        called = f"trustedRoots of {root.trust_domain}"
        try:
            foreign.check(
                root.trust_domain, root.roots.encode(), time.now(), called=called, own=config.trust_domain,
                own_roots=ours,
            )  # fmt: skip
        except chains.FaultyError as error:
            _log.error("a trusted root cannot be used", trust_domain=root.trust_domain, reason=str(error))
            continue
        found.append(current.Domain(root.trust_domain, root.roots))
    return tuple(found)


class Accepting:
    """`faults`: what is wrong with the files now, by file. First `open`."""

    def __init__(
        self, config: settings.Config, tell: Callable[[tuple[str, ...]], None], time: clock.Clock
    ) -> None:
        self._own = config.trust_domain
        self._folder = config.folder / "ca"
        self._told = config.accepted
        self._tell = tell
        self._time = time
        self._signer: current.Current | None = None
        self._good: dict[str, current.Domain] = {}
        self.faults: dict[str, str] = {}

    @property
    def accepted(self) -> settings.Accepted:
        """What was told last."""
        return self._told

    @property
    def paths(self) -> tuple[pathlib.Path, ...]:
        """The roots' files."""
        return tuple(pathlib.Path(root.file) for root in self._told.roots)

    def open(self, signer: current.Current) -> None:
        """Begin with what was told last, in this life or an earlier one."""
        self._signer = signer
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._told = msgspec.json.decode((self._folder / FILE).read_bytes(), type=settings.Accepted)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            kept = msgspec.json.decode((self._folder / KEPT).read_bytes(), type=tuple[current.Domain, ...])
            self._good = {domain.name: domain for domain in kept}
        self.look()

    def accept(self, wanted: settings.Accepted) -> None:
        """From now on these, and no others. FaultyError, and nothing changes, when one cannot be accepted."""
        assert self._signer is not None
        check(wanted, self._own, self._time, self._signer.bundle())
        authority.write_private(self._folder / FILE, msgspec.json.encode(wanted))
        self._told = wanted
        self.look()

    def look(self) -> None:
        """Read the files again, and go by them."""
        if self._signer is None:
            return
        faults: dict[str, str] = {}
        good: dict[str, current.Domain] = {}
        for root in self._told.roots:
            try:
                good[root.trust_domain] = read(root, self._own, self._signer.bundle(), self._time)
            except chains.FaultyError as error:
                faults[root.file] = str(error)
                if root.file not in self.faults:
                    _log.error("a trusted root cannot be used", trust_domain=root.trust_domain, reason=str(error))
                if root.trust_domain in self._good:
                    good[root.trust_domain] = self._good[root.trust_domain]
        self.faults = faults
        if good != self._good:
            self._good = good
            authority.write_private(self._folder / KEPT, msgspec.json.encode(tuple(good.values())))
        aliases = [current.Domain(name) for name in self._told.aliases]
        self._signer.accept([*aliases, *good.values()])
        self._tell(self._told.aliases)
