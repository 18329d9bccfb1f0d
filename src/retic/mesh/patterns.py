"""Texts of policies as patterns: `*`, `a*`, `*a`, path templates, networks, ports, and SPIFFE IDs."""

import ipaddress
import re
from collections.abc import Iterable

import re2

from retic.mesh import plain_paths
from retic.mesh.policy import How, Pattern

_TEMPLATE = re.compile(r"\{\*\*?\}")
_SCHEME = "spiffe://"


def text(value: str) -> Pattern:
    """As AuthorizationPolicy compares texts: exact, `*` for any value that is not empty, `*` at one end."""
    if value == "*":
        return Pattern(How.PRESENT)
    if value.startswith("*"):
        return Pattern(How.SUFFIX, value[1:])
    if value.endswith("*"):
        return Pattern(How.PREFIX, value[:-1])
    return Pattern(How.EXACT, value)


def quoted(value: str) -> str:
    """RE2 that matches this text and nothing else."""
    return str(re2.escape(value))


def path(value: str) -> Pattern:
    """As `text`; with `{*}` for one path segment, and `{**}` at the end for any number."""
    if not _TEMPLATE.search(value):
        given = text(value)
        return Pattern(given.how, plain_paths.written(given.text))
    parts = re.split(r"(\{\*\*?\})", value)
    said = {"{*}": "[^/]+", "{**}": ".*"}
    return Pattern(How.REGEX, "".join(said.get(part) or quoted(plain_paths.written(part)) for part in parts))


def template_fault(value: str) -> str | None:
    """What is wrong with a path template, or None (AuthorizationPolicy, Operation.paths)."""
    if not _TEMPLATE.search(value):
        return "it has a brace, and is no template" if "{" in value or "}" in value else None
    if not value.startswith("/"):
        return "a template begins with /"
    segments = value.split("/")[1:]
    for number, segment in enumerate(segments):
        if segment in ("{*}", "{**}"):
            if segment == "{**}" and number != len(segments) - 1:
                return "{**} is the last segment"
        elif "{" in segment or "}" in segment or "*" in segment:
            return f"{{*}} and {{**}} are whole segments, {segment} is not"
    return None


def block(value: str) -> Pattern | None:
    """A network or an address; None for what is neither."""
    try:
        return Pattern(How.EXACT, str(ipaddress.ip_network(value.strip(), strict=False)))
    except ValueError:
        return None


def port(value: str) -> Pattern | None:
    """A port's number; None for what is none."""
    number = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 0
    return Pattern(How.EXACT, str(number)) if 0 < number < 65536 else None


def principal(value: str, domains: tuple[str, ...]) -> list[Pattern]:
    """`cluster.local/ns/shop/sa/web`, without the scheme. Who names the mesh's own trust domain (the first) means
    its aliases too."""
    given = text(value.removeprefix(_SCHEME))
    if given.how is How.PRESENT:
        return [Pattern(How.PREFIX, _SCHEME)]
    if given.how is How.SUFFIX:
        return [given]
    own, slash, rest = given.text.partition("/")
    meant = domains if slash and own in (domains[0], "cluster.local") else (own,)
    return [Pattern(given.how, f"{_SCHEME}{domain}{slash}{rest}") for domain in meant]


def namespace(value: str, domains: tuple[str, ...]) -> list[Pattern]:
    """The identities of a namespace's service accounts."""
    given = text(value)
    if given.how is How.PRESENT:
        return [Pattern(How.PREFIX, _SCHEME)]
    if given.how is How.SUFFIX:
        inside = f"[^/]*{quoted(given.text)}"
        return [Pattern(How.REGEX, f"{_SCHEME}[^/]+/ns/{inside}/sa/.*")]
    end = "/" if given.how is How.EXACT else ""
    return [Pattern(How.PREFIX, f"{_SCHEME}{domain}/ns/{given.text}{end}") for domain in domains]


def account(value: str, home: str, domains: tuple[str, ...]) -> list[Pattern]:
    """A service account, `shop/web`, or `web` of the policy's own namespace."""
    before, slash, name = value.partition("/")
    where = f"{before}/sa/{name}" if slash else f"{home}/sa/{before}"
    return [Pattern(How.EXACT, f"{_SCHEME}{domain}/ns/{where}") for domain in domains]


def each(values: Iterable[str]) -> tuple[Pattern, ...]:
    """`text` of all."""
    return tuple(map(text, values))
