"""What a value must look like, as annotations on the fields of objects: ranges, choices, syntaxes.

`Annotated[str, Syntax(...)]` is a plain `str` to readers and to the type checker. Decoding does not check
these forms; `retic.sources` does, and says what to write instead. Nothing here looks at two fields at once.
"""

from typing import Annotated, Any

import msgspec


class OneOf(msgspec.Struct, frozen=True):
    """A choice of fixed words, case matters."""

    values: tuple[str, ...]


class Range(msgspec.Struct, frozen=True):
    """A whole number from `low` to `high`, both included; `high` None: no upper bound."""

    low: int
    high: int | None = None


class Syntax(msgspec.Struct, frozen=True):
    """A string that `pattern` matches wholly and that has `longest` characters at most.

    `what` completes "is not ..."; `example` is something right; `refuse` is a pattern that must not match.
    """

    what: str
    pattern: str
    example: str
    longest: int = 253
    refuse: str | None = None


class Entries(msgspec.Struct, frozen=True):
    """The forms of the keys and the values of a map; None: any."""

    key: Syntax | None = None
    value: Syntax | None = None


class IntOrPercent(msgspec.Struct, frozen=True):
    """A whole number of 0 or more, or a percentage such as `25%`."""


class Redacted(msgspec.Struct, frozen=True):
    """The value is secret: no message may quote it."""


def one_of(*values: str) -> OneOf:
    """`OneOf`, shorter to read where it is used."""
    return OneOf(values)


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"
_IP = r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+"

LABEL = Syntax("a DNS label (RFC 1123: lower-case letters, digits and -)", _LABEL, "my-name", 63)
LABEL_1035 = Syntax(
    "a DNS label (RFC 1035: lower-case letters, digits and -, a letter first)",
    "[a-z]([-a-z0-9]*[a-z0-9])?", "my-name", 63,
)
SUBDOMAIN = Syntax(
    "a DNS subdomain (RFC 1123: lower-case letters, digits, - and .)", _SUBDOMAIN, "my-name"
)
SUBDOMAIN_DOT = Syntax(
    "a DNS name (lower-case letters, digits, - and .)", rf"{_SUBDOMAIN}\.?", "db.example.com", 254
)
PORT_NAME = Syntax(
    "a port name (up to 15 lower-case letters, digits and -, with a letter in it)",
    "[a-z0-9]([a-z0-9-]*[a-z0-9])?", "http", 15, r"--|^[0-9-]+$",
)
LABEL_KEY = Syntax("a label's key", rf"({_SUBDOMAIN}/)?{_QUALIFIED}", "app.kubernetes.io/name", 317)
LABEL_VALUE = Syntax("a label's value (letters, digits, -, _ and .)", f"{_QUALIFIED}?", "my-value", 63)
DATA_KEY = Syntax("a key (letters, digits, -, _ and .)", "[-._a-zA-Z0-9]+", "settings.yaml")
ENV_NAME = Syntax("the name of an environment variable", r"[ -<>-~]+", "LOG_LEVEL", 4096)
HEADER_NAME = Syntax(
    "a header's name (RFC 9110: a token)", r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "x-version", 256
)
SESSION_NAME = Syntax(
    "a name for a cookie or header (letters, digits and !#$%&'*+-.^_`|~)",
    r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "my-session", 128,
)
HOSTNAME = Syntax(
    "a host name (lower case, no port, no address, * only as the first label)", rf"(\*\.)?{_SUBDOMAIN}",
    "shop.example.com", refuse=rf"^{_IP}$",
)
PRECISE_HOSTNAME = Syntax(
    "a host name (lower case, no port, no address, no *)", _SUBDOMAIN, "shop.example.com", refuse=rf"^{_IP}$"
)
GATEWAY_DURATION = Syntax(
    "a duration (GEP-2257: whole numbers with h, m, s or ms)", "([0-9]{1,5}(h|m|s|ms)){1,4}", "1s500ms", 24
)
MOUNT_PATH = Syntax("a path without ':'", "[^:]+", "/etc/settings", 4096)

Name = Annotated[str, LABEL]
Subdomain = Annotated[str, SUBDOMAIN]
Port = Annotated[int, Range(1, 65535)]
NodePort = Annotated[int, Range(0, 65535)]
PortReference = Annotated[int | str, Range(1, 65535), PORT_NAME]
AtLeastZero = Annotated[int, Range(0)]
AtLeastOne = Annotated[int, Range(1)]
Weight = Annotated[int, Range(0, 1_000_000)]
Percent = Annotated[int, Range(0, 100)]
Hostname = Annotated[str, HOSTNAME]
PreciseHostname = Annotated[str, PRECISE_HOSTNAME]
HeaderName = Annotated[str, HEADER_NAME]
Duration = Annotated[str, GATEWAY_DURATION]
PortName = Annotated[str, PORT_NAME]
Surge = Annotated[int | str, IntOrPercent()]
Protocol = Annotated[str, one_of("TCP", "UDP", "SCTP")]
Labels = Annotated[dict[str, str], Entries(LABEL_KEY, LABEL_VALUE)]
Quantity = int | float | str
Raw = dict[str, Any]
