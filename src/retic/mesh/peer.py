"""Whether a pod's ports take the mesh's TLS, plaintext or both: the modes that PeerAuthentications give them.

Narrower wins: a port over its workload, that over its namespace, that over the mesh (PeerAuthentication, mtls and
portLevelMtls). Of several for one scope the oldest counts, and it alone. Pure values: `peers` finds them.
"""

import enum
from collections.abc import Iterable, Sequence

import msgspec

from retic import findings


class Mode(enum.StrEnum):
    """STRICT takes the mesh's TLS, DISABLE everything else (an application's bytes as they are), PERMISSIVE both."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


class PortMode(msgspec.Struct, frozen=True, order=True):
    """What a policy says of one of a pod's own ports; None is the mode of the pod."""

    port: int
    mode: Mode | None


class Rule(msgspec.Struct, frozen=True):
    """A PeerAuthentication: `labels` () is for everybody of its scope, `mode` None inherits.

    `stray`: for whom it is could not be read, so that it may be for anybody of its namespace, whatever others say.
    """

    origin: findings.Ref
    labels: tuple[tuple[str, str], ...] = ()
    mode: Mode | None = None
    ports: tuple[PortMode, ...] = ()
    stray: bool = False

    def selects(self, labels: dict[str, str]) -> bool:
        """Whether the labels are those that it asks for."""
        return all(labels.get(name) == value for name, value in self.labels)


class Decided(msgspec.Struct, frozen=True):
    """A mode, and the policy that says so; None where the mesh's own setting does."""

    mode: Mode
    origin: findings.Ref | None = None


class AtPort(msgspec.Struct, frozen=True):
    """What is decided for one port."""

    port: int
    decided: Decided


class Modes(msgspec.Struct, frozen=True):
    """A pod's mode, and that of the ports for which a policy says something of their own, in order."""

    whole: Decided
    ports: tuple[AtPort, ...] = ()

    def at(self, port: int) -> Decided:
        """What holds at one of the pod's own ports."""
        return next((each.decided for each in self.ports if each.port == port), self.whole)


class Layers(msgspec.Struct, frozen=True):
    """The rules that may concern a pod: of the mesh's namespace, and of its own where that is another; oldest first."""

    mesh: tuple[Rule, ...] = ()
    namespace: tuple[Rule, ...] = ()


def compose(default: Mode, layers: Layers, labels: dict[str, str]) -> Modes:
    """The modes of a pod with these labels. In the mesh's own namespace selectors have no meaning (Istio)."""
    stray = next((rule for rule in (*layers.mesh, *layers.namespace) if rule.stray), None)
    if stray is not None:
        return Modes(Decided(Mode.STRICT, stray.origin))
    whole = Decided(default)
    wide = [next((rule for rule in rules if not rule.labels), None) for rules in (layers.mesh, layers.namespace)]
    own = next((rule for rule in layers.namespace if rule.labels and rule.selects(labels)), None)
    for rule in (*wide, own):
        if rule is not None and rule.mode is not None:
            whole = Decided(rule.mode, rule.origin)
    if own is None:
        return Modes(whole)
    ports = (AtPort(p.port, Decided(p.mode, own.origin)) for p in sorted(own.ports, key=_number) if p.mode is not None)
    return Modes(whole, tuple(ports))


def _number(said: PortMode) -> int:
    return said.port


class Terms(msgspec.Struct, frozen=True):
    """What a port takes at this moment, and whether callers are told to use the mesh's TLS (`secured`)."""

    mtls: bool
    plaintext: bool
    secured: bool


_TERMS = {
    Mode.STRICT: Terms(mtls=True, plaintext=False, secured=True),
    Mode.PERMISSIVE: Terms(mtls=True, plaintext=True, secured=True),
    Mode.DISABLE: Terms(mtls=False, plaintext=True, secured=False),
}


def terms(now: Mode, told: Mode, before: Iterable[Mode] = ()) -> Terms:
    """For a port whose mode is `now`, while callers go by `told`, and some may still go by what was `before`.

    Whether callers use TLS differs between these: then all that any of them takes is taken. Otherwise `now` counts
    alone.
    """
    found = [_TERMS[mode] for mode in (now, told, *before)]
    if len({each.secured for each in found}) == 1:
        return found[0]
    taken = (any(each.mtls for each in found), any(each.plaintext for each in found))
    return Terms(mtls=taken[0], plaintext=taken[1], secured=_TERMS[told].secured)


class PortTerms(msgspec.Struct, frozen=True):
    """What one port takes."""

    port: int
    terms: Terms


class Taken(msgspec.Struct, frozen=True):
    """What a pod takes: at `ports`, and at all others."""

    whole: Terms
    ports: tuple[PortTerms, ...] = ()

    def at(self, port: int) -> Terms:
        """What one of the pod's own ports takes."""
        return next((each.terms for each in self.ports if each.port == port), self.whole)

    @property
    def opened(self) -> "Taken":
        """The same, with plaintext everywhere."""
        ports = tuple(PortTerms(each.port, _open(each.terms)) for each in self.ports)
        return taken(_open(self.whole), ports)


def _open(given: Terms) -> Terms:
    return msgspec.structs.replace(given, plaintext=True)


def taken(whole: Terms, ports: Sequence[PortTerms]) -> Taken:
    """Without the ports that differ in nothing."""
    return Taken(whole, tuple(each for each in ports if each.terms != whole))
