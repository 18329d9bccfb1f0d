"""Who may call whom, as Envoy-neutral values: what every authorization API becomes.

A policy's rules are alternatives. A rule holds when one of its sources, one of its operations and all of its
conditions do; each of these is a row of tests that must all hold.
"""

import enum

import msgspec

from retic import findings


class Action(enum.StrEnum):
    """What a policy that matches does. In this order: CUSTOM, DENY, ALLOW; AUDIT only counts."""

    CUSTOM = "CUSTOM"
    DENY = "DENY"
    ALLOW = "ALLOW"
    AUDIT = "AUDIT"


class Subject(enum.Enum):
    """What a test looks at. All are texts but addresses (patterns are CIDRs) and ports (numbers as text).

    PRINCIPAL is the caller's SPIFFE ID, whole; SOURCE_ADDRESS the connection's. REMOTE_ADDRESS is the client's as a
    gateway of the mesh says it (X-Forwarded-For), the connection's for every other caller, and on TCP.
    REQUEST_PRINCIPAL is `iss/sub` of a token that was found valid, CLAIM a claim of it.
    """

    PRINCIPAL = "principal"
    SOURCE_ADDRESS = "source address"
    REMOTE_ADDRESS = "remote address"
    REQUEST_PRINCIPAL = "request principal"
    CLAIM = "claim"
    HEADER = "header"
    HOST = "host"
    METHOD = "method"
    PATH = "path"
    PORT = "port"
    DESTINATION_ADDRESS = "destination address"
    SNI = "server name"


HTTP_ONLY = frozenset(
    {
        Subject.REQUEST_PRINCIPAL, Subject.CLAIM, Subject.HEADER, Subject.HOST, Subject.METHOD, Subject.PATH,
    }
)  # fmt: skip
"""What a TCP connection does not have. Such a test counts against the caller there: see `Policy`."""

ADDRESSES = frozenset({Subject.SOURCE_ADDRESS, Subject.REMOTE_ADDRESS, Subject.DESTINATION_ADDRESS})


class How(enum.Enum):
    """How a pattern is compared. PRESENT: any value that is not empty. REGEX (RE2) must match all of the value.
    NOTHING never matches: a value that could not be understood."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENT = "present"
    REGEX = "regex"
    NOTHING = "nothing"


class Pattern(msgspec.Struct, frozen=True):
    """One value to compare with. For addresses EXACT means: inside this CIDR."""

    how: How
    text: str = ""


class Test(msgspec.Struct, frozen=True):
    """Holds when the subject matches one of the patterns; `negated`, when it matches none.

    `name` is the header's name in lower case, or the claim's path. `field` says where it is written (below the
    object). `trusted`: for REMOTE_ADDRESS, the SPIFFE IDs of those whose word counts.
    """

    subject: Subject
    patterns: tuple[Pattern, ...]
    negated: bool = False
    name: tuple[str, ...] = ()
    field: str = ""
    trusted: tuple[str, ...] = ()


Tests = tuple[Test, ...]


class Rule(msgspec.Struct, frozen=True):
    """`sources` and `operations` () hold always. `number` is the rule's place in its policy."""

    number: int
    sources: tuple[Tests, ...] = ()
    operations: tuple[Tests, ...] = ()
    conditions: Tests = ()


class Policy(msgspec.Struct, frozen=True):
    """One policy as it applies to a workload.

    `ports`: the workload's ports that it is for, () for all. `dry_run`: counted and not enforced. `provider`: whom
    a CUSTOM policy asks. On TCP, and where a pattern is NOTHING, a test that cannot be decided is decided against the
    caller: a rule of an ALLOW policy with such a test never holds; in other policies the test is taken to hold.
    `closed`: the policy as a whole could not be read, and denies everything instead.
    """

    origin: findings.Ref
    action: Action
    rules: tuple[Rule, ...]
    ports: tuple[int, ...] = ()
    dry_run: bool = False
    provider: str = ""
    closed: bool = False
