"""How one root replaces another without a refused connection: a machine of three phases, without I/O.

A certificate is accepted by whoever has its root in the trust bundle. So the new root goes into everybody's
bundle first (spreading); when everybody has said so the new signer signs (retiring); when the last certificate
of the old one has ended, or all are known to be replaced, the old root leaves the bundle (steady). Whoever keeps
the state, and whoever dies in between: the next one goes on from it. A signer is known here by a name, its
fingerprint; its key is elsewhere.
"""

import enum
import hashlib
from collections.abc import Collection

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

SOON = 5  # seconds: how long a handshake that has begun with an old certificate may take to end
SLACK = 60  # seconds: how long, beside the certificates' life, somebody may go by an older state than the newest


class Phase(enum.StrEnum):
    """`steady`: one root. `spreading`: a second one is made known. `retiring`: it signs, and the first one goes."""

    STEADY = "steady"
    SPREADING = "spreading"
    RETIRING = "retiring"


class Candidate(msgspec.Struct, frozen=True):
    """A signer that is wanted: its fingerprint, and the roots (PEM) that its certificates lead to."""

    signer: str
    roots: bytes


class State(msgspec.Struct, frozen=True):
    """`signer` signs; `bundle` is what everybody is to trust.

    `next` is the signer being made known, "" in other phases. `serial` grows with every change. `until` is when
    the last certificate of the retiring root has ended, and `longest` the longest life that certificates have
    been given, both in seconds (`until` since 1970). `request` is the last order to rotate that was carried out.
    """

    phase: Phase
    signer: str
    bundle: bytes
    serial: int
    next: str = ""
    until: int = 0
    longest: int = 0
    request: str = ""


def fingerprint(chain: bytes) -> str:
    """The name of a signer: the SHA-256 of its certificates (PEM, its own first), in hex."""
    return hashlib.sha256(chain).hexdigest()


def start(wanted: Candidate, now: int, longest: int) -> State:
    """The first state: one root, nobody to convince. `now` in seconds since 1970."""
    return State(Phase.STEADY, wanted.signer, union(wanted.roots), now, longest=longest)


def lived(state: State, seconds: int) -> State:
    """The state, once certificates are given a life of so many seconds."""
    if seconds <= state.longest:
        return state
    longer = seconds - state.longest
    until = state.until + longer if state.phase is Phase.RETIRING else state.until
    return msgspec.structs.replace(state, longest=seconds, until=until)


def step(
    state: State,
    wanted: Candidate,
    now: int,
    missing: Collection[str],
    *,
    slack: int = SLACK,
    reissued: bool = False,
) -> State:
    """The next state, or the same one when nothing is to do yet. At most one step at a time.

    `missing` are those who have not said that they go by the state's bundle. `reissued`: everybody has said that all
    certificates are the new signer's, so that nobody need wait for the old ones to end. Another `wanted` begins
    anew, from whatever phase, and takes no root away before its time.
    """
    serial = max(state.serial + 1, now)
    replace = msgspec.structs.replace
    aim = state.next if state.phase is Phase.SPREADING else state.signer
    if wanted.signer != aim:
        return replace(
            state, phase=Phase.SPREADING, next=wanted.signer, serial=serial, until=0,
            bundle=union(state.bundle, wanted.roots),
        )  # fmt: skip
    if state.phase is Phase.SPREADING and not missing:
        return replace(
            state, phase=Phase.RETIRING, signer=state.next, next="", serial=serial,
            until=now + state.longest + slack,
        )  # fmt: skip
    if state.phase is Phase.RETIRING and now >= state.until:
        return replace(state, phase=Phase.STEADY, bundle=union(wanted.roots), serial=serial, until=0)
    if state.phase is Phase.RETIRING and reissued and state.until > now + SOON:
        return replace(state, until=now + SOON, serial=serial)
    return state


def union(*bundles: bytes) -> bytes:
    """All certificates of the bundles (PEM), each once, in the order in which they come first."""
    found = [one for bundle in bundles for one in x509.load_pem_x509_certificates(bundle)]
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in dict.fromkeys(found))
