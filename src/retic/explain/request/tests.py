"""One test of a policy's rule against a call: does it hold, and can that be decided at all?"""

import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec
import re2

from retic.explain.request import matching, message
from retic.mesh import policy
from retic.mesh.policy import How, Pattern, Subject


class Call(msgspec.Struct, frozen=True):
    """What the deciding proxy sees. `request` None: a connection that nobody looks into.

    `principal` is the caller's SPIFFE ID, "" without the mesh's TLS; `address` the connection's, "" when unknown;
    `port` and `destination` are those that the connection was made to; `server_name` what its TLS said. `claims` are
    those of a valid token, None without one.
    """

    principal: str
    address: str
    port: int
    destination: str
    request: message.Message | None = None
    server_name: str = ""
    claims: Mapping[str, Any] | None = None


def decidable(test: policy.Test, call: Call) -> bool:
    """Whether the test can be made: not of a request on TCP, nor with a value that was not understood."""
    if test.subject in policy.HTTP_ONLY and call.request is None:
        return False
    return not is_unreadable(test)


def is_unreadable(test: policy.Test) -> bool:
    """Whether what is written there could not be understood."""
    return any(pattern.how is How.NOTHING for pattern in test.patterns)


def holds(test: policy.Test, call: Call, *, strict: bool) -> bool:
    """Whether it holds. `strict`: its rule lets somebody in, so that it must not hold by half."""
    loose = strict is test.negated
    found = any(_matches(test, pattern, call, loose=loose) for pattern in test.patterns)
    return found is not test.negated


def _matches(test: policy.Test, pattern: Pattern, call: Call, *, loose: bool) -> bool:
    match test.subject:
        case Subject.PRINCIPAL:
            return bool(call.principal) and _text(pattern, call.principal)
        case Subject.SOURCE_ADDRESS:
            return _inside(pattern, call.address)
        case Subject.REMOTE_ADDRESS:
            return _inside(pattern, _remote(test, call))
        case Subject.DESTINATION_ADDRESS:
            return _inside(pattern, call.destination)
        case Subject.PORT:
            return pattern.text == str(call.port)
        case Subject.SNI:
            return _text(pattern, call.server_name)
    request = call.request
    if request is None:
        return False
    match test.subject:
        case Subject.METHOD:
            return _text(pattern, request.method)
        case Subject.PATH:
            return _text(pattern, request.path)
        case Subject.HOST:
            return _host(pattern, request.authority)
        case Subject.HEADER:
            value = request.header(test.name[0])
            return value is not None and _header(pattern, value, loose=loose)
        case Subject.REQUEST_PRINCIPAL:
            return _request_principal(pattern, call.claims or {})
    return _claim(pattern, test.name, call.claims or {})


def looked_at(test: policy.Test, call: Call) -> str:
    """What the test compares, for people."""
    request = call.request
    if request is None or test.subject not in policy.HTTP_ONLY:
        value = {
            Subject.PRINCIPAL: call.principal or "a caller without mTLS", Subject.SOURCE_ADDRESS: call.address,
            Subject.REMOTE_ADDRESS: _remote(test, call), Subject.DESTINATION_ADDRESS: call.destination,
            Subject.PORT: f"port {call.port}", Subject.SNI: call.server_name or "no server name",
        }.get(test.subject, "")  # fmt: skip
        return value or "an unknown address"
    if test.subject is Subject.HEADER:
        said = request.header(test.name[0])
        return f"a request without {test.name[0]}" if said is None else f"{test.name[0]}: {said}"
    token = "the token's claims" if call.claims is not None else "a request without a valid token"
    known = {Subject.METHOD: request.method, Subject.PATH: request.path, Subject.HOST: f"host {request.authority}"}
    return known.get(test.subject, token)


def _text(pattern: Pattern, text: str) -> bool:
    match pattern.how:
        case How.EXACT:
            return text == pattern.text
        case How.PREFIX:
            return text.startswith(pattern.text)
        case How.SUFFIX:
            return text.endswith(pattern.text)
        case How.PRESENT:
            return text != ""
        case How.REGEX:
            return matching.full(pattern.text, text)
    return False


def _inside(pattern: Pattern, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern.text)
    except ValueError:  # the address is not known
        return False


def _remote(test: policy.Test, call: Call) -> str:
    """Where a request was first sent from: a gateway's word counts, nobody else's."""
    if call.request is None or call.principal not in test.trusted:
        return call.address
    return message.forwarded_for(call.request) or call.address


def _host(pattern: Pattern, authority: str) -> bool:
    """Whatever its case; with a port and a dot at its end, or without."""
    text = authority.lower()
    if pattern.how is How.PRESENT or pattern.how is How.PREFIX:
        return _text(pattern, text)
    host, colon, port = text.rpartition(":")
    bare = host if colon and (not port or port.isdigit()) else text
    forms = {text, bare, text.removesuffix("."), bare.removesuffix(".")}
    return any(_text(pattern, form) for form in forms)


def _header(pattern: Pattern, value: str, *, loose: bool) -> bool:
    """`loose`: one of several values is enough."""
    if pattern.how is How.PRESENT or not loose:
        return _text(pattern, value)
    if _text(pattern, value):
        return True
    before = r"(?:^|,)[ \t]*" if pattern.how is not How.SUFFIX else ""
    after = r"[ \t]*(?:,|$)" if pattern.how is not How.PREFIX else ""
    text = pattern.text if pattern.how is How.REGEX else str(re2.escape(pattern.text))
    return re2.search(f"{before}(?:{text}){after}", value) is not None


def _request_principal(pattern: Pattern, claims: Mapping[str, Any]) -> bool:
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not (isinstance(issuer, str) and isinstance(subject, str) and issuer and subject):
        return False
    return _text(pattern, f"{issuer}/{subject}")


def _claim(pattern: Pattern, names: tuple[str, ...], claims: Mapping[str, Any]) -> bool:
    """A claim that is a text, or a list with such a text in it."""
    found: Any = claims
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return any(isinstance(value, str) and _text(pattern, value) for value in values)
