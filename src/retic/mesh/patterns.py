"""Texts of policies as patterns: `*`, `a*`, `*a`, path templates, networks, ports, and SPIFFE IDs."""

import ipaddress
import re
from collections.abc import Iterable

import re2

from retic.mesh import plain_paths
from retic.mesh.policy import How, Pattern

_TEMPLATE = re.compile(r"\{\*\*?\}")
_SCHEME = "spiffe://"
_OPERATORS = {"{*}": "[^/]+", "{**}": ".*"}


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
    return Pattern(How.REGEX, "".join(_OPERATORS.get(part) or quoted(plain_paths.written(part)) for part in parts))


def literals(pattern: Pattern) -> str:
    """A pattern's text; a path template's with a letter for each operator."""
    if pattern.how is not How.REGEX:
        return pattern.text
    text = pattern.text
    for operator in _OPERATORS.values():
        text = text.replace(operator, "x")
    return re.sub(r"\\(.)", r"\1", text)


def template_fault(value: str) -> str | None:
    """What is wrong with a path template, or None (AuthorizationPolicy, Operation.paths)."""
    if not _TEMPLATE.search(value):
        return "it has a brace, and is no template" if "{" in value or "}" in value else None
    if not value.startswith("/"):
        return "a template begins with /"
    segments = value.split("/")[1:]
    if "{**}" in segments and any(each in _OPERATORS for each in segments[segments.index("{**}") + 1 :]):
        return "{**} is the last operator"
    for segment in segments:
        if segment not in _OPERATORS and re.search("[{}*]", segment):
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
    """`cluster.local/ns/shop/sa/web`, without the scheme. Who names the mesh's own trust domain (the first), by its
    name, by cluster.local or by an alias, means them all: a policy holds on when a mesh takes another name."""
    given = text(value.removeprefix(_SCHEME))
    if given.how is How.PRESENT:
        return [Pattern(How.PREFIX, _SCHEME)]
    if given.how is How.SUFFIX:
        return [given]
    own, slash, rest = given.text.partition("/")
    meant = domains if slash and own in (*domains, "cluster.local") else (own,)
    return [Pattern(given.how, f"{_SCHEME}{domain}{slash}{rest}") for domain in meant]


def namespace(value: str, domains: tuple[str, ...]) -> list[Pattern]:
    """The identities of a namespace's service accounts. It is a namespace of the mesh: callers of foreign trust domains
    are in none, whatever their ids say, so that another authority's roots open no policy that does not name them."""
    given = text(value)
    if given.how is How.PRESENT:
        return [Pattern(How.PREFIX, f"{_SCHEME}{domain}/ns/") for domain in domains]
    if given.how is How.SUFFIX:
        inside = f"[^/]*{quoted(given.text)}"
        return [Pattern(How.REGEX, f"{_SCHEME}{quoted(domain)}/ns/{inside}/sa/.*") for domain in domains]
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
